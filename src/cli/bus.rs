//! The bus that a command is about.

use std::sync::Arc;

use clap::Args;

use super::{Failed, ask::AdminSocket, complain};
use crate::{
    frames::{Bus, Daemon},
    status::Status,
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

impl Daemon for AdminSocket {
    fn status(&self) -> Result<Status, String> {
        let why = |failed| match failed {
            Failed::Because(why) | Failed::Unreachable { why, .. } => why,
            Failed::Found => String::new(),
        };
        let body = self.get("/v1/status").map_err(why)?;
        serde_json::from_slice(&body)
            .map_err(|err| format!("cannot parse canhub's answer; is it another version? {err}"))
    }
}
