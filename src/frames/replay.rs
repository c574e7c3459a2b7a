//! Sends the frames of a file again, when they are due.

mod contents;
mod pace;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, sync_channel},
    },
    thread,
    time::Duration,
};

use socketcan::{CanFdSocket, Socket as _, SocketOptions as _};

use super::{CanAnyFrame, Record, Sender, formats, ids::IdSet};
use crate::kernel::{monotonic, refused, sleep_until, wake_on_time};
pub use contents::Contents;
use pace::Pace;

/// How many records are read ahead of the sender, so that it never waits for the disk.
const AHEAD: usize = 4096;
/// How long to sleep or to wait for room before looking whether to stop.
const LOOK: Duration = Duration::from_millis(100);
/// How long to wait for room in an adapter's queue that is full. A frame takes 0.2 ms at 500 kbit/s.
const ROOM: Duration = Duration::from_millis(1);

/// Which frames of a file.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Those with these ids.
    pub ids: Option<IdSet>,
    /// Those that this member sent.
    pub from: Option<Sender>,
    /// All but error frames. A controller would put a data frame on the wire instead.
    pub without_errors: bool,
}

impl Selection {
    fn contains(&self, record: &Record) -> bool {
        self.from.as_ref().is_none_or(|from| *from == record.sender)
            && self.ids.as_ref().is_none_or(|ids| ids.contains(&record.frame))
            && !(self.without_errors && matches!(record.frame, CanAnyFrame::Error(_)))
    }
}

/// What is played.
#[derive(Debug, Clone)]
pub struct Replay {
    /// The file.
    pub path: PathBuf,
    /// Which of its frames.
    pub selection: Selection,
    /// 2 is twice as fast as recorded.
    pub speed: f64,
    /// How often; without end if `None`.
    pub times: Option<u64>,
}

/// How far it is, for other threads.
#[derive(Debug, Default)]
pub struct Progress {
    sent: AtomicU64,
    worst: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Frames so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How late the latest frame was: from when it was due to when the kernel had taken it.
    pub fn worst(&self) -> Duration {
        Duration::from_nanos(self.worst.load(Ordering::Relaxed))
    }

    /// How late a frame was on average.
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.total.load(Ordering::Relaxed) / self.sent().max(1))
    }

    fn count(&self, late: Duration) {
        let late = u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
        self.worst.fetch_max(late, Ordering::Relaxed);
        self.total.fetch_add(late, Ordering::Relaxed);
        self.sent.fetch_add(1, Ordering::Relaxed);
    }
}

/// Why not all frames were sent.
#[derive(Debug)]
pub enum Failure {
    /// Somebody asked to stop.
    Stopped,
    /// The file cannot be read.
    File(String),
    /// A frame cannot be sent.
    Send {
        /// The frame, as candump prints it.
        frame: String,
        /// Why.
        source: io::Error,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("stopped"),
            Self::File(why) => f.write_str(why),
            Self::Send { frame, source } => {
                let advice = match source {
                    err if refused::is_down(err) => "; its interface is down, `canhub doctor` says why",
                    err if refused::is_gone(err) => "; its interface is gone, see `canhub status`",
                    err if refused::is_unfit(err) => "; its interface does not carry such frames",
                    _ => "",
                };
                write!(f, "the frame {frame} cannot be sent: {source}{advice}")
            }
        }
    }
}

/// A socket that sends and never hears.
///
/// # Errors
/// The interface is missing.
pub fn open_sender(interface: &str) -> io::Result<CanFdSocket> {
    let socket = CanFdSocket::open(interface)?;
    socket.set_filter_drop_all()?;
    socket.set_write_timeout(LOOK)?;
    Ok(socket)
}

impl Replay {
    /// Sends all frames; returns after the last one. `is_stopped` is asked before each, and ten times a second.
    ///
    /// # Errors
    /// See [`Failure`]. What was sent until then is in `progress`.
    pub fn run(
        &self,
        contents: &Contents,
        socket: &CanFdSocket,
        progress: &Progress,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<(), Failure> {
        wake_on_time();
        let mut pace = Pace::new(monotonic(), self.speed);
        let mut round = 0;
        while self.times.is_none_or(|times| round < times) {
            for record in self.read_ahead() {
                let record = record.map_err(Failure::File)?;
                let due = pace.due(record.time);
                // Also while all frames are late and none is waited for.
                if is_stopped() {
                    return Err(Failure::Stopped);
                }
                while monotonic() < due {
                    sleep_until(due.min(monotonic() + LOOK));
                    if is_stopped() {
                        return Err(Failure::Stopped);
                    }
                }
                send(socket, &record.frame, is_stopped)?;
                progress.count(monotonic().saturating_sub(due));
            }
            round += 1;
            pace.again(contents.mean_gap());
            if is_stopped() {
                return Err(Failure::Stopped);
            }
        }
        Ok(())
    }

    /// The selected records, read by another thread, which ends with the receiver.
    fn read_ahead(&self) -> Receiver<Result<Record, String>> {
        let (sender, receiver) = sync_channel(AHEAD);
        let (path, selection) = (self.path.clone(), self.selection.clone());
        thread::spawn(move || {
            for record in selected(&path, selection) {
                if sender.send(record).is_err() {
                    return;
                }
            }
        });
        receiver
    }
}

/// The selected records of a file. One that is cut ends where it is cut.
fn selected(path: &Path, selection: Selection) -> Box<dyn Iterator<Item = Result<Record, String>>> {
    match formats::open(path) {
        Err(why) => Box::new([Err(why)].into_iter()),
        Ok(reader) => {
            let path = path.display().to_string();
            let whole = reader.take_while(|record| !record.as_ref().is_err_and(formats::ReadError::is_cut));
            Box::new(
                whole
                    .filter(move |record| {
                        record.as_ref().is_ok_and(|record| selection.contains(record)) || record.is_err()
                    })
                    .map(move |record| record.map_err(|err| format!("{path}: {err}"))),
            )
        }
    }
}

/// Waits while a queue is full, as the wire is slower than the file.
fn send(socket: &CanFdSocket, frame: &CanAnyFrame, is_stopped: &dyn Fn() -> bool) -> Result<(), Failure> {
    loop {
        let sent = match frame {
            CanAnyFrame::Normal(frame) => socket.write_frame(frame),
            CanAnyFrame::Remote(frame) => socket.write_frame(frame),
            CanAnyFrame::Error(frame) => socket.write_frame(frame),
            CanAnyFrame::Fd(frame) => socket.write_frame(frame),
        };
        let Err(source) = sent else { return Ok(()) };
        if !refused::is_full(&source) {
            return Err(Failure::Send { frame: format!("{frame:X}"), source });
        }
        if is_stopped() {
            return Err(Failure::Stopped);
        }
        // The socket waits by itself for its own room, and not for that of the interface's queue.
        if source.kind() != io::ErrorKind::WouldBlock {
            thread::sleep(ROOM);
        }
    }
}
