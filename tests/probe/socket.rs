//! A raw CAN socket that stands bursts, and what its errors mean.

use std::{io, thread::sleep, time::Duration};

use nix::{errno::Errno, libc};
use socketcan::{CanAnyFrame, CanFdSocket, Socket, SocketOptions};

/// A listener that is a moment late loses nothing. Granted only as far as net.core.rmem_max allows.
const RECEIVE_BUFFER: i32 = 16 << 20;
/// How long a sender waits when the kernel's queue takes no more.
const QUEUE_FULL: Duration = Duration::from_micros(200);

/// Opens an interface, with room for bursts.
pub fn open(interface: &str) -> io::Result<CanFdSocket> {
    let socket = CanFdSocket::open(interface)?;
    socket.set_socket_option_int(libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BUFFER)?;
    Ok(socket)
}

/// Opens an interface as soon as it is there and up.
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

/// The next frame, or `None` when there is silence for so long.
pub fn receive(socket: &CanFdSocket, patience: Duration) -> io::Result<Option<CanAnyFrame>> {
    match socket.read_frame_timeout(patience) {
        Ok(frame) => Ok(Some(frame)),
        Err(err) if matches!(err.kind(), io::ErrorKind::TimedOut | io::ErrorKind::Interrupted) => Ok(None),
        Err(err) => Err(err),
    }
}

/// Sends one frame; where the queue is full, waits until it is not.
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
