//! `canhub record`: writes the frames of a bus to a file.

mod output;
mod progress;

use std::{
    path::PathBuf,
    thread::sleep,
    time::{Duration, Instant},
};

use clap::Args;

use super::{
    Failed,
    bus::{BusChoice, FrameChoice},
    file, lines, quantity,
    stop::Stop,
};
use crate::frames::{Lost, formats::Format};
use output::{Output, Rotation};
use progress::{Ended, Progress};

/// How long to wait for frames; also how late a signal or the end of the time is noticed.
const WAIT: Duration = Duration::from_millis(100);
/// On a busy bus, how long to let frames gather: reading each one by itself costs several times the CPU time.
const GATHER: Duration = Duration::from_millis(25);

/// Record the frames of a bus, with their senders
///
/// The ending of the file chooses the format: .log as candump -L writes it, .asc and .blf as Vector's tools read them,
/// .pcapng for Wireshark. All of them say who sent each frame: a container, (host) or (wire). Recording ends with Ctrl-C,
/// SIGTERM, --for or --count. The file can be read at any time; if canhub is killed, at most the last second is missing.
/// Exit codes: 0 all frames were recorded, 1 some were lost or the file could not be written, 2 bad usage.
#[derive(Debug, Args)]
pub(super) struct Record {
    #[command(flatten)]
    bus: BusChoice,
    /// The file, ending in .log, .asc, .blf or .pcapng
    #[arg(long, short, value_name = "FILE", value_parser = file::path())]
    output: PathBuf,
    #[command(flatten)]
    frames: FrameChoice,
    /// Start a new file when one has this size, such as 100M: FILE-0001, FILE-0002, …
    #[arg(long, value_name = "SIZE", value_parser = quantity::size)]
    rotate_size: Option<u64>,
    /// Start a new file after this time, such as 1h
    #[arg(long, value_name = "TIME", value_parser = quantity::duration)]
    rotate_every: Option<Duration>,
    /// End after this time, such as 10s
    #[arg(long = "for", value_name = "TIME", value_parser = quantity::duration)]
    time: Option<Duration>,
    /// End after this many frames
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Overwrite existing files
    #[arg(long)]
    force: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Record {
    pub(super) fn run(self) -> Result<(), Failed> {
        let format = Format::of(&self.output)?;
        let stop = Stop::on_signals()?;
        let bus = self.bus.find()?;
        let name = bus.name().to_owned();
        let mut tap = self.frames.tap(bus)?;
        let rotation = Rotation { size: self.rotate_size, time: self.rotate_every };
        let mut output = Output::create(self.output, format, rotation, self.force)?;
        let mut progress = Progress::new(&name);

        let deadline = self.time.map(|time| Instant::now() + time);
        let mut records = Vec::new();
        let mut left = self.count.unwrap_or(u64::MAX);
        let (ended, written) = loop {
            let now = Instant::now();
            let ended = if stop.is_set() {
                Some(Ended::Asked)
            } else if deadline.is_some_and(|deadline| deadline <= now) {
                Some(Ended::Time)
            } else {
                None
            };
            let wait = deadline.map_or(WAIT, |deadline| WAIT.min(deadline.saturating_duration_since(now)));
            let read = match ended {
                Some(_) => tap.finish(&mut records),
                None => tap.read(wait, &mut records),
            };
            if let Err(err) = read {
                let kept = output.finish();
                progress.clear();
                kept?;
                return Err(format!("the frames of {name} cannot be read any more: {err}").into());
            }
            progress.lost = tap.lost();
            records.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= records.len() as u64;
            let written =
                records.iter().try_for_each(|record| output.write(record)).and_then(|()| output.tick());
            let gathers = !records.is_empty() && ended.is_none();
            records.clear();
            progress.show(&output);
            match (written, ended) {
                (Err(why), _) => break (Ended::Unwritable, Err(why)),
                (Ok(()), Some(ended)) => break (ended, Ok(())),
                (Ok(()), None) if left == 0 => break (Ended::Count, Ok(())),
                (Ok(()), None) if gathers => sleep(GATHER),
                (Ok(()), None) => {}
            }
        };
        let written = written.and_then(|()| output.finish());
        let ended = if written.is_err() { Ended::Unwritable } else { ended };
        progress.clear();
        lines::print(&progress.result(&output, ended, self.json));
        written?;
        if progress.lost == Lost::default() { Ok(()) } else { Err(Failed::Found) }
    }
}
