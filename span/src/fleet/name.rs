//! Names of hosts. One becomes a part of a key and of a certificate's name, so the letters are few.

use std::{fmt, fs, str::FromStr};

use serde::{Deserialize, Serialize};

/// The longest name, in bytes: that of a DNS label.
const LONGEST: usize = 63;

/// A host of the fleet: 1 to 63 of `a-z`, `0-9`, `-` and `_`, the first a letter or digit.
///
/// No dots: a host's certificate is told from those of public certificate authorities by its name
/// ([`crate::fleet::common_name`]).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

impl HostName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first part of this machine's host name, in lower case.
    ///
    /// # Errors
    /// One sentence, if that is no name for a host.
    pub fn of_this_machine() -> Result<Self, String> {
        let file = "/proc/sys/kernel/hostname";
        let name = fs::read_to_string(file).map_err(|err| format!("cannot read {file}: {err}"))?;
        let first = name.trim().split('.').next().unwrap_or_default().to_lowercase();
        first.parse().map_err(|why| format!("this machine's host name does not fit: {why}"))
    }
}

impl FromStr for HostName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let fits = name.len() <= LONGEST
            && name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
            && name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_'));
        fits.then(|| Self(name.to_owned())).ok_or_else(|| {
            format!(
                "{name:?} is no name for a host: 1 to 63 of a-z, 0-9, - and _, the first a letter or digit"
            )
        })
    }
}

impl TryFrom<String> for HostName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_part_of_a_key() {
        for good in ["a", "pi-3", "0815", "rig_2", &"x".repeat(63)] {
            assert_eq!(good.parse::<HostName>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "A", "a.b", "a:b", "a/b", "a*", "ä", "a b", &"x".repeat(64)] {
            let why = bad.parse::<HostName>().unwrap_err();
            assert!(why.starts_with(&format!("{bad:?} is no name for a host: 1 to 63 of")), "{why}");
        }
        assert!(serde_json::from_str::<HostName>("\"a/b\"").is_err());
    }

    #[test]
    fn this_machine_has_a_name() {
        let name = HostName::of_this_machine().unwrap();
        assert!(!name.as_str().contains('.'));
    }
}
