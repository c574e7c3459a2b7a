//! The one module with unsafe code: file descriptors that the type system cannot vouch for.

#![allow(unsafe_code, reason = "each use says why it is sound")]

use std::{
    io,
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::net,
    },
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    net::UnixListener,
};

/// The listening socket that systemd holds for us (sd_listen_fds(3)): it outlives a restart, and calls
/// queue on it. `None` where systemd passed none.
///
/// # Errors
/// When the descriptor is no unix socket.
pub(crate) fn activated_listener() -> io::Result<Option<UnixListener>> {
    let Some(fd) = sd_notify::listen_fds()?.next() else { return Ok(None) };
    // SAFETY: systemd opened this descriptor for us alone (LISTEN_PID is checked), this is called once at
    // start, and nothing else in the process owns it.
    let listener = unsafe { net::UnixListener::from_raw_fd(fd) };
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener).map(Some)
}

/// Lets the runtime tell when a descriptor can be read.
///
/// # Errors
/// When epoll refuses it.
pub(crate) fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is valid for as long as it lives, and AsyncFd gives no way to replace it.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(io::Error::from)
}
