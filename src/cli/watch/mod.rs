//! `canhub watch`: what is going on on a bus, and who sends it.

mod columns;
mod help;
mod lines;
#[cfg(test)]
mod samples;
mod screen;
mod signals;
mod source;
mod terminal;
mod view;
mod words;

use std::{
    io::{IsTerminal as _, stdin, stdout},
    path::PathBuf,
};

use clap::Args;

use super::{
    Failed,
    bus::{BusChoice, FrameChoice},
};
use crate::{
    frames::{Lost, Record, Tap, dbc::Database, table::Table, wire::Wire},
    kernel::{Kernel as _, Linux},
};
use screen::Scene;
use source::{PATIENCE, Source};

/// Watch the frames of a bus: who sends what, how often, with names and values from DBC files
///
/// In a terminal: a table with one row for each ID and sender, with cycle time, jitter, and the bytes that just changed
/// marked; ? shows the keys, q quits. In a pipe: a line for each frame. Without root, containers are shown by the IDs of
/// their endpoints.
#[derive(Debug, Args)]
pub(super) struct Watch {
    #[command(flatten)]
    bus: BusChoice,
    /// Names, values and units of signals; may be given several times
    #[arg(long, value_name = "FILE")]
    dbc: Vec<PathBuf>,
    #[command(flatten)]
    frames: FrameChoice,
    /// Print one JSON object for each frame
    #[arg(long)]
    json: bool,
}

impl Watch {
    pub(super) fn run(self) -> Result<(), Failed> {
        let database = Database::load(&self.dbc).map_err(|err| err.to_string())?;
        let bus = self.bus.find()?;
        let (name, note) = (bus.name().to_owned(), bus.restriction());
        let hub = bus.hub().map(str::to_owned);
        let wire = hub.as_deref().and_then(wire);
        let title = hub.filter(|hub| *hub != name).map_or(name.clone(), |hub| format!("{name} ({hub})"));
        let choice = match (&self.frames.only, &self.frames.from) {
            (None, None) => None,
            (Some(_), None) => Some("of the chosen IDs".into()),
            (None, Some(from)) => Some(format!("from {from}")),
            (Some(_), Some(from)) => Some(format!("of the chosen IDs from {from}")),
        };
        let tap = self.frames.tap(bus)?;
        let source = Tapped { tap, name };
        let is_terminal = stdout().is_terminal() && stdin().is_terminal();
        let done = match is_terminal && !self.json {
            true => {
                let bitrate = wire.map(|wire| wire.bitrate);
                terminal::run(source, Table::new(wire), Scene { title, choice, bitrate, note, database })
            }
            false => lines::run(source, &database, self.json),
        };
        done.map_err(Failed::from)
    }
}

/// The speed of an adapter, if this is one. Without it, there is no load to show.
fn wire(hub: &str) -> Option<Wire> {
    let links = Linux::default().links().ok()?;
    let controller = links.into_iter().find(|link| link.name == hub)?.controller?;
    let data_bitrate = controller.data_timing.map(|timing| timing.bitrate).filter(|rate| *rate > 0);
    Some(Wire { bitrate: controller.timing?.bitrate, data_bitrate }).filter(|wire| wire.bitrate > 0)
}

/// A tap as a source.
struct Tapped {
    tap: Tap,
    name: String,
}

impl Source for Tapped {
    fn read(&mut self, records: &mut Vec<Record>) -> Result<Lost, String> {
        let read = self.tap.read(PATIENCE, records);
        read.map_err(|err| format!("the frames of {} cannot be read any more: {err}", self.name))?;
        Ok(self.tap.lost())
    }
}
