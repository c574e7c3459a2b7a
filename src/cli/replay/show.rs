//! Progress on a terminal, and the result.

use std::{
    io::{IsTerminal as _, Write as _, stderr},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    cli::quantity::grouped,
    frames::replay::{Contents, Failure, Progress, Replay},
};

/// How often the line changes.
const STEP: Duration = Duration::from_millis(500);

/// A line on the terminal, written by a thread of its own: a terminal may be slow, and frames are due.
pub(super) struct Show {
    started: Instant,
    end: mpsc::Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Show {
    pub(super) fn start(replay: &Replay, contents: &Contents, progress: Arc<Progress>) -> Self {
        let (end, ended) = mpsc::channel();
        let started = Instant::now();
        let total = replay.times.map(|times| contents.frames.saturating_mul(times));
        let thread = stderr().is_terminal().then(|| {
            thread::spawn(move || {
                while ended.recv_timeout(STEP) == Err(mpsc::RecvTimeoutError::Timeout) {
                    print(&line(&progress, total, started.elapsed()));
                }
                print("");
            })
        });
        Self { started, end, thread }
    }

    /// Clears the line; returns how long it took.
    pub(super) fn end(mut self) -> Duration {
        let took = self.started.elapsed();
        let _ = self.end.send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        took
    }
}

/// Replaces the line.
fn print(line: &str) {
    let _ = write!(stderr(), "\r\x1b[K{line}");
}

fn line(progress: &Progress, total: Option<u64>, elapsed: Duration) -> String {
    let of = match total {
        Some(total) => {
            let percent = progress.sent() * 100 / total.max(1);
            format!(" of {} frames, {percent} %", grouped(total))
        }
        None => " frames".to_owned(),
    };
    format!(
        "{}{of}, {} s, at worst {} late; Ctrl-C ends",
        grouped(progress.sent()),
        elapsed.as_secs(),
        millis(progress.worst())
    )
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// One line, or an object.
pub(super) fn result(
    progress: &Progress,
    contents: &Contents,
    took: Duration,
    bus: &str,
    done: &Result<(), Failure>,
    json: bool,
) -> String {
    if json {
        let result = json!({
            "bus": bus,
            "frames": progress.sent(),
            "frames_in_file": contents.frames,
            "error_frames_left_out": contents.errors_left_out,
            "took_us": u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            "worst_late_us": u64::try_from(progress.worst().as_micros()).unwrap_or(u64::MAX),
            "mean_late_us": u64::try_from(progress.mean().as_micros()).unwrap_or(u64::MAX),
            "complete": done.is_ok(),
        });
        return format!("{result}\n");
    }
    let left_out = match contents.errors_left_out {
        0 => String::new(),
        errors => format!("; {} error frames were left out, because {bus} has an adapter", grouped(errors)),
    };
    format!(
        "sent {} frames on {bus} in {:.1} s, at worst {} late, on average {}{left_out}\n",
        grouped(progress.sent()),
        took.as_secs_f64(),
        millis(progress.worst()),
        millis(progress.mean()),
    )
}
