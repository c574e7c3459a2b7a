//! Where everything is, and the settings file that `init` and `join` write.

use std::{fmt::Write as _, net::SocketAddr, path::PathBuf};

use clap::Args;

use crate::{
    config::{self, Config, connect_address, listen_address},
    fleet::{Authority, HostName, Store, write_for_all},
};

/// Where everything is.
#[derive(Debug, Clone, Args)]
pub(super) struct Places {
    /// Settings of this host
    #[arg(long, env = "CANHUB_SPAN_CONFIG", default_value = config::FILE, value_name = "PATH")]
    pub(super) config: PathBuf,
    /// Folder of the fleet's CA, on the host that has it
    #[arg(long, env = "CANHUB_SPAN_CA", default_value = "/etc/canhub/span-ca", value_name = "PATH")]
    pub(super) ca: PathBuf,
}

impl Places {
    /// The settings; defaults if there is no file.
    pub(super) fn settings(&self) -> Result<Config, String> {
        match self.config.exists() {
            true => Config::load(Some(&self.config)),
            false => Ok(Config::default()),
        }
    }

    /// The CA, with the newest list that this host knows.
    pub(super) fn authority(&self, store: &Store) -> Result<Authority, String> {
        let mut ca = Authority::open(&self.ca)?;
        if let Ok(list) = store.list() {
            ca.go_on_from(list);
        }
        Ok(ca)
    }

    /// Writes the settings file, unless there is one; then returns a sentence for each setting that it lacks.
    pub(super) fn write_settings(
        &self,
        name: &HostName,
        listen: &[SocketAddr],
        connect: &[String],
    ) -> Result<Vec<String>, String> {
        if !self.config.exists() {
            write_for_all(&self.config, &settings_text(name, listen, connect))?;
            return Ok(Vec::new());
        }
        let (now, mut lacks) = (self.settings()?, Vec::new());
        let mut compare = |key: &str, wanted: Vec<String>, there: Vec<String>| {
            if !wanted.is_empty() && !wanted.iter().any(|one| there.contains(one)) {
                let wanted = quoted(&wanted);
                lacks.push(format!(
                    "{} was there and stays as it is; add to it: {key} = {wanted}",
                    self.config.display()
                ));
            }
        };
        let texts =
            |addresses: &[SocketAddr]| addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>();
        compare("listen", texts(listen), texts(&now.listen));
        compare("connect", connect.to_vec(), now.connect);
        Ok(lacks)
    }
}

/// Refuses a name that the settings contradict.
pub(super) fn check_name(places: &Places, settings: &Config, name: &HostName) -> Result<(), String> {
    match &settings.name {
        Some(other) if other != name => Err(format!(
            "{} says name = \"{other}\", and this host would be {name}: correct or remove that line",
            places.config.display()
        )),
        _ => Ok(()),
    }
}

fn settings_text(name: &HostName, listen: &[SocketAddr], connect: &[String]) -> String {
    let listen: Vec<_> = listen.iter().map(SocketAddr::to_string).collect();
    let mut text = format!(
        "# How this host takes part in spans; after a change: systemctl restart canhub-span\n\
         # All keys are described in docs/span.toml of canhub.\nname = \"{name}\"\n"
    );
    for (what, key, list) in [
        (
            "Addresses on which other hosts can reach this one; without any, nothing listens.",
            "listen",
            &*listen,
        ),
        ("Hosts to connect to; one is enough to be told of all others.", "connect", connect),
    ] {
        let _ = write!(text, "# {what}\n{key} = {}\n", quoted(list));
    }
    text
}

fn quoted(list: &[String]) -> String {
    let quoted: Vec<_> = list.iter().map(|one| format!("\"{one}\"")).collect();
    format!("[{}]", quoted.join(", "))
}

/// `--listen`: an address, with or without a port.
pub(super) fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    listen_address(text)
        .ok_or_else(|| "not an address such as 0.0.0.0, 0.0.0.0:7447 or 192.168.1.10".to_owned())
}

/// `--connect`: a host, with or without a port.
pub(super) fn parse_connect(text: &str) -> Result<String, String> {
    connect_address(text)
        .ok_or_else(|| "not a host such as 192.168.1.10:7447 or bench.example.com".to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use super::*;

    /// Places in a folder, with the state there too.
    pub(in crate::cli) fn places(folder: &Path) -> Places {
        let places =
            Places { config: folder.join("etc/canhub/span.toml"), ca: folder.join("etc/canhub/span-ca") };
        let state = format!("state = \"{}\"\n", folder.join("state").display());
        write_for_all(&places.config, &state).unwrap();
        places
    }

    #[test]
    fn settings_are_written_once_and_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places { config: dir.path().join("a/b/span.toml"), ca: dir.path().join("ca") };
        assert_eq!(places.settings().unwrap(), Config::default());
        let (name, listen) = ("bench".parse().unwrap(), ["0.0.0.0:7447".parse().unwrap()]);
        let connect = ["cell:7447".to_owned()];
        assert!(places.write_settings(&name, &listen, &connect).unwrap().is_empty());
        let read = places.settings().unwrap();
        assert_eq!(
            (read.name, &*read.listen, &*read.connect),
            (Some(name.clone()), &listen[..], &connect[..])
        );

        assert!(places.write_settings(&name, &listen, &connect).unwrap().is_empty(), "nothing is missing");
        let lacks = places.write_settings(&name, &[], &["rack:7447".to_owned()]).unwrap();
        assert_eq!(lacks.len(), 1);
        assert!(lacks[0].ends_with("add to it: connect = [\"rack:7447\"]"), "{lacks:?}");
        let settings = places.settings().unwrap();
        assert!(check_name(&places, &settings, &name).is_ok());
        let why = check_name(&places, &settings, &"cell".parse().unwrap()).unwrap_err();
        assert!(why.contains("says name = \"bench\", and this host would be cell"), "{why}");
    }
}
