//! The bus that a command is about.

use std::sync::Arc;

use clap::Args;

use super::{
    Failed,
    ask::{self, AdminSocket},
    complain,
};
use crate::{
    frames::{Bus, Daemon, Sender, Tap, TapOptions, ids::IdSet},
    status::Status,
    suggest::did_you_mean,
};

/// Which bus.
#[derive(Debug, Args)]
pub(super) struct BusChoice {
    /// The bus: the name or ID of its network, or its interface on the host
    #[arg(value_name = "BUS")]
    bus: String,
    #[command(flatten)]
    socket: AdminSocket,
}

/// Which of its frames.
#[derive(Debug, Args)]
pub(super) struct FrameChoice {
    /// Only these IDs: `123`, `100-1FF`, `18FEF100:1FFFFF00` (ID and mask), `!7DF` (not this one), separated by blanks
    #[arg(long, value_name = "IDS")]
    pub(super) only: Option<IdSet>,
    /// Only what this member sent: a container's name, (host) or (wire)
    #[arg(long, value_name = "MEMBER")]
    pub(super) from: Option<Sender>,
}

impl FrameChoice {
    /// Taps the bus, and says so if the sender is not on it.
    pub(super) fn tap(self, bus: Bus) -> Result<Tap, String> {
        let name = bus.name().to_owned();
        let tap = Tap::open(bus, TapOptions { ids: self.only, from: self.from.clone() })
            .map_err(|err| format!("the frames of {name} cannot be read: {err}"))?;
        if let Some(from) = &self.from {
            note_absent(from, &tap);
        }
        Ok(tap)
    }
}

impl BusChoice {
    /// Finds it, and says what an unprivileged person does not get.
    pub(super) fn find(self) -> Result<Bus, Failed> {
        let bus = Bus::find(&self.bus, Arc::new(self.socket))?;
        if let Some(restriction) = bus.restriction() {
            complain(&restriction);
        }
        Ok(bus)
    }
}

/// Says so if the sender is not on the bus: it may be mistyped, or come later.
fn note_absent(from: &Sender, tap: &Tap) {
    let members = tap.members();
    if matches!(from, Sender::Member(_)) && !members.contains(from) {
        let names: Vec<String> = members.iter().map(Sender::to_string).collect();
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        let hint = did_you_mean(&from.to_string(), &known);
        let now = match &known[..] {
            [] => "which has no members at the moment".to_owned(),
            known => format!("whose members are {}", known.join(", ")),
        };
        complain(&format!("waiting for {from}, which is not on the bus{hint}, {now}"));
    }
}

impl Daemon for AdminSocket {
    fn status(&self) -> Result<Status, String> {
        let why = |failed| match failed {
            Failed::Because(why) | Failed::Unreachable { why, .. } => why,
            Failed::Found => String::new(),
        };
        ask::parsed(&self.get("/v1/status").map_err(why)?)
    }

    fn network_id(&self, name: &str) -> Option<String> {
        ask::network_id(name)
    }
}
