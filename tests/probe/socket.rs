//! A raw CAN socket with a large buffer, and the meaning of its errors.

use std::{io, thread::sleep, time::Duration};

use nix::{errno::Errno, libc};
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

/// Whether the interface is gone or down: the socket, or a new one, may work again later.
pub fn is_lost(err: &io::Error) -> bool {
    let errno = err.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::ENODEV | Errno::ENXIO | Errno::ENETDOWN))
}
