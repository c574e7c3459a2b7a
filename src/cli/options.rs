//! Options as `docker network create -o` takes them.

use clap::Args;

use crate::options::RawOptions;

/// Options of a bus or an attachment.
#[derive(Debug, Args)]
pub(super) struct OptionArgs {
    /// An option, as `docker network create -o` and Docker's `driver-opt` take it; may be repeated
    #[arg(short = 'o', long = "opt", value_name = "KEY=VALUE", value_parser = pair)]
    options: Vec<(String, String)>,
}

impl OptionArgs {
    /// All of them.
    ///
    /// # Errors
    /// If one is given twice.
    pub(super) fn into_raw(self) -> Result<RawOptions, String> {
        let mut raw = RawOptions::new();
        for (key, value) in self.options {
            if let Some(other) = raw.insert(key.clone(), value.clone()) {
                return Err(format!("option {key} is given twice, as {other} and {value}: remove one"));
            }
        }
        Ok(raw)
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let (key, value) = pair.ok_or("it must be KEY=VALUE, such as rate=125000")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_a_pair_and_given_once() {
        assert_eq!(pair("adapter=usb:1-2=x"), Ok(("adapter".into(), "usb:1-2=x".into())));
        assert!(pair("adapter").is_err() && pair("=can0").is_err());
        let both = ["rate=1000", "rate=2000"].map(|text| pair(text).unwrap()).to_vec();
        let why = OptionArgs { options: both }.into_raw().unwrap_err();
        assert!(why.contains("rate is given twice, as 1000 and 2000"), "{why}");
    }
}
