//! The only module with unsafe code: system features that are not available otherwise.

#![allow(unsafe_code, reason = "each use says why it is sound")]

use std::{
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd},
        unix::net,
    },
    time::Duration,
};

use tokio::net::UnixListener;

/// The listening socket passed by systemd (sd_listen_fds(3)): it survives a restart, and calls queue on it. `None` if
/// systemd passed none.
///
/// # Errors
/// If the descriptor is not a unix socket.
pub(crate) fn activated_listener() -> io::Result<Option<UnixListener>> {
    let Some(fd) = sd_notify::listen_fds()?.next() else { return Ok(None) };
    // SAFETY: systemd opened this descriptor for this process alone (LISTEN_PID is checked), this is called once at
    // start-up, and nothing else in the process owns it.
    let listener = unsafe { net::UnixListener::from_raw_fd(fd) };
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener).map(Some)
}

/// `SO_NETNS_COOKIE` of a socket: which network namespace it was opened in.
///
/// # Errors
/// `ENOPROTOOPT` before Linux 5.14.
pub(crate) fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    use nix::libc::{SO_NETNS_COOKIE, SOL_SOCKET, getsockopt, socklen_t};
    let (mut cookie, mut length) = (0_u64, size_of::<u64>() as socklen_t);
    // SAFETY: the descriptor is borrowed, so it is open; the kernel writes at most `length` bytes, which `cookie` has.
    let refused = unsafe {
        let fd = socket.as_raw_fd();
        getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, (&raw mut cookie).cast(), &raw mut length)
    };
    if refused == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// The CPU time that this process has used so far.
pub(crate) fn cpu_time() -> Duration {
    let mut time = nix::libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime(2) writes to the timespec, which outlives the call. It cannot fail: this clock exists since
    // Linux 2.6.12.
    unsafe { nix::libc::clock_gettime(nix::libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// Tells the C library's allocator that this daemon is small: one arena for all threads, and freed memory is returned.
/// Without it a hundred containers cost 12 to 18 MiB resident, with it about 7 (measured).
pub(crate) fn keep_memory_small() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) changes tunables of the allocator; this is called before any other thread starts.
    unsafe {
        nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1);
        nix::libc::mallopt(nix::libc::M_TRIM_THRESHOLD, 64 * 1024);
        nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, 64 * 1024);
    }
}
