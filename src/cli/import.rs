//! `canhub import`: the networks of another plugin.

use std::{collections::BTreeMap, fs, path::PathBuf};

use clap::{Args, Subcommand};
use serde::Deserialize;

use crate::{kernel::boot_id, names::NetworkId, network::Network, options::RawOptions, state::Store};

#[derive(Debug, Subcommand)]
pub(super) enum Import {
    /// Take over rustycan4docker's networks from its rustycan4docker-networks.json
    Rustycan4docker(Rustycan4docker),
}

#[derive(Debug, Args)]
pub(super) struct Rustycan4docker {
    /// Its state file: rustycan4docker-networks.json
    file: PathBuf,
    /// canhub's state folder
    #[arg(long, env = "CANHUB_STATE_DIR", default_value = "/var/lib/canhub", value_name = "PATH")]
    state_dir: PathBuf,
}

/// One network in rustycan4docker's file; older versions kept the id as a number.
#[derive(Debug, Deserialize)]
struct Record {
    device: String,
    peer: String,
    canid: serde_json::Value,
}

impl Import {
    pub(super) fn run(self) -> Result<(), String> {
        let Self::Rustycan4docker(import) = self;
        import.run()
    }
}

impl Rustycan4docker {
    #[allow(clippy::print_stdout, reason = "what the command is asked for")]
    fn run(self) -> Result<(), String> {
        let text = fs::read_to_string(&self.file)
            .map_err(|err| format!("cannot read {}: {err}", self.file.display()))?;
        let imported =
            parse(&text).map_err(|why| format!("{} is not rustycan4docker's: {why}", self.file.display()))?;

        let store = Store::new(&self.state_dir, boot_id());
        let loaded = store.load();
        if let Some(warning) = loaded.warnings.first() {
            return Err(warning.clone());
        }
        let mut networks = loaded.networks;
        for network in &imported {
            let hub = network.hub();
            let known = networks.iter().find(|known| known.id == network.id || known.hub() == hub);
            match known {
                Some(known) => println!(
                    "skipped {}: network {} of canhub has it or its interface {hub} already",
                    network.id.short(),
                    known.id.short()
                ),
                None => {
                    println!("imported {}: bus on {hub}", network.id.short());
                    networks.push(network.clone());
                }
            }
        }
        store.save_networks(&networks).map_err(|err| err.to_string())?;
        println!(
            "Restart canhub to use them (systemctl restart canhub). Docker keeps calling a network's driver by the name it was\n\
             created with; to move one to canhub for good:"
        );
        for network in &imported {
            let options: String =
                network.raw.iter().map(|(key, value)| format!(" -o {key}={value}")).collect();
            println!(
                "  docker network rm NAME && docker network create -d canhub --ipam-driver null{options} NAME"
            );
        }
        Ok(())
    }
}

fn parse(text: &str) -> Result<Vec<Network>, String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_as_rustycan4docker_writes_it_is_understood() {
        let text = r#"{"aa11": {"device": "vcan", "peer": "vcanp", "canid": "0"}, "bb22": {"device": "can", "peer": "can", "canid": 1}}"#;
        let networks = parse(text).unwrap();
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
}
