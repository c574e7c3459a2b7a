//! The identity of a network namespace.
//!
//! With live-restore, if a container ends while dockerd is away, dockerd later mounts a new, empty namespace at the path
//! of its sandbox. Neither the path nor the inode tells the two apart: nsfs reuses inodes.

use std::os::{fd::AsFd, unix::net::UnixDatagram};

use serde::{Deserialize, Serialize};

use super::Link;
use crate::system;

/// The kernel's number of a network namespace (`SO_NETNS_COOKIE`); not reused until the next boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cookie(pub u64);

/// The host's namespace as a sandbox: that of the main thread, which never leaves it.
pub const HOST_NAMESPACE: &str = "/proc/self/ns/net";

/// The content of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inside {
    /// All its links.
    pub links: Vec<Link>,
    /// Its namespace; `None` before Linux 5.14.
    pub cookie: Option<Cookie>,
}

/// Which namespace is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespace {
    /// Its cookie; `None` before Linux 5.14.
    pub cookie: Option<Cookie>,
    /// Whether it is the host's.
    pub is_host: bool,
}

/// The cookie of the namespace that this thread is in.
pub(super) fn current_cookie() -> Option<Cookie> {
    // Any socket will do: it belongs to the namespace of the thread that opened it.
    let socket = UnixDatagram::unbound().ok()?;
    system::netns_cookie(socket.as_fd()).ok().map(Cookie)
}
