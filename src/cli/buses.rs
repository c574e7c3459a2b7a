//! `canhub bus`: buses without Docker.

use clap::{Args, Subcommand};
use hyper::Method;
use serde::Deserialize;

use super::{
    Failed,
    ask::{self, AdminSocket},
    lines::{self, WIDTH, cut},
    options::OptionArgs,
};
use crate::{
    attachment::{BusOutline, BusRequest, WhichBus},
    names::BusName,
};

pub(super) const PATH: &str = "/v1/buses";

/// Make, remove and list buses, without Docker
#[derive(Debug, Subcommand)]
pub(super) enum BusCommand {
    /// Make a bus; it comes back after every reboot, until it is removed
    ///
    /// Its options are those of `docker network create -d canhub`, such as adapter=can0, bitrate=500000 or span=NAME. The
    /// same command twice changes nothing.
    Create(Create),
    /// Remove a bus that nobody is on
    #[command(visible_alias = "remove")]
    Rm(Rm),
    /// List all buses, those of Docker too, and who is on them
    #[command(visible_alias = "list")]
    Ls(Ls),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// Its name
    name: BusName,
    #[command(flatten)]
    options: OptionArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: AdminSocket,
}

#[derive(Debug, Args)]
pub(super) struct Rm {
    /// Its name
    name: String,
    #[command(flatten)]
    socket: AdminSocket,
}

#[derive(Debug, Args)]
pub(super) struct Ls {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: AdminSocket,
}

#[derive(Debug, Deserialize)]
struct Answer {
    bus: BusOutline,
}

#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    pub(super) buses: Vec<BusOutline>,
}

impl BusCommand {
    pub(super) fn run(self) -> Result<(), Failed> {
        match self {
            Self::Create(create) => create.run(),
            Self::Rm(rm) => rm.run(),
            Self::Ls(ls) => ls.run(),
        }
    }
}

impl Create {
    fn run(self) -> Result<(), Failed> {
        let asked = BusRequest { name: self.name, options: self.options.into_raw()? };
        let body = self.socket.send(Method::POST, PATH, ask::to_json(&asked))?;
        ask::show(&body, self.json, |Answer { bus }: &Answer| {
            format!("{}: {} on the host\n", bus.name, bus.interface)
        })?;
        Ok(())
    }
}

impl Rm {
    fn run(self) -> Result<(), Failed> {
        let body = ask::to_json(&WhichBus { name: self.name });
        let Answer { bus } = ask::parsed(&self.socket.send(Method::DELETE, PATH, body)?)?;
        lines::print(&format!("{}: removed\n", bus.name));
        Ok(())
    }
}

impl Ls {
    fn run(self) -> Result<(), Failed> {
        ask::show(&self.socket.get(PATH)?, self.json, |listed: &Listed| table(&listed.buses))?;
        Ok(())
    }
}

fn table(all: &[BusOutline]) -> String {
    if all.is_empty() {
        return "No buses yet. To make one: canhub bus create NAME, or docker network create -d canhub ...\n"
            .to_owned();
    }
    let mut text = row(["BUS", "INTERFACE", "OF", "MEMBERS"]);
    for one in all {
        let of = match (one.docker, one.transient) {
            (true, _) => "docker",
            (false, false) => "canhub",
            (false, true) => "canhub, until nobody is on it",
        };
        text += &row([&one.name, &one.interface, of, &one.members.join(" ")]);
    }
    text
}

fn row([name, interface, of, members]: [&str; 4]) -> String {
    let line = format!("{:<20} {:<15} {of:<6} {members}", cut(name, 20), cut(interface, 15));
    cut(line.trim_end(), WIDTH) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stay_in_80_columns() {
        let one = |docker| BusOutline {
            name: "x".repeat(60),
            id: "a1".repeat(32),
            interface: "busa1a1a1a1a1a1".into(),
            docker,
            transient: false,
            options: Default::default(),
            members: vec!["door".into(); 40],
        };
        let text = table(&[one(true), one(false)]);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.contains(" docker door") && text.contains(" canhub door"), "{text}");
        assert!(table(&[]).contains("canhub bus create"));
    }
}
