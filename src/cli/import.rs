//! `canhub import`: imports the networks of another plugin.

use std::{fs, path::PathBuf};

use clap::{Args, Subcommand};

use crate::{
    kernel::boot_id,
    rustycan4docker::{self, START},
    state::Store,
};

#[derive(Debug, Subcommand)]
pub(super) enum Import {
    /// Import networks from rustycan4docker-networks.json
    Rustycan4docker(Rustycan4docker),
}

#[derive(Debug, Args)]
pub(super) struct Rustycan4docker {
    /// State file of rustycan4docker: rustycan4docker-networks.json
    file: PathBuf,
    /// State folder of canhub
    #[arg(long, env = "CANHUB_STATE_DIR", default_value = "/var/lib/canhub", value_name = "PATH")]
    state_dir: PathBuf,
}

impl Import {
    pub(super) fn run(self) -> Result<(), String> {
        let Self::Rustycan4docker(import) = self;
        import.run()
    }
}

impl Rustycan4docker {
    #[allow(clippy::print_stdout, reason = "output of a command")]
    fn run(self) -> Result<(), String> {
        let text = fs::read_to_string(&self.file)
            .map_err(|err| format!("cannot read {}: {err}", self.file.display()))?;
        let networks = rustycan4docker::parse(&text).map_err(|why| {
            format!("{} is not a state file of rustycan4docker: {why}", self.file.display())
        })?;
        let skipped = rustycan4docker::import(&Store::new(&self.state_dir, boot_id()), &networks)?;
        for network in &networks {
            let hub = network.hub();
            match skipped.iter().find(|(skipped, _)| skipped.id == network.id) {
                Some((_, known)) => println!(
                    "skipped {}: canhub's network {} has the same ID, or already uses interface {hub}",
                    network.id.short(),
                    known.id.short()
                ),
                None => println!("imported {}: bus on {hub}", network.id.short()),
            }
        }
        println!(
            "Start canhub to use them: {START}\n\
             Docker calls a network's driver by the name that the network was created with. To move a network to the driver canhub:"
        );
        for network in &networks {
            let options: String =
                network.raw.iter().map(|(key, value)| format!(" -o {key}={value}")).collect();
            println!(
                "  docker network rm NAME && docker network create -d canhub --ipam-driver null{options} NAME"
            );
        }
        Ok(())
    }
}
