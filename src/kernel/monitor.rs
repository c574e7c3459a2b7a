//! Link events of the host's namespace. They wake the reconcile loop; their content is never used.

use std::os::fd::AsRawFd;

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
    },
};

use super::{Result, socket::replies};
use crate::system;

const RTMGRP_LINK: u32 = 1;
/// The maximum size of a datagram of link events (`NLMSG_GOODSIZE`).
const RECEIVE_BYTES: usize = 64 * 1024;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
/// `ARPHRD_CAN`, the hardware type in `struct ifinfomsg`.
const ARPHRD_CAN: u16 = 280;

/// What wakes the reconcile loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkEvent {
    /// A CAN link was added, changed or removed.
    Changed,
    /// The kernel dropped events because they were not read fast enough (`ENOBUFS`).
    Overrun,
}

/// Calls `wake` whenever the host's CAN links may have changed.
///
/// Only the type in the header is used, so a new attribute of a future kernel cannot break it.
///
/// # Errors
/// Returns only if the socket cannot be opened or fails.
pub async fn watch(wake: impl Fn(LinkEvent)) -> Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Netlink, SockType::Datagram, flags, SockProtocol::NetlinkRoute)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, RTMGRP_LINK))?;
    let socket = system::readable(socket)?;
    let mut buffer = vec![0; RECEIVE_BYTES];
    loop {
        let mut ready = socket.readable().await?;
        let received = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty());
        match received {
            Ok(length) => {
                if replies(&buffer[..length]).any(|event| is_can_link(event.kind, event.payload)) {
                    wake(LinkEvent::Changed);
                }
            }
            Err(Errno::EAGAIN) => ready.clear_ready(),
            Err(Errno::EINTR) => {}
            Err(Errno::ENOBUFS) => wake(LinkEvent::Overrun),
            Err(err) => return Err(err.into()),
        }
    }
}

fn is_can_link(kind: u16, ifinfomsg: &[u8]) -> bool {
    let hardware_type = ifinfomsg.get(2..4).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    matches!(kind, RTM_NEWLINK | RTM_DELLINK) && hardware_type == Some(ARPHRD_CAN)
}
