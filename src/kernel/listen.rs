//! Listens to the frames of all CAN interfaces of the host, and to what becomes of the interfaces.
//!
//! One socket for all interfaces, so that the frames are in the order in which the kernel delivered them: it gives a
//! frame to the sockets that listen everywhere before it gives it to can-gw's rules (`can_receive` in `net/can/af_can.c`).
//! A member's frame therefore always comes before the echoes that its forwarding causes.

use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, SockFlag, recv},
};

use super::{
    Filter, FrameSocket, Heard, Kernel as _, Link, Linux, Result, link,
    message::replies,
    monitor::{EVENT_BYTES, RTM_DELLINK, subscribe},
    wait_readable,
};

/// The requested size of the receive buffer in bytes. The kernel doubles it, and a frame takes some 770 bytes of it, so
/// it holds 174,000: seconds of anything that a CPU can forward. Memory is only used by what is queued.
const RECEIVE_BUFFER: usize = 64 << 20;

/// What became of the host's interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkNews {
    /// These exist, and no others.
    All(Vec<Link>),
    /// This one was added or changed.
    Changed(Box<Link>),
    /// The one with this index was removed, or moved to another namespace.
    Removed(u32),
}

/// Listens; everything it holds ends with it.
#[derive(Debug)]
pub struct Listener {
    frames: FrameSocket,
    events: OwnedFd,
    event: Vec<u8>,
    kernel: Linux,
    /// Whether the first list of links is still to be read, or events were lost.
    must_list: bool,
}

impl Listener {
    /// Listens to the frames that pass one of these filters; `None`: to all. Error frames always come. Frames that do not
    /// pass may come too: those of the first moments, and all if there are more filters than the kernel allows.
    ///
    /// # Errors
    /// If a socket cannot be had. Without `CAP_NET_ADMIN` the receive buffer is limited by `net.core.rmem_max`, which is
    /// not an error.
    pub fn open(filters: Option<&[Filter]>) -> Result<Self> {
        let events = subscribe(SockFlag::SOCK_NONBLOCK)?;
        let frames = FrameSocket::open(None, RECEIVE_BUFFER)?;
        if let Some(filters) = filters {
            frames.filter(filters)?;
        }
        Ok(Self { frames, events, event: vec![0; EVENT_BYTES], kernel: Linux::default(), must_list: true })
    }

    /// Waits until there is a frame or news of links, at most this long. Returns whether there is news of links.
    ///
    /// # Errors
    /// The kernel's. A signal ends the wait early, without an error.
    pub fn wait(&self, timeout: Duration) -> Result<bool> {
        let ready = wait_readable(&[self.frames.as_fd(), self.events.as_fd()], Some(timeout))?;
        Ok(self.must_list || ready.last() == Some(&true))
    }

    /// Receives some of the queued frames, in order. Returns whether none are left.
    ///
    /// # Errors
    /// The socket's.
    pub fn receive(&mut self, heard: &mut Vec<Heard>) -> Result<bool> {
        self.frames.receive(heard)
    }

    /// How many frames were lost since the last one that was received. The kernel reports a loss only with the next frame.
    ///
    /// # Errors
    /// The socket's.
    pub fn lost_since(&mut self) -> Result<u32> {
        self.frames.lost_since()
    }

    /// What became of the links since the last call. At first, and if events were lost, all of them are listed.
    ///
    /// The content of the events is used, which the reconcile loop never does: a link that was removed again before a
    /// list could be read is known all the same, and its last frames may still be queued. An event precedes the frames of
    /// its link, so this call after [`receive`](Self::receive) knows the interfaces of all received frames.
    ///
    /// # Errors
    /// The kernel's.
    pub fn links(&mut self) -> Result<Vec<LinkNews>> {
        let mut news = Vec::new();
        loop {
            match recv(self.events.as_raw_fd(), &mut self.event, MsgFlags::empty()) {
                Ok(length) => {
                    for event in replies(&self.event[..length]) {
                        if event.kind == RTM_DELLINK {
                            let index = event.payload.get(4..8).and_then(|index| index.try_into().ok());
                            news.extend(index.map(u32::from_ne_bytes).map(LinkNews::Removed));
                        } else if let Some(link) = link::parse(event.kind, event.payload) {
                            let link = self.kernel.as_seen(link);
                            news.push(LinkNews::Changed(Box::new(link)));
                        }
                    }
                }
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => self.must_list = true,
                Err(err) => return Err(err.into()),
            }
        }
        if self.must_list {
            news.push(LinkNews::All(self.kernel.links()?));
            self.must_list = false;
        }
        Ok(news)
    }
}
