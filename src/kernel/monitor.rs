//! Link events of the host's namespace. They wake the reconcile loop; of their content only the last counters of a link that
//! was removed are used, which nobody can read any more.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
    },
};

use super::{Result, counters, message::replies};

const RTMGRP_LINK: u32 = 1;
/// The maximum size of a datagram of link events (`NLMSG_GOODSIZE`).
pub(super) const EVENT_BYTES: usize = 64 * 1024;
const RTM_NEWLINK: u16 = 16;
pub(super) const RTM_DELLINK: u16 = 17;
const IFINFOMSG_LEN: usize = 16;
/// `ARPHRD_CAN`, the hardware type in `struct ifinfomsg`.
const ARPHRD_CAN: u16 = 280;

/// What wakes the reconcile loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkEvent {
    /// A CAN link was added, changed or removed.
    Changed,
    /// A CAN link with this index was removed after it had sent this many frames.
    Removed {
        /// Its index.
        index: u32,
        /// `tx_packets`.
        sent: u64,
    },
    /// The kernel dropped events because they were not read fast enough (`ENOBUFS`).
    Overrun,
}

/// The maximum time for which events are left unread.
const UNREAD_MAX: Duration = Duration::from_millis(100);

/// A socket that receives the link events of this thread's namespace.
pub(super) fn subscribe(flags: SockFlag) -> Result<OwnedFd> {
    let flags = flags | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Netlink, SockType::Datagram, flags, SockProtocol::NetlinkRoute)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, RTMGRP_LINK))?;
    Ok(socket)
}

/// Calls `wake` whenever the host's CAN links may have changed. Blocks: for a thread of its own.
///
/// Only the type in the header is used, so a new attribute of a future kernel cannot break it. `settles_in` returns how
/// long events need no reaction: a call from Docker creates or deletes links at that moment, and reading each event then
/// would take CPU time from it. The events are read together afterwards. A thread that sleeps until then is not woken by
/// each of them, as a runtime would be that has the socket in its epoll.
///
/// # Errors
/// Returns only if the socket cannot be opened or fails.
pub fn watch(wake: impl Fn(LinkEvent), settles_in: impl Fn() -> Duration) -> Result<()> {
    let socket = subscribe(SockFlag::empty())?;
    let mut buffer = vec![0; EVENT_BYTES];
    loop {
        // Waits for the first event. An error that this reports is not reported again, so it counts as one.
        match recv(socket.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::ENOBUFS) => wake(LinkEvent::Overrun),
            Err(err) => return Err(err.into()),
        }
        thread::sleep(settles_in().min(UNREAD_MAX));
        loop {
            match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => {
                    let mut changed = false;
                    for event in replies(&buffer[..length]) {
                        changed |= is_can_link(event.kind, event.payload);
                        if let Some(removed) = removed(event.kind, event.payload) {
                            wake(removed);
                        }
                    }
                    if changed {
                        wake(LinkEvent::Changed);
                    }
                }
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => wake(LinkEvent::Overrun),
                Err(err) => return Err(err.into()),
            }
        }
    }
}

fn is_can_link(kind: u16, ifinfomsg: &[u8]) -> bool {
    let hardware_type = ifinfomsg.get(2..4).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    matches!(kind, RTM_NEWLINK | RTM_DELLINK) && hardware_type == Some(ARPHRD_CAN)
}

/// The last counters of a CAN link that was removed, or moved to another namespace.
fn removed(kind: u16, ifinfomsg: &[u8]) -> Option<LinkEvent> {
    if kind != RTM_DELLINK || !is_can_link(kind, ifinfomsg) {
        return None;
    }
    let index = ifinfomsg.get(4..8)?.try_into().ok().map(u32::from_ne_bytes)?;
    let sent = counters::of_link(ifinfomsg.get(IFINFOMSG_LEN..)?)?.tx_packets;
    Some(LinkEvent::Removed { index, sent })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_was_removed_tells_how_many_frames_it_sent() {
        let mut message = vec![0; IFINFOMSG_LEN];
        message[2..4].copy_from_slice(&ARPHRD_CAN.to_ne_bytes());
        message[4..8].copy_from_slice(&7_u32.to_ne_bytes());
        let bare = message.clone();
        // IFLA_STATS64 with received and sent frames.
        message.extend([20, 0, 23, 0].into_iter().chain(3_u64.to_ne_bytes()).chain(585_u64.to_ne_bytes()));
        assert_eq!(removed(RTM_DELLINK, &message), Some(LinkEvent::Removed { index: 7, sent: 585 }));
        assert_eq!(removed(RTM_NEWLINK, &message), None);
        assert_eq!(removed(RTM_DELLINK, &bare), None);
        message[2] = 1;
        assert_eq!(removed(RTM_DELLINK, &message), None, "Ethernet");
    }
}
