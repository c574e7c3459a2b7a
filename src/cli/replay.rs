//! `canhub replay`: sends the frames of a file on a bus.

mod show;

use std::{path::PathBuf, sync::Arc};

use clap::Args;

use super::{
    Failed,
    bus::{BusChoice, FrameChoice},
    complain, file, lines,
    stop::Stop,
};
use crate::{
    frames::{
        Bus, Sender,
        replay::{Contents, Failure, Progress, Replay, Selection, open_sender},
    },
    kernel::{CANFD_MTU, Kernel as _, Link, LinkKind, Linux},
};
use show::Show;

/// Send the frames of a file on a bus, with their original timing
///
/// The ending of the file chooses the format: .log as candump -L writes it, .asc or .blf of Vector's tools, .pcapng of
/// Wireshark. The frames are sent from the host: every member of the bus receives them. On an adapter's bus error frames
/// are left out. --from means who sent a frame when it was recorded; in a file of another program, its interface or channel.
/// Exit codes: 0 all were sent, 1 not all, 2 bad usage.
#[derive(Debug, Args)]
pub(super) struct ReplayCommand {
    /// The file, ending in .log, .asc, .blf or .pcapng
    #[arg(value_parser = file::path())]
    file: PathBuf,
    #[command(flatten)]
    bus: BusChoice,
    /// So many times as fast as recorded, such as 10 or 0.5
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// Start again at the end: N rounds in all, without N until Ctrl-C
    #[arg(long = "loop", value_name = "N", num_args = 0..=1, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: Option<Option<u64>>,
    #[command(flatten)]
    frames: FrameChoice,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed| (0.001..=1000.0).contains(speed));
    speed.ok_or_else(|| "allowed are numbers from 0.001 to 1000".to_owned())
}

impl ReplayCommand {
    pub(super) fn run(self) -> Result<(), Failed> {
        let stop = Stop::on_signals()?;
        let bus = self.bus.find()?;
        let hub = hub(&bus)?;
        let selection = Selection {
            ids: self.frames.only,
            from: self.frames.from,
            without_errors: hub.kind != LinkKind::Vcan,
        };
        let contents = Contents::read(&self.file, &selection, &|| stop.is_set())?;
        check(&contents, &selection, &self.file.display().to_string(), &bus, &hub)?;
        if let Some(cut) = &contents.cut {
            complain(&format!("{cut}. The {} frames before are sent", contents.frames));
        }

        let socket = open_sender(&hub.name).map_err(|err| format!("cannot send on {}: {err}", hub.name))?;
        let times = self.rounds.map_or(Some(1), |rounds| rounds);
        let replay = Replay { path: self.file, selection, speed: self.speed, times };
        let progress = Arc::new(Progress::default());
        let show = Show::start(&replay, &contents, Arc::clone(&progress));
        let done = replay.run(&contents, &socket, &progress, &|| stop.is_set());
        let took = show.end();
        lines::print(&show::result(&progress, &contents, took, bus.name(), &done, self.json));
        match done {
            Ok(()) => Ok(()),
            // What was asked for: playing without end ends this way.
            Err(Failure::Stopped) if times.is_none() => Ok(()),
            Err(Failure::Stopped) => Err(Failed::Found),
            Err(failure) => Err(Failed::Because(failure.to_string())),
        }
    }
}

/// The interface to send on.
fn hub(bus: &Bus) -> Result<Link, String> {
    let gone = || {
        format!(
            "{} has no interface on this host at the moment, so nothing can be sent: see `canhub status`",
            bus.name()
        )
    };
    let name = bus.hub().ok_or_else(gone)?;
    let links = Linux::default().links();
    let links = links.map_err(|err| format!("the interfaces of this host cannot be listed: {err}"))?;
    links.into_iter().find(|link| link.name == name).ok_or_else(gone)
}

/// Whether there is something that can be sent.
fn check(
    contents: &Contents,
    selection: &Selection,
    file: &str,
    bus: &Bus,
    hub: &Link,
) -> Result<(), String> {
    if contents.fd > 0 && hub.mtu < CANFD_MTU {
        return Err(format!(
            "{file} has {} FD frames, but {} carries classic frames only (MTU {}): choose frames with --only or --from, \
             or replay it on a bus with frames=fd",
            contents.fd,
            bus.name(),
            hub.mtu
        ));
    }
    if contents.frames > 0 {
        return Ok(());
    }
    if let Some(from) = selection.from.as_ref().filter(|from| !contents.senders.contains_key(*from)) {
        let senders: Vec<String> = contents.senders.keys().map(Sender::to_string).collect();
        let senders = if senders.is_empty() { "nobody".to_owned() } else { senders.join(", ") };
        return Err(format!("{file} has no frames of {from}, only of {senders}"));
    }
    Err(match contents.senders.is_empty() {
        true => format!("{file} has no frames"),
        false => format!("{file} has no frames that are to be sent"),
    })
}
