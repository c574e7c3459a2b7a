//! `canhub-span init`.

use std::net::SocketAddr;

use clap::Args;

use super::{
    START,
    places::{Places, check_name, parse_listen},
};
use crate::fleet::{Authority, HostName, Invitation, Store, time};

/// Start a fleet: make its CA, with this host as the first
///
/// The key of the CA stays on this host, in a folder that only root can read. It is needed to invite, renew and revoke,
/// not for the buses: they work while this host is down.
#[derive(Debug, Args)]
pub(super) struct Init {
    /// Name of this host in the fleet [default: the host name]
    #[arg(long, value_name = "NAME")]
    name: Option<HostName>,
    /// Address on which other hosts can reach this one, with or without a port (7447): 0.0.0.0 for all. May be repeated
    #[arg(long, value_name = "ADDRESS", value_parser = parse_listen)]
    listen: Vec<SocketAddr>,
    #[command(flatten)]
    places: Places,
}

impl Init {
    pub(super) fn run(self) -> Result<String, String> {
        let settings = self.places.settings()?;
        let name = match self.name.or_else(|| settings.name.clone()) {
            Some(name) => name,
            None => HostName::of_this_machine().map_err(|why| format!("{why}; choose one with --name"))?,
        };
        check_name(&self.places, &settings, &name)?;
        let store = Store::new(&settings.state);
        if let Some(identity) = store.identity()? {
            let (host, fleet) = (identity.certificate.host, identity.ca.fingerprint());
            return Err(match Authority::exists(&self.places.ca) {
                true => format!(
                    "this host has started a fleet already ({fleet}); to add a host: canhub-span invite HOST"
                ),
                false => format!(
                    "this host is {host} in the fleet {fleet}; to start a fleet, leave that one first: canhub-span leave"
                ),
            });
        }
        let now = time::now();
        // Without an identity it was left or interrupted; its fleet goes on.
        let mut ca = match Authority::exists(&self.places.ca) {
            true => self.places.authority(&store)?,
            false => Authority::create(&self.places.ca, now)?,
        };
        let identity = ca.issue(&name, None, now)?;
        // Before the host is in the fleet: a service that waits for this reads them then.
        let lacks = self.places.write_settings(&name, &self.listen, &[])?;
        store.join(&Invitation::new(identity, ca.certificate(), ca.list(), Vec::new()))?;

        let (fleet, folder) = (ca.certificate().fingerprint(), self.places.ca.display());
        let mut text = format!(
            "This host is {name}, the first of the fleet {fleet}.\n\
             Whoever has {folder} can let hosts in: keep a copy of it in a safe place.\n"
        );
        for lack in lacks {
            text += &format!("{lack}\n");
        }
        if self.listen.is_empty() && settings.listen.is_empty() {
            text += &format!(
                "Nothing listens on this host, so others cannot find it: add listen = [\"0.0.0.0\"] to {}\n",
                self.places.config.display()
            );
        }
        text += &format!(
            "Next, type here:\n  {START}\nand for each other host:\n  canhub-span invite HOST > HOST.invitation\n"
        );
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::places::tests::places, *};

    #[test]
    fn init_makes_a_fleet_once() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let init = |name: &str| {
            let listen = vec!["0.0.0.0:7447".parse().unwrap()];
            Init { name: Some(name.parse().unwrap()), listen, places: places.clone() }.run()
        };
        let text = init("bench").unwrap();
        assert!(text.starts_with("This host is bench, the first of the fleet "), "{text}");
        assert!(text.contains("add to it: listen = [\"0.0.0.0:7447\"]") && text.contains(START), "{text}");
        let store = Store::new(dir.path().join("state"));
        assert_eq!(store.list().unwrap().common_names("bench").len(), 1);
        assert!(store.list().unwrap().may("bench", "any"));

        assert!(init("bench").unwrap_err().contains("has started a fleet already"));
        let fleet = store.identity().unwrap().unwrap().ca;
        store.leave().unwrap();
        init("bench").unwrap();
        assert_eq!(store.identity().unwrap().unwrap().ca, fleet, "the fleet goes on");
        std::fs::remove_dir_all(&places.ca).unwrap();
        assert!(init("cell").unwrap_err().contains("leave that one first: canhub-span leave"));
    }
}
