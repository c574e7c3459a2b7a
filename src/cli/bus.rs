//! The bus that a command is about.

use std::sync::Arc;

use clap::Args;

use super::{
    Failed,
    ask::{self, AdminSocket},
    complain,
};
use crate::{
    frames::{Bus, Daemon, Sender, Tap},
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
pub(super) fn note_absent(from: &Sender, tap: &Tap) {
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
        ask::status(&self.get("/v1/status").map_err(why)?)
    }
}
