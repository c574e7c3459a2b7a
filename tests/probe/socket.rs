//! A raw CAN socket with a large buffer, and the meaning of its errors.

use std::{
    io::{self, IoSlice},
    os::fd::AsRawFd,
    thread::sleep,
    time::Duration,
};

use nix::{
    errno::Errno,
    libc,
    sys::socket::{MsgFlags, MultiHeaders, sendmmsg},
};
use socketcan::{CanAnyFrame, CanFdSocket, Socket, SocketOptions};

/// So that a late listener loses nothing. Limited by net.core.rmem_max.
const RECEIVE_BUFFER: i32 = 16 << 20;
/// How long a sender waits when the kernel's queue is full.
const QUEUE_FULL: Duration = Duration::from_micros(200);

/// Opens an interface with a large buffer.
pub fn open(interface: &str) -> io::Result<CanFdSocket> {
    let socket = CanFdSocket::open(interface)?;
    socket.set_socket_option_int(libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BUFFER)?;
    Ok(socket)
}

/// Opens an interface as soon as it exists and is up.
pub fn open_when_there(interface: &str, stop: impl Fn() -> bool) -> io::Result<Option<CanFdSocket>> {
    while !stop() {
        match open(interface) {
            Ok(socket) => return Ok(Some(socket)),
            Err(err) if is_lost(&err) => sleep(Duration::from_millis(1)),
            Err(err) => return Err(err),
        }
    }
    Ok(None)
}

/// The next frame, or `None` after this much silence.
pub fn receive(socket: &CanFdSocket, patience: Duration) -> io::Result<Option<CanAnyFrame>> {
    match socket.read_frame_timeout(patience) {
        Ok(frame) => Ok(Some(frame)),
        Err(err) if matches!(err.kind(), io::ErrorKind::TimedOut | io::ErrorKind::Interrupted) => Ok(None),
        Err(err) => Err(err),
    }
}

/// Sends one frame; waits while the queue is full.
pub fn send(socket: &CanFdSocket, frame: &CanAnyFrame) -> io::Result<()> {
    loop {
        match socket.write_frame(frame) {
            Err(err) if err.raw_os_error() == Some(Errno::ENOBUFS as i32) => sleep(QUEUE_FULL),
            sent => return sent,
        }
    }
}

/// Sends classic frames, each an id with its data, in one system call.
pub fn send_many(socket: &CanFdSocket, frames: impl Iterator<Item = (u32, [u8; 4])>) -> io::Result<()> {
    // struct can_frame: the id, the length, three bytes of padding, the data.
    let bytes = |(id, data): (u32, [u8; 4])| [&id.to_ne_bytes()[..], &[4, 0, 0, 0], &data, &[0; 4]].concat();
    let frames: Vec<Vec<u8>> = frames.map(bytes).collect();
    let slices: Vec<[IoSlice<'_>; 1]> = frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
    let mut headers = MultiHeaders::<()>::preallocate(slices.len(), None);
    let mut sent = 0;
    while sent < slices.len() {
        let left = &slices[sent..];
        let none: Vec<Option<()>> = vec![None; left.len()];
        match sendmmsg(socket.as_raw_socket().as_raw_fd(), &mut headers, left, &none, [], MsgFlags::empty()) {
            Ok(accepted) => sent += accepted.count(),
            Err(Errno::ENOBUFS) => sleep(QUEUE_FULL),
            Err(err) => return Err(err.into()),
        }
    }
    Ok(())
}

/// Whether the interface is gone or down: the socket, or a new one, may work again later.
pub fn is_lost(err: &io::Error) -> bool {
    let errno = err.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::ENODEV | Errno::ENXIO | Errno::ENETDOWN))
}
