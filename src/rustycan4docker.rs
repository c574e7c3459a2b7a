//! Import of rustycan4docker's networks from its state file.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    error::Error, lock::Lock, names::NetworkId, network::Network, options::RawOptions, state::Store,
};

/// The name of the file.
pub const FILE: &str = "rustycan4docker-networks.json";
/// Its folder, on the host or in the plugin's root.
pub const FOLDER: &str = "/var/lib/docker/network/files";
/// Stops canhub for an import. The socket too, or Docker's next request would start it again.
pub const STOP: &str = "systemctl stop canhub.socket canhub.service";
/// Starts it again.
pub const START: &str = "systemctl start canhub.socket canhub.service";

/// A network in the file. Older versions stored `canid` as a number.
#[derive(Debug, Deserialize)]
struct Record {
    device: String,
    peer: String,
    canid: serde_json::Value,
}

/// Parses the file.
///
/// # Errors
/// Why it could not be parsed.
pub fn parse(text: &str) -> Result<Vec<Network>, String> {
    let records: BTreeMap<NetworkId, Record> = serde_json::from_str(text).map_err(|err| err.to_string())?;
    let network = |(id, record): (NetworkId, Record)| {
        let canid = record.canid.as_str().map_or_else(|| record.canid.to_string(), str::to_owned);
        let options: RawOptions =
            [("vxcan.dev", record.device), ("vxcan.peer", record.peer), ("vxcan.id", canid)]
                .map(|(key, value)| (key.to_owned(), value))
                .into();
        Network::new(id, options)
    };
    records.into_iter().map(network).collect()
}

/// The canhub network that already has the ID or the interface of this one.
pub fn known<'a>(network: &Network, all: &'a [Network]) -> Option<&'a Network> {
    all.iter().find(|known| known.id == network.id || known.hub() == network.hub())
}

/// Adds networks to canhub's records. Returns those that already exist.
///
/// Only while no daemon is running: it writes all its networks at once, so it would overwrite what is added here, and a
/// network that Docker creates at the same time would be lost.
///
/// # Errors
/// When a daemon is running, or the records cannot be read or written.
pub fn import(store: &Store, networks: &[Network]) -> Result<Vec<(Network, Network)>, String> {
    let _lock = Lock::of_state(store.dir()).map_err(|err| err.to_string())?.ok_or_else(|| {
        format!(
            "canhub is running and owns {}: stop it first (`{STOP}`), import, then start it again (`{START}`)",
            store.state_file().display()
        )
    })?;
    // Not `load`, which renames a file that it cannot parse: only the daemon and `doctor --fix` may do that.
    let loaded = store.peek();
    if let Some(warning) = loaded.unread.as_ref().or(loaded.warnings.first()) {
        return Err(warning.clone());
    }
    let (mut all, mut skipped) = (loaded.networks, Vec::new());
    for network in networks {
        match known(network, &all) {
            Some(known) => skipped.push((network.clone(), known.clone())),
            None => all.push(network.clone()),
        }
    }
    store.save_networks(&all).map_err(|err: Error| err.to_string())?;
    Ok(skipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"{"aa11": {"device": "vcan", "peer": "vcanp", "canid": "0"}, "bb22": {"device": "can", "peer": "can", "canid": 1}}"#;

    #[test]
    fn a_state_file_of_rustycan4docker_is_parsed() {
        let networks = parse(TWO).unwrap();
        let hubs: Vec<String> = networks.iter().map(|network| network.hub().to_string()).collect();
        assert_eq!(hubs, ["vcan0", "can1"]);
    }

    #[test]
    fn another_file_is_refused() {
        assert!(parse("[]").is_err());
        assert!(
            parse(r#"{"aa11": {"device": "a/b", "peer": "p", "canid": "0"}}"#)
                .unwrap_err()
                .contains("vxcan.dev")
        );
    }

    #[test]
    fn importing_twice_adds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), "boot");
        let networks = parse(TWO).unwrap();
        assert_eq!(import(&store, &networks).unwrap(), []);
        assert_eq!(store.load().networks, networks);
        assert_eq!(import(&store, &networks).unwrap().len(), 2);
        assert_eq!(store.load().networks, networks);
    }

    /// A daemon that saves between the import's read and write would lose its network.
    #[test]
    fn nothing_is_imported_while_a_daemon_runs() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), "boot");
        let daemon = Lock::of_state(dir.path()).unwrap().unwrap();
        let why = import(&store, &parse(TWO).unwrap()).unwrap_err();
        assert!(why.starts_with("canhub is running") && why.contains(STOP) && why.contains(START), "{why}");
        assert!(!store.state_file().exists());
        drop(daemon);
        assert_eq!(import(&store, &parse(TWO).unwrap()).unwrap(), []);
    }
}
