//! A socket that hears frames, with each frame's interface, time and loss, and sends some.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

use nix::{
    libc::{self, MSG_DONTROUTE, SCM_TIMESTAMPNS, SO_RXQ_OVFL, SOL_SOCKET},
    sys::socket::{
        setsockopt,
        sockopt::{RcvBuf, RcvBufForce, ReceiveTimestampns, RxqOvfl, SndBuf},
    },
};
use socketcan::{CanAnyFrame, CanFdSocket, CanFilter, Socket as _, SocketOptions as _};
use tokio::io::{Interest, unix::AsyncFd};

use super::{Filter, Result, refused};
use crate::system::{self, MESSAGES, Message};

/// The kernel's `CAN_RAW_FILTER_MAX`.
const FILTERS_MAX: usize = 512;
/// The size of `struct can_frame`.
const CAN_MTU: usize = 16;
/// The size of `struct canfd_frame`.
const CANFD_MTU: usize = 72;

/// A frame as the kernel delivered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// When the kernel received it, in nanoseconds since 1970-01-01 00:00 UTC.
    pub time: u64,
    /// The index of the interface that received it.
    pub interface: u32,
    /// `MSG_DONTROUTE`: it was sent by a program of this host on this interface.
    pub by_host: bool,
    /// How many frames were lost between the one before and this one, because the receive buffer was full.
    pub lost: u32,
    /// The frame.
    pub frame: CanAnyFrame,
}

/// A socket of one CAN interface, or of all.
#[derive(Debug)]
pub struct FrameSocket {
    socket: CanFdSocket,
    messages: Box<[Message; MESSAGES]>,
    /// The drop counter when last read.
    dropped: u32,
}

impl FrameSocket {
    /// Opens it on the interface of this name, or on all, with a receive buffer of so many bytes. Without `CAP_NET_ADMIN`
    /// `net.core.rmem_max` limits that, which is not an error.
    ///
    /// # Errors
    /// The kernel has no CAN sockets, or there is no such interface.
    pub fn open(interface: Option<&str>, receive_buffer: usize) -> Result<Self> {
        let frames = match interface {
            Some(name) => CanFdSocket::open(name)?,
            None => CanFdSocket::open_iface(0)?,
        };
        let socket = frames.as_raw_socket();
        if setsockopt(socket, RcvBufForce, &receive_buffer).is_err() {
            setsockopt(socket, RcvBuf, &receive_buffer)?;
        }
        setsockopt(socket, RxqOvfl, &1)?;
        setsockopt(socket, ReceiveTimestampns, &true)?;
        frames.set_error_filter_accept_all()?;
        frames.set_nonblocking(true)?;
        Ok(Self { socket: frames, messages: Box::new([Message::EMPTY; MESSAGES]), dropped: 0 })
    }

    /// Opens it on the interface with this index, only to send. `looped`: other sockets on that interface, and the rules that
    /// start there, get what it sends.
    ///
    /// # Errors
    /// The kernel has no CAN sockets, or there is no such interface.
    pub(super) fn for_sending(index: u32, looped: bool) -> Result<Self> {
        let socket = CanFdSocket::open_iface(index)?;
        socket.set_filter_drop_all()?;
        socket.set_loopback(looped)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, messages: Box::new([Message::EMPTY; MESSAGES]), dropped: 0 })
    }

    /// From now on only frames that pass one of these filters are queued; error frames always are. Frames that do not
    /// pass may come too: those of the first moments, and all if there are more filters than the kernel allows.
    ///
    /// # Errors
    /// The socket's.
    pub fn filter(&self, filters: &[Filter]) -> Result<()> {
        if filters.len() <= FILTERS_MAX {
            let filters: Vec<CanFilter> =
                filters.iter().map(|filter| CanFilter::new(filter.id, filter.mask)).collect();
            self.socket.set_filters(&filters)?;
        }
        Ok(())
    }

    /// Limits how many bytes of frames wait in the interface's queue for their turn; the kernel doubles the number, and a
    /// frame takes some 770. More are refused with `WouldBlock`.
    ///
    /// # Errors
    /// The socket's.
    pub fn limit_send_buffer(&self, bytes: usize) -> Result<()> {
        Ok(setsockopt(self.socket.as_raw_socket(), SndBuf, &bytes)?)
    }

    /// Registers a second descriptor of it with the runtime, to wait for frames (`READABLE`), for room (`WRITABLE`), or until
    /// the interface is gone (`ERROR`, which comes alone).
    ///
    /// # Errors
    /// If there are too many descriptors, or outside of a runtime.
    pub fn watch(&self, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
        system::watched(self.as_fd().try_clone_to_owned()?, interest)
    }

    /// Sends a frame, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if the socket is full, `ENOBUFS` if the interface's queue is; the interface is down or gone, or does
    /// not carry such frames.
    pub fn send(&self, frame: &CanAnyFrame) -> io::Result<()> {
        match frame {
            CanAnyFrame::Normal(frame) => self.socket.write_frame(frame),
            CanAnyFrame::Remote(frame) => self.socket.write_frame(frame),
            CanAnyFrame::Error(frame) => self.socket.write_frame(frame),
            CanAnyFrame::Fd(frame) => self.socket.write_frame(frame),
        }
    }

    /// Sends frames in order, some at a time, without waiting. Returns how many were sent; an error belongs to the first one.
    ///
    /// # Errors
    /// As [`send`](Self::send), for the first frame.
    pub fn send_many(&self, frames: &[CanAnyFrame]) -> io::Result<usize> {
        let raw: Vec<_> = frames.iter().take(MESSAGES).map(raw).collect();
        let bytes: Vec<&[u8]> = raw.iter().map(|(bytes, length)| &bytes[..*length]).collect();
        system::send_many(self.as_fd(), &bytes)
    }

    /// Receives some of the queued frames, in order. Returns whether none are left.
    ///
    /// # Errors
    /// The socket's.
    pub fn receive(&mut self, heard: &mut Vec<Heard>) -> Result<bool> {
        match system::receive_many(self.socket.as_raw_socket().as_fd(), &mut self.messages) {
            Ok(received) => {
                for message in self.messages.iter().take(received) {
                    heard.extend(parse(message, &mut self.dropped));
                }
                Ok(received < MESSAGES)
            }
            Err(err) if matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(true)
            }
            // An interface went down. Others have not.
            Err(err) if refused::is_down(&err) => Ok(true),
            Err(err) => Err(err.into()),
        }
    }

    /// How many frames were lost since the last one that was received. The kernel reports a loss only with the next frame.
    ///
    /// # Errors
    /// The socket's.
    pub fn lost_since(&mut self) -> Result<u32> {
        let counter = system::lost_messages(self.socket.as_raw_socket().as_fd())?;
        Ok(newly_dropped(&mut self.dropped, counter))
    }
}

/// What sends frames on one link.
pub trait Sender: Send {
    /// Sends frames in order, some at a time, without waiting. Returns how many were sent; an error belongs to the first one.
    ///
    /// # Errors
    /// As [`FrameSocket::send`], for the first frame.
    fn send(&mut self, frames: &[CanAnyFrame]) -> io::Result<usize>;
}

impl Sender for FrameSocket {
    fn send(&mut self, frames: &[CanAnyFrame]) -> io::Result<usize> {
        self.send_many(frames)
    }
}

impl AsFd for FrameSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_raw_socket().as_fd()
    }
}

impl AsRawFd for FrameSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// `None` if it is no frame, which does not happen.
fn parse(message: &Message, dropped: &mut u32) -> Option<Heard> {
    let (mut time, mut lost) = (None, 0);
    for (kind, value) in control_messages(message.control()) {
        match kind {
            SCM_TIMESTAMPNS => time = timespec(value),
            SO_RXQ_OVFL => {
                let counter = value.try_into().ok().map(u32::from_ne_bytes);
                lost = counter.map_or(0, |counter| newly_dropped(dropped, counter));
            }
            _ => {}
        }
    }
    let [_, _, _, _, interface @ ..] = message.address;
    Some(Heard {
        time: time?,
        interface: u32::from_ne_bytes(interface),
        by_host: message.flags & MSG_DONTROUTE != 0,
        lost,
        frame: frame(message.bytes())?,
    })
}

/// How much the drop counter has grown. A frame that was queued before the counter was last read has an older value.
fn newly_dropped(last: &mut u32, counter: u32) -> u32 {
    let new = counter.wrapping_sub(*last);
    if new > u32::MAX / 2 {
        return 0;
    }
    *last = counter;
    new
}

/// The kinds and values of the socket's control messages: `struct cmsghdr`, then the value, aligned to a word.
fn control_messages(mut bytes: &[u8]) -> impl Iterator<Item = (i32, &[u8])> {
    const WORD: usize = size_of::<usize>();
    const HEADER: usize = WORD + 8;
    std::iter::from_fn(move || {
        loop {
            let length = usize::from_ne_bytes(bytes.get(..WORD)?.try_into().ok()?);
            let level = i32::from_ne_bytes(bytes.get(WORD..WORD + 4)?.try_into().ok()?);
            let kind = i32::from_ne_bytes(bytes.get(WORD + 4..HEADER)?.try_into().ok()?);
            let value = bytes.get(HEADER..length)?;
            bytes = bytes.get(length.next_multiple_of(WORD)..).unwrap_or_default();
            if level == SOL_SOCKET {
                return Some((kind, value));
            }
        }
    })
}

/// `struct timespec` in nanoseconds; its fields have 32 bits on 32-bit machines.
fn timespec(bytes: &[u8]) -> Option<u64> {
    let field = |bytes: &[u8]| match bytes.len() {
        4 => Some(u64::from(u32::from_ne_bytes(bytes.try_into().ok()?))),
        8 => Some(u64::from_ne_bytes(bytes.try_into().ok()?)),
        _ => None,
    };
    let (seconds, nanos) = bytes.split_at_checked(bytes.len() / 2)?;
    Some(field(seconds)?.saturating_mul(1_000_000_000).saturating_add(field(nanos)?))
}

/// `struct can_frame` or `struct canfd_frame`, and its size.
fn raw(frame: &CanAnyFrame) -> ([u8; CANFD_MTU], usize) {
    let (id, head, data, size) = match frame {
        CanAnyFrame::Fd(frame) => {
            let frame = frame.as_ref();
            (frame.can_id, [frame.len, frame.flags, 0, 0], &frame.data[..], CANFD_MTU)
        }
        CanAnyFrame::Normal(frame) => classic(frame.as_ref()),
        CanAnyFrame::Remote(frame) => classic(frame.as_ref()),
        CanAnyFrame::Error(frame) => classic(frame.as_ref()),
    };
    let mut bytes = [0; CANFD_MTU];
    let fields = id.to_ne_bytes().into_iter().chain(head).chain(data.iter().copied());
    for (byte, field) in bytes.iter_mut().zip(fields) {
        *byte = field;
    }
    (bytes, size)
}

fn classic(frame: &libc::can_frame) -> (u32, [u8; 4], &[u8], usize) {
    (frame.can_id, [frame.can_dlc, 0, 0, frame.len8_dlc], &frame.data, CAN_MTU)
}

/// `struct can_frame` or `struct canfd_frame`.
fn frame(bytes: &[u8]) -> Option<CanAnyFrame> {
    let id = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
    let [length, flags, _, len8_dlc, data @ ..] = bytes.get(4..)? else { return None };
    match data.len() {
        8 => {
            let mut frame = socketcan::frame::can_frame_default();
            frame.can_id = id;
            frame.can_dlc = *length;
            frame.len8_dlc = *len8_dlc;
            frame.data.copy_from_slice(data);
            Some(frame.into())
        }
        64 => {
            let mut frame = socketcan::frame::canfd_frame_default();
            frame.can_id = id;
            frame.len = *length;
            frame.flags = *flags;
            frame.data.copy_from_slice(data);
            Some(frame.into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socketcan::{EmbeddedFrame as _, Frame as _};

    fn control(level: i32, kind: i32, value: &[u8]) -> Vec<u8> {
        let length = size_of::<usize>() + 8 + value.len();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes().into_iter().chain(kind.to_ne_bytes()).chain(value.iter().copied()));
        bytes.resize(length.next_multiple_of(size_of::<usize>()), 0);
        bytes
    }

    #[test]
    fn control_messages_of_the_socket_are_found_between_others() {
        let mut bytes = control(1234, SO_RXQ_OVFL, &[9; 4]);
        bytes.extend(control(SOL_SOCKET, SO_RXQ_OVFL, &7_u32.to_ne_bytes()));
        bytes.extend(control(SOL_SOCKET, SCM_TIMESTAMPNS, &[2; 16]));
        let found: Vec<_> = control_messages(&bytes).collect();
        assert_eq!(found, [(SO_RXQ_OVFL, &7_u32.to_ne_bytes()[..]), (SCM_TIMESTAMPNS, &[2; 16][..])]);
        assert_eq!(control_messages(&bytes[..bytes.len() - 1]).count(), 1, "a cut one");
    }

    #[test]
    fn a_time_has_fields_of_32_or_64_bits() {
        let short: Vec<u8> = [3_u32, 5].iter().flat_map(|field| field.to_ne_bytes()).collect();
        let long: Vec<u8> = [3_u64, 5].iter().flat_map(|field| field.to_ne_bytes()).collect();
        assert_eq!(timespec(&short), Some(3_000_000_005));
        assert_eq!(timespec(&long), Some(3_000_000_005));
        assert_eq!(timespec(&long[..12]), None);
    }

    #[test]
    fn the_drop_counter_wraps_and_never_counts_backwards() {
        let mut last = u32::MAX - 1;
        assert_eq!(newly_dropped(&mut last, 2), 4);
        assert_eq!(newly_dropped(&mut last, u32::MAX), 0, "of a frame that was queued before");
        assert_eq!(newly_dropped(&mut last, 3), 1);
    }

    #[test]
    fn frames_of_both_sizes_keep_their_flags() {
        let mut classic = 0x8000_0123_u32.to_ne_bytes().to_vec();
        classic.extend([2, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0]);
        let Some(CanAnyFrame::Normal(read)) = frame(&classic) else { panic!("not a data frame") };
        assert_eq!((read.is_extended(), read.raw_id(), read.data()), (true, 0x123, &[1, 2][..]));

        let mut fd = 0x123_u32.to_ne_bytes().to_vec();
        fd.extend([64, 3, 0, 0]);
        fd.extend([7; 64]);
        let Some(CanAnyFrame::Fd(read)) = frame(&fd) else { panic!("not an FD frame") };
        assert_eq!((read.is_brs(), read.is_esi(), read.data()), (true, true, &[7; 64][..]));
        assert_eq!(frame(&fd[..40]), None);
        // Old kernels do not say FDF (4); socketcan always does.
        fd[5] = 7;

        for bytes in [classic, fd] {
            let (raw, size) = raw(&frame(&bytes).unwrap());
            // The kernel's reserved bytes are 0.
            assert_eq!((&raw[..size], size), (&*bytes, bytes.len()));
        }
    }
}
