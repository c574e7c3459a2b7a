//! The end of a span port that belongs to this program: a raw CAN socket, opened again by name whenever it is gone.

use std::{io, os::fd::OwnedFd, time::Duration};

use canhub::{
    frames::CanAnyFrame,
    kernel::{FrameSocket, Heard, refused},
};
use tokio::io::{Interest, unix::AsyncFd};

/// The requested size of the receive buffer in bytes. The kernel doubles it, as far as `net.core.rmem_max` allows, and a
/// frame takes some 770 bytes of it: 20,000 frames.
const RECEIVE_BUFFER: usize = 8 << 20;
/// The same for sending to an adapter: what is in it can no longer be dropped when it gets old. Some ten frames, 5 ms of
/// a slow wire.
const SEND_BUFFER_WIRE: usize = 8 << 10;
/// How long to wait for room if nothing tells that there is some.
const ROOM: Duration = Duration::from_millis(2);
/// Frames that are read at a time, so that what comes from other hosts has its turn.
const BURST: usize = 1024;

/// An open port.
#[derive(Debug)]
pub struct Port {
    socket: FrameSocket,
    /// A second descriptor of it, with which the runtime waits for frames.
    frames: AsyncFd<OwnedFd>,
    /// The same for room, while there is none.
    room: Option<AsyncFd<OwnedFd>>,
    heard: Vec<Heard>,
    /// Why the interface is gone, once it is.
    gone: Option<String>,
}

/// What became of frames.
#[derive(Debug)]
pub enum Sent {
    /// The bus has the first ones, so many.
    First(usize),
    /// There is no room for the first one: [`Port::has_room`].
    Later,
    /// The bus does not take the first one, or is down.
    Never(io::Error),
}

impl Port {
    /// Opens the interface of this name. Frames go to a wire if it `is_paced`.
    ///
    /// # Errors
    /// One sentence.
    pub fn open(interface: &str, is_paced: bool) -> Result<Self, String> {
        let failed = |err: &dyn std::fmt::Display| format!("cannot open the span port {interface}: {err}");
        let socket = FrameSocket::open(Some(interface), RECEIVE_BUFFER).map_err(|err| failed(&err))?;
        if is_paced {
            socket.limit_send_buffer(SEND_BUFFER_WIRE).map_err(|err| failed(&err))?;
        }
        let frames = socket.watch(Interest::READABLE | Interest::ERROR).map_err(|err| failed(&err))?;
        Ok(Self { socket, frames, room: None, heard: Vec::new(), gone: None })
    }

    /// Waits for frames, or until the interface is gone.
    pub async fn has_frames(&self) {
        let ready = self.frames.ready(Interest::READABLE | Interest::ERROR).await;
        if let Ok(mut ready) = ready {
            // Before they are read: what comes later makes it ready again.
            ready.clear_ready();
        }
    }

    /// Reads the frames that are there. Returns whether none are left.
    ///
    /// # Errors
    /// The interface is gone, and no frame of it is left: open it again.
    pub fn read(&mut self) -> Result<(bool, &mut Vec<Heard>), String> {
        self.heard.clear();
        let mut is_empty = false;
        while !is_empty && self.heard.len() < BURST {
            match self.socket.receive(&mut self.heard) {
                Ok(empty) => is_empty = empty,
                // The socket says so once, before the frames that it still has.
                Err(err) if self.gone.is_none() => self.gone = Some(format!("the span port is gone: {err}")),
                Err(_) => is_empty = true,
            }
        }
        match &self.gone {
            Some(why) if is_empty && self.heard.is_empty() => Err(why.clone()),
            gone => Ok((is_empty && gone.is_none(), &mut self.heard)),
        }
    }

    /// How many frames were lost since the last one that was read, because this program was too slow.
    pub fn lost(&mut self) -> u32 {
        self.socket.lost_since().unwrap_or_default()
    }

    /// Sends frames, as far as there is room, without waiting.
    pub fn send(&mut self, frames: &[CanAnyFrame]) -> Sent {
        match self.socket.send_many(frames) {
            Ok(sent) => Sent::First(sent),
            Err(err) if refused::is_full(&err) => {
                if self.room.is_none() {
                    self.room = self.socket.watch(Interest::WRITABLE).ok();
                }
                Sent::Later
            }
            Err(err) => Sent::Never(err),
        }
    }

    /// Waits until there may be room, after [`Sent::Later`].
    pub async fn has_room(&self) {
        let writable = async {
            match &self.room {
                Some(room) => drop(room.writable().await.map(|mut ready| ready.clear_ready())),
                None => std::future::pending().await,
            }
        };
        // The socket may have room though the queue behind it has none, and says nothing when it has.
        let _ = tokio::time::timeout(ROOM, writable).await;
    }

    /// There was room for all frames: no wake-ups for it are needed.
    pub fn needs_no_room(&mut self) {
        self.room = None;
    }
}
