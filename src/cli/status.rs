//! `canhub status`: samples twice to show frames per second.

mod span;
mod table;

use std::{
    io::{IsTerminal, stdout},
    thread::sleep,
    time::{Duration, Instant},
};

use clap::Args;

use super::{
    Failed,
    ask::{self, AdminSocket},
    lines,
};
use crate::status::{BusStatus, Status};
use table::render;

/// Time between the two samples.
const SAMPLE: Duration = Duration::from_secs(1);
/// Clears the screen (ECMA-48: cursor to the top left, erase to the end).
const CLEAR: &str = "\x1b[H\x1b[J";

/// Show all buses
///
/// LOST counts frames to and from a member that the kernel lost: the destination was down or its queue full, the
/// backlog was full, or the adapter dropped them. Lines marked ! say which. What a program's own socket loses because
/// the program reads too slowly is visible only to that program (SO_RXQ_OVFL).
#[derive(Debug, Args)]
pub(super) struct StatusCommand {
    /// Refresh every second until Ctrl-C
    #[arg(long, short)]
    watch: bool,
    /// Print JSON, with frame counts instead of rates
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: AdminSocket,
}

/// The status at a point in time.
struct Sample {
    status: Status,
    taken: Instant,
}

impl StatusCommand {
    pub(super) fn run(self) -> Result<(), Failed> {
        if self.json && !self.watch {
            let body = self.socket.get("/v1/status")?;
            ask::print_json(&body);
            return verdict(&ask::parsed(&body)?);
        }
        let mut before = self.sample()?;
        loop {
            // Without members there are no rates to wait for.
            let counts = before.status.buses.iter().any(|bus| !bus.members.is_empty());
            if counts || self.watch {
                sleep(SAMPLE);
            }
            let now = if counts || self.watch { self.sample()? } else { before.again() };
            let text = match self.json {
                true => serde_json::to_string(&now.status).unwrap_or_default() + "\n",
                false => render(&before, &now),
            };
            let clear = if self.watch && !self.json && stdout().is_terminal() { CLEAR } else { "" };
            if !lines::print(&format!("{clear}{text}")) || !self.watch {
                return verdict(&now.status);
            }
            before = now;
        }
    }

    fn sample(&self) -> Result<Sample, Failed> {
        let status = ask::parsed(&self.socket.get("/v1/status")?)?;
        Ok(Sample { status, taken: Instant::now() })
    }
}

fn verdict(status: &Status) -> Result<(), Failed> {
    if status.is_well() { Ok(()) } else { Err(Failed::Found) }
}

impl Sample {
    fn again(&self) -> Self {
        Self { status: self.status.clone(), taken: self.taken }
    }

    fn bus(&self, like: &BusStatus) -> Option<&BusStatus> {
        self.status.buses.iter().find(|bus| bus.network == like.network)
    }
}
