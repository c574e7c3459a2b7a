//! What a person sees of a recording: a line while it runs, a sentence at its end.

use std::{
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

use serde::Serialize;

use super::output::Output;
use crate::{
    cli::{
        lines::{self, WIDTH},
        quantity::{bytes, grouped},
    },
    frames::Lost,
};

/// How often the line changes.
const REFRESH: Duration = Duration::from_millis(500);
/// Erases the line (ECMA-48).
const ERASE: &str = "\r\x1b[K";

/// Why a recording ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Ended {
    /// By a signal.
    Asked,
    /// The time was over.
    Time,
    /// As many frames as wanted.
    Count,
    /// The file could not be written.
    Unwritable,
}

/// The progress of a recording.
pub(super) struct Progress {
    bus: String,
    /// Frames that were lost.
    pub(super) lost: Lost,
    started: Instant,
    /// When the line was last shown, and how many frames there were.
    shown: (Instant, u64),
    on_terminal: bool,
}

/// The result as JSON.
#[derive(Serialize)]
struct Recorded<'a> {
    bus: &'a str,
    frames: u64,
    /// At most; it is exact if both are equal.
    lost: u64,
    lost_at_least: u64,
    bytes: u64,
    seconds: f64,
    files: Vec<String>,
    ended: Ended,
}

impl Progress {
    pub(super) fn new(bus: &str) -> Self {
        let now = Instant::now();
        Self {
            bus: bus.to_owned(),
            lost: Lost::default(),
            started: now,
            shown: (now, 0),
            on_terminal: stderr().is_terminal(),
        }
    }

    /// Shows the line if there is a terminal and it is time.
    pub(super) fn show(&mut self, output: &Output) {
        let (shown, before) = self.shown;
        let since = shown.elapsed();
        if !self.on_terminal || since < REFRESH {
            return;
        }
        let frames = output.frames();
        let rate = (frames - before) as f64 / since.as_secs_f64();
        self.shown = (Instant::now(), frames);
        let line = self.line(output, rate);
        let mut err = stderr().lock();
        let _ = write!(err, "{ERASE}{}", lines::cut(&line, WIDTH - 1)).and_then(|()| err.flush());
    }

    fn line(&self, output: &Output, rate: f64) -> String {
        let seconds = self.started.elapsed().as_secs();
        let time = format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        format!(
            "{time}  {} frames  {}/s  {}  {}  (Ctrl-C ends)",
            grouped(output.frames()),
            grouped(rate as u64),
            bytes(output.bytes()),
            lost(self.lost)
        )
    }

    /// Removes the line.
    pub(super) fn clear(&self) {
        if self.on_terminal {
            let mut err = stderr().lock();
            let _ = write!(err, "{ERASE}").and_then(|()| err.flush());
        }
    }

    /// The result, for people or as JSON.
    pub(super) fn result(&self, output: &Output, ended: Ended, json: bool) -> String {
        let files: Vec<String> = output.files().iter().map(|file| file.display().to_string()).collect();
        let (frames, size) = (output.frames(), output.bytes());
        if json {
            let seconds = self.started.elapsed().as_secs_f64();
            let Lost { at_least: lost_at_least, at_most: lost } = self.lost;
            let bus = &self.bus;
            let recorded = Recorded { bus, frames, lost, lost_at_least, bytes: size, seconds, files, ended };
            return serde_json::to_string(&recorded).unwrap_or_default() + "\n";
        }
        let place = match &files[..] {
            [first, .., last] => format!("{} files from {first} to {last}", files.len()),
            files => files.concat(),
        };
        format!(
            "recorded {} frames of {} in {place} ({}), {}\n",
            grouped(frames),
            self.bus,
            bytes(size),
            lost(self.lost)
        )
    }
}

fn lost(lost: Lost) -> String {
    match lost {
        Lost { at_most: 0, .. } => "none lost".to_owned(),
        Lost { at_least, at_most } if at_least == at_most => format!("{} LOST", grouped(at_most)),
        Lost { at_least, at_most } => format!("{} to {} LOST", grouped(at_least), grouped(at_most)),
    }
}
