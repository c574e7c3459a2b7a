//! A tunnel's end on the bus.

use std::{collections::VecDeque, future::Future, time::Duration};

use canhub::{
    frames::{CanAnyFrame, Timestamp},
    kernel::Heard,
};
use tokio::time::sleep;

use super::{Link, Status};
use crate::{
    flow::{Clocks, Entries, HEARTBEAT, Moment},
    port::{Port, Sent},
};

/// Frames that wait for room on the bus: a second of a full bus at 1 Mbit/s.
const WAITING: usize = 8192;

/// A socket on the bus: [`Port`], or memory in tests.
pub(super) trait Socket: Send + Sync {
    /// See [`Port::has_frames`].
    fn has_frames(&self) -> impl Future<Output = ()> + Send;
    /// See [`Port::read`].
    fn read(&mut self) -> Result<(bool, &mut Vec<Heard>), String>;
    /// See [`Port::send`].
    fn send(&mut self, frames: &[CanAnyFrame]) -> Sent;
    /// See [`Port::has_room`].
    fn has_room(&self) -> impl Future<Output = ()> + Send;
    /// See [`Port::needs_no_room`].
    fn needs_no_room(&mut self);
}

impl Socket for Port {
    fn has_frames(&self) -> impl Future<Output = ()> + Send {
        self.has_frames()
    }

    fn read(&mut self) -> Result<(bool, &mut Vec<Heard>), String> {
        self.read()
    }

    fn send(&mut self, frames: &[CanAnyFrame]) -> Sent {
        self.send(frames)
    }

    fn has_room(&self) -> impl Future<Output = ()> + Send {
        self.has_room()
    }

    fn needs_no_room(&mut self) {
        self.needs_no_room();
    }
}

/// An open end.
pub(super) struct End<S> {
    port: S,
    entries: Entries,
    /// Frames of the other side that wait for room.
    waiting: VecDeque<CanAnyFrame>,
    /// When each of them came.
    came: VecDeque<Moment>,
    age: Duration,
    takes_fd: bool,
    pub(super) status: Status,
}

impl End<Port> {
    /// Opens it. What is on the bus from now on is heard.
    ///
    /// # Errors
    /// One sentence.
    pub(super) fn open(link: &Link, status: &Status) -> Result<Self, String> {
        Ok(Self::on(Port::open(&link.interface, link.is_paced)?, link, status))
    }
}

impl<S: Socket> End<S> {
    /// On an open socket.
    pub(super) fn on(port: S, link: &Link, status: &Status) -> Self {
        Self {
            port,
            entries: Entries::new(Clocks::now()),
            waiting: VecDeque::new(),
            came: VecDeque::new(),
            age: link.age,
            takes_fd: link.takes_fd,
            status: status.clone(),
        }
    }

    /// Frames that are older are dropped.
    pub(super) fn age(&self) -> Duration {
        self.age
    }

    /// Waits for frames on the bus, or for room if some wait for it; at most a [`HEARTBEAT`], so that the end knows how late
    /// a time stamp can be.
    pub(super) async fn is_ready(&self) {
        tokio::select! {
            () = self.port.has_frames() => {}
            () = self.port.has_room(), if !self.waiting.is_empty() => {}
            () = sleep(HEARTBEAT) => {}
        }
    }

    /// The frames of the bus that are not too old.
    ///
    /// # Errors
    /// One sentence: the port is gone.
    pub(super) fn read(&mut self, mut each: impl FnMut(&CanAnyFrame)) -> Result<(), String> {
        loop {
            let (is_empty, heard) = self.port.read()?;
            let now = Clocks::now();
            let (mut too_old, mut lost) = (0, 0);
            for heard in heard.drain(..) {
                lost += u64::from(heard.lost);
                // The state of a controller of this host; no frame of the wire.
                if matches!(heard.frame, CanAnyFrame::Error(_)) {
                    continue;
                }
                match now.now.since(self.entries.entered(&now, Timestamp(heard.time))) <= self.age {
                    true => each(&heard.frame),
                    false => too_old += 1,
                }
            }
            if too_old + lost > 0 {
                let mut status = self.status.lock();
                status.too_old += too_old;
                status.lost += lost;
            }
            if is_empty {
                self.entries.is_empty(now);
                return Ok(());
            }
        }
    }

    /// Gives frames of the other side to the bus.
    pub(super) fn write(&mut self, frames: impl IntoIterator<Item = CanAnyFrame>) {
        let now = Moment::now();
        for frame in frames {
            let is_taken = self.takes_fd || !matches!(frame, CanAnyFrame::Fd(_));
            match is_taken && self.waiting.len() < WAITING {
                true => {
                    self.waiting.push_back(frame);
                    self.came.push_back(now);
                }
                false => self.status.lock().refused += 1,
            }
        }
        self.flush();
    }

    /// Writes what waits, and drops what waited too long.
    pub(super) fn flush(&mut self) {
        let now = Moment::now();
        let too_old = self.came.iter().take_while(|came| now.since(**came) > self.age).count();
        self.drop_first(too_old);
        let (mut written, mut refused) = (0, 0);
        while !self.waiting.is_empty() {
            match self.port.send(self.waiting.as_slices().0) {
                Sent::First(0) | Sent::Later => break,
                Sent::First(sent) => {
                    self.drop_first(sent);
                    written += sent as u64;
                }
                Sent::Never(_) => {
                    self.drop_first(1);
                    refused += 1;
                }
            }
        }
        if self.waiting.is_empty() {
            self.port.needs_no_room();
        }
        let mut status = self.status.lock();
        status.frames_in += written;
        status.too_old += too_old as u64;
        status.refused += refused;
    }

    fn drop_first(&mut self, count: usize) {
        self.waiting.drain(..count);
        self.came.drain(..count);
    }
}
