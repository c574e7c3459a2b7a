//! The only module with unsafe code: system features that are not available otherwise.

#![allow(unsafe_code, reason = "each use says why it is sound")]

use std::{
    fs, io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::net,
    },
    path::Path,
    ptr::{self, NonNull},
    slice,
    sync::atomic::AtomicU64,
    time::Duration,
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    net::UnixListener,
};
use tracing::debug;

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

/// Registers a descriptor with the runtime, to wait until it is readable.
///
/// # Errors
/// If epoll refuses it.
pub(crate) fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    watched(fd, Interest::READABLE)
}

/// Registers a descriptor with the runtime, to wait for this.
///
/// # Errors
/// If epoll refuses it.
pub(crate) fn watched(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is valid for as long as it lives, and AsyncFd gives no way to replace it.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(io::Error::from)
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

/// How many messages [`receive_many`] receives at a time.
pub(crate) const MESSAGES: usize = 64;
/// The size of a message: `CANFD_MTU`.
const MESSAGE_BYTES: usize = 72;
/// Enough for a time stamp and a drop counter.
const CONTROL_BYTES: usize = 96;

/// Room for a message of [`receive_many`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message {
    bytes: [u8; MESSAGE_BYTES],
    length: usize,
    control: [u8; CONTROL_BYTES],
    control_length: usize,
    /// The first bytes of the sender's address; of a `sockaddr_can` up to the index of the interface.
    pub(crate) address: [u8; 8],
    /// `MSG_…`.
    pub(crate) flags: i32,
}

impl Message {
    pub(crate) const EMPTY: Self = Self {
        bytes: [0; MESSAGE_BYTES],
        length: 0,
        control: [0; CONTROL_BYTES],
        control_length: 0,
        address: [0; 8],
        flags: 0,
    };

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The control messages (`cmsg(3)`).
    pub(crate) fn control(&self) -> &[u8] {
        self.control.get(..self.control_length).unwrap_or_default()
    }
}

/// Receives the messages that are queued, without waiting, and returns how many there were. nix has no address type for
/// CAN, so its `recvmmsg` cannot tell the interface.
///
/// # Errors
/// `EAGAIN` if there is none, or the socket's error.
pub(crate) fn receive_many(socket: BorrowedFd<'_>, messages: &mut [Message; MESSAGES]) -> io::Result<usize> {
    use nix::libc::{MSG_DONTWAIT, iovec, mmsghdr, recvmmsg};
    // SAFETY: structures of C with integers and pointers, for which zero is a value.
    let (mut headers, mut vectors): ([mmsghdr; MESSAGES], [iovec; MESSAGES]) = unsafe { std::mem::zeroed() };
    for ((message, header), vector) in messages.iter_mut().zip(&mut headers).zip(&mut vectors) {
        vector.iov_base = message.bytes.as_mut_ptr().cast();
        vector.iov_len = message.bytes.len();
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_name = message.address.as_mut_ptr().cast();
        header.msg_hdr.msg_namelen = message.address.len() as _;
        header.msg_hdr.msg_control = message.control.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = message.control.len() as _;
    }
    // SAFETY: the descriptor is borrowed, so it is open. Each header points to buffers of `messages` and to its vector,
    // with their lengths; all of them outlive the call, and nothing else uses them meanwhile.
    let received = unsafe {
        recvmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), MESSAGES as _, MSG_DONTWAIT as _, ptr::null_mut())
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    for (message, header) in messages.iter_mut().zip(&headers).take(received) {
        message.length = header.msg_len as usize;
        message.control_length = header.msg_hdr.msg_controllen as _;
        message.flags = header.msg_hdr.msg_flags;
    }
    Ok(received)
}

/// Sends messages, as far as there is room, without waiting. Returns how many were sent; an error belongs to the first one.
///
/// # Errors
/// `EAGAIN` if there is no room for the first one, or the socket's error for it.
pub(crate) fn send_many(socket: BorrowedFd<'_>, messages: &[&[u8]]) -> io::Result<usize> {
    use nix::libc::{MSG_DONTWAIT, iovec, mmsghdr, sendmmsg};
    // SAFETY: structures of C with integers and pointers, for which zero is a value.
    let (mut headers, mut vectors): ([mmsghdr; MESSAGES], [iovec; MESSAGES]) = unsafe { std::mem::zeroed() };
    let count = messages.len().min(MESSAGES);
    for ((message, header), vector) in messages.iter().zip(&mut headers).zip(&mut vectors) {
        vector.iov_base = message.as_ptr().cast_mut().cast();
        vector.iov_len = message.len();
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: the descriptor is borrowed, so it is open. Each of the `count` headers points to its vector, and that to bytes
    // of `messages` with their length, which the kernel only reads; all of them outlive the call.
    let sent = unsafe { sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count as _, MSG_DONTWAIT as _) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// How many messages a socket has lost because its receive buffer was full; wraps at 2³².
///
/// # Errors
/// `ENOPROTOOPT` before Linux 4.12.
pub(crate) fn lost_messages(socket: BorrowedFd<'_>) -> io::Result<u32> {
    use nix::libc::{SO_MEMINFO, SOL_SOCKET, getsockopt, socklen_t};
    /// `SK_MEMINFO_DROPS` of `include/uapi/linux/sock_diag.h`.
    const DROPS: usize = 8;
    let mut memory = [0_u32; DROPS + 1];
    let mut length = size_of_val(&memory) as socklen_t;
    // SAFETY: the descriptor is borrowed, so it is open; the kernel writes at most `length` bytes, which `memory` has.
    let refused = unsafe {
        let fd = socket.as_raw_fd();
        getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory.as_mut_ptr().cast(), &raw mut length)
    };
    if refused == 0 { Ok(memory[DROPS]) } else { Err(io::Error::last_os_error()) }
}

/// The first words of a file, mapped: what a process writes there is in the file, however the process ends.
#[derive(Debug)]
pub(crate) struct MappedWords {
    start: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: it owns the mapping, which belongs to no thread, and gives out nothing but atomic words.
unsafe impl Send for MappedWords {}
// SAFETY: the same.
unsafe impl Sync for MappedWords {}

impl MappedWords {
    /// Maps so many words of a file, which must have them for as long as they are mapped.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn new(file: &fs::File, count: usize) -> io::Result<Self> {
        use nix::libc::{MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap};
        let length = count * size_of::<AtomicU64>();
        // SAFETY: a new mapping where the kernel finds room for it. The descriptor is open.
        let start =
            unsafe { mmap(ptr::null_mut(), length, PROT_READ | PROT_WRITE, MAP_SHARED, file.as_raw_fd(), 0) };
        match NonNull::new(start.cast::<AtomicU64>()) {
            Some(start) if start.as_ptr().cast() != MAP_FAILED => Ok(Self { start, count }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The words.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: so many words are mapped for as long as `self` lives, from the start of a page on, so they are aligned; any
        // bits are a number, and whoever else has mapped the file changes whole words.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl Drop for MappedWords {
    fn drop(&mut self) {
        // SAFETY: nobody has a reference into the mapping any more.
        unsafe { nix::libc::munmap(self.start.as_ptr().cast(), self.count * size_of::<AtomicU64>()) };
    }
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

/// Gives back memory that only the work so far has needed: the program's code, and what the allocator holds on to.
pub(crate) fn release_memory() {
    if let Err(err) = release_code() {
        debug!(%err, "could not unmap the code that has been used so far");
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) gives back free pages, and locks the allocator meanwhile.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

/// Unmaps the pages of this program's code that have been used so far. The next use of a page maps it again from the page
/// cache. Most of the start's code is never used again: 1.0 MiB less resident with a hundred containers (measured).
fn release_code() -> io::Result<()> {
    let program = fs::read_link("/proc/self/exe")?;
    let maps = fs::read_to_string("/proc/self/maps")?;
    for (start, length) in maps.lines().filter_map(|line| code(line, &program)) {
        // SAFETY: nothing but this program's code is mapped there, for as long as it runs, and no page of it was ever
        // written to: dropping one loses nothing.
        if unsafe { nix::libc::madvise(start as *mut _, length, nix::libc::MADV_DONTNEED) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The address and the length of a line of `/proc/self/maps` (proc_pid_maps(5)), if it is code of this program.
fn code(line: &str, program: &Path) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    if fields.next()? != "r-xp" || Path::new(fields.nth(3)?) != program {
        return None;
    }
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    Some((start, end.checked_sub(start)?))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_code_of_this_program_is_released() {
        let program = Path::new("/usr/bin/canhub");
        let line = |access, name| format!("55d0a0000000-55d0a0400000 {access} 00200000 08:01 1234    {name}");
        assert_eq!(code(&line("r-xp", "/usr/bin/canhub"), program), Some((0x55d0_a000_0000, 0x40_0000)));
        for (access, name) in [
            ("rw-p", "/usr/bin/canhub"),
            ("r--p", "/usr/bin/canhub"),
            ("r-xp", "/usr/lib/libc.so.6"),
            ("r-xp", "[vdso]"),
            ("r-xp", ""),
        ] {
            assert_eq!(code(&line(access, name), program), None, "{access} {name}");
        }
    }

    #[test]
    fn the_program_runs_on_after_its_code_was_released() {
        let resident = || {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("RssFile:")).unwrap();
            line.split_ascii_whitespace().nth(1).unwrap().parse::<usize>().unwrap()
        };
        let before = resident();
        release_code().unwrap();
        assert!(resident() < before, "{before} KiB before, {} KiB after", resident());
    }
}
