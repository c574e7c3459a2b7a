//! A synchronous `NETLINK_ROUTE` socket: batches of changes, and dumps that tolerate interruption.
//!
//! Synchronous like the kernel: `rtnetlink_rcv` runs inside `sendmsg(2)`, so the response is in the socket before the
//! call returns. A receive that would block therefore means that the response was lost, which is an error. Sockets of
//! the host are reused ([`Sockets`]). A stale response can never be mistaken for a current one: each request has a
//! sequence number that its socket has never used, and a socket on which anything failed is closed.

use std::{io, ops::ControlFlow};

use nix::{errno::Errno, libc::MSG_DONTWAIT};
use parking_lot::Mutex;
use rtnetlink::{
    packet_core::{
        NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkSerializable,
    },
    sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE},
};

use super::{
    KernelError, Refusal, Result,
    message::{Reply, encode, replies},
};

/// The maximum size of one send in bytes, well under the default `net.core.wmem_default`.
const BATCH_BYTES: usize = 32 * 1024;
/// The space that a response takes in the receive buffer (an skb's true size, 896 bytes measured). A batch has only as
/// many messages as the buffer holds responses, because one that does not fit causes `ENOBUFS`.
const RESPONSE_SPACE: usize = 1024;
/// The requested size of the receive buffer. The kernel doubles it, up to twice `net.core.rmem_max` (212,992 by default).
/// A Join on a bus with 100 members takes about 400 messages.
const RECEIVE_BUFFER: usize = 512 * 1024;
/// How many objects to ask for in one send: with counters, each takes up to 2 KiB of the receive buffer.
const GET_MESSAGES: usize = 64;
/// How often to retry a dump that is interrupted.
const DUMP_TRIES: usize = 10;
/// The kernel fills at most 32 KiB per dump datagram (`netlink_dump` in `net/netlink/af_netlink.c`).
const DUMP_BYTES: usize = 64 * 1024;
/// An answer to a change is under 1 KiB.
const ANSWER_BYTES: usize = 4 * 1024;
/// A Join and the reconcile loop use one each; more are rarely busy at the same time.
const SOCKETS_KEPT: usize = 2;

/// A socket in the namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct RouteSocket {
    socket: Socket,
    buffer: Vec<u8>,
    /// The send buffer, kept for its allocation.
    batch: Vec<u8>,
    /// The sequence number of the next request.
    next: u32,
    /// The maximum number of messages per batch, once the socket is set up for batches.
    batch_messages: Option<usize>,
}

/// Idle sockets in the host's namespace: opening one takes six system calls.
#[derive(Debug, Default)]
pub(super) struct Sockets(Mutex<Vec<RouteSocket>>);

impl Sockets {
    /// Runs work with a socket. The socket is kept only if nothing failed: then all of its responses have been read.
    ///
    /// Must not be called on a thread that has entered another namespace.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut RouteSocket) -> Result<T>) -> Result<T> {
        let kept = self.0.lock().pop();
        let mut socket = kept.map_or_else(RouteSocket::open, Ok)?;
        let done = work(&mut socket)?;
        let mut kept = self.0.lock();
        if kept.len() < SOCKETS_KEPT {
            kept.push(socket);
        }
        Ok(done)
    }
}

/// What has been read of a dump so far.
struct Dump<T> {
    found: Vec<T>,
    /// The kernel's list changed meanwhile, so entries may be missing or duplicated.
    interrupted: bool,
    /// The sequence number of the request; responses to other requests are ignored.
    sequence: u32,
}

impl<T> Dump<T> {
    /// Processes one message; breaks at the end of the dump.
    ///
    /// # Errors
    /// The kernel's refusal, or the error that ended the dump early.
    fn take(
        &mut self,
        reply: &Reply<'_>,
        parse: impl Fn(u16, &[u8]) -> Option<T>,
    ) -> Result<ControlFlow<()>> {
        if reply.sequence != self.sequence {
            return Ok(ControlFlow::Continue(()));
        }
        self.interrupted |= reply.flags & NLM_F_DUMP_INTR != 0;
        match reply.kind {
            NLMSG_DONE | NLMSG_ERROR => reply.verdict().map(|()| ControlFlow::Break(())),
            kind => {
                self.found.extend(parse(kind, reply.payload));
                Ok(ControlFlow::Continue(()))
            }
        }
    }
}

impl RouteSocket {
    pub(super) fn open() -> Result<Self> {
        // The kernel assigns an address with the first message.
        let socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_ext_ack(true)?;
        Ok(Self { socket, buffer: Vec::new(), batch: Vec::new(), next: 1, batch_messages: None })
    }

    /// Sends one change and returns the kernel's answer.
    pub(super) fn change<M: NetlinkSerializable>(&mut self, message: M, flags: u16) -> Result<()> {
        match self.changes(std::iter::once(message), flags)?.pop() {
            None => Ok(()),
            Some((_, err)) => Err(err),
        }
    }

    /// Sends changes in as few system calls as possible, and returns the refused ones by position.
    ///
    /// The kernel continues after a refused message of a batch (`netlink_rcv_skb`), so they are independent.
    pub(super) fn changes<M: NetlinkSerializable>(
        &mut self,
        messages: impl IntoIterator<Item = M>,
        flags: u16,
    ) -> Result<Vec<(usize, KernelError)>> {
        let mut refused = Vec::new();
        let first = self.next;
        let mut count = 0;
        self.batch.clear();
        let mut messages = messages.into_iter().peekable();
        while let Some(message) = messages.next() {
            count += 1;
            let is_last = messages.peek().is_none();
            let most = if is_last { count } else { self.batch_messages()? };
            let closes = is_last || count == most || self.batch.len() >= BATCH_BYTES;
            // A refusal is always answered; the ACK of the last message confirms that all are done, and the others need
            // none.
            let ack = if closes { NLM_F_ACK } else { 0 };
            let sequence = self.sequence();
            encode(&mut self.batch, &message, flags | NLM_F_REQUEST | ack, sequence);
            if closes {
                self.settle(first, sequence, &mut refused)?;
                count = 0;
            }
        }
        Ok(refused)
    }

    /// Sets the socket up for batches, so that a full batch of refusals fits into its buffer. Returns the batch size.
    fn batch_messages(&mut self) -> Result<usize> {
        if let Some(messages) = self.batch_messages {
            return Ok(messages);
        }
        // Responses without a copy of the request.
        self.socket.set_cap_ack(true)?;
        self.socket.set_rx_buf_sz(RECEIVE_BUFFER as i32)?;
        let messages = (self.socket.get_rx_buf_sz()? / RESPONSE_SPACE).max(1);
        self.batch_messages = Some(messages);
        Ok(messages)
    }

    fn sequence(&mut self) -> u32 {
        let sequence = self.next;
        // Never 0, which the kernel uses for its own events.
        self.next = sequence.checked_add(1).unwrap_or(1);
        sequence
    }

    /// Dumps all objects of a kind. `parse` gets the type and payload of each message.
    ///
    /// # Errors
    /// `EINTR` if the kernel's list changed during every attempt.
    pub(super) fn dump<T>(
        &mut self,
        request: impl NetlinkSerializable,
        parse: impl Fn(u16, &[u8]) -> Option<T>,
    ) -> Result<Vec<T>> {
        for _ in 0..DUMP_TRIES {
            let sequence = self.ask(&request, NLM_F_DUMP)?;
            let mut dump = Dump { found: Vec::new(), interrupted: false, sequence };
            self.receive(DUMP_BYTES, |reply| dump.take(&reply, &parse))?;
            if !dump.interrupted {
                return Ok(dump.found);
            }
        }
        Err(Errno::EINTR.into())
    }

    /// Requests single objects in one send. `parse` gets the type and payload of each response; an object that no
    /// longer exists has none.
    pub(super) fn get<M: NetlinkSerializable, T>(
        &mut self,
        requests: impl IntoIterator<Item = M>,
        flags: u16,
        parse: impl Fn(u16, &[u8]) -> Option<T>,
    ) -> Result<Vec<T>> {
        let mut found = Vec::new();
        let mut count = 0;
        self.batch.clear();
        let mut requests = requests.into_iter().peekable();
        while let Some(request) = requests.next() {
            count += 1;
            let closes = count == GET_MESSAGES || requests.peek().is_none();
            let ack = if closes { NLM_F_ACK } else { 0 };
            let sequence = self.sequence();
            encode(&mut self.batch, &request, flags | NLM_F_REQUEST | ack, sequence);
            if closes {
                self.send()?;
                self.batch.clear();
                self.receive(DUMP_BYTES, |reply| {
                    found.extend(parse(reply.kind, reply.payload));
                    let ends = reply.kind == NLMSG_ERROR && reply.sequence == sequence;
                    Ok(if ends { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
                })?;
                count = 0;
            }
        }
        Ok(found)
    }

    /// Reads one object, or `None` if it does not exist.
    pub(super) fn get_one<T>(
        &mut self,
        request: impl NetlinkSerializable,
        parse: impl Fn(u16, &[u8]) -> Option<T>,
    ) -> Result<Option<T>> {
        let sequence = self.ask(&request, 0)?;
        let mut found = None;
        let read = self.receive(DUMP_BYTES, |reply| {
            match reply.kind {
                _ if reply.sequence != sequence => return Ok(ControlFlow::Continue(())),
                NLMSG_ERROR => reply.verdict()?,
                kind => found = parse(kind, reply.payload),
            }
            Ok(ControlFlow::Break(()))
        });
        match read {
            Err(err) if err.refusal() == Refusal::Gone => Ok(None),
            read => read.map(|()| found),
        }
    }

    fn ask(&mut self, request: &impl NetlinkSerializable, flags: u16) -> Result<u32> {
        let sequence = self.sequence();
        self.batch.clear();
        encode(&mut self.batch, request, NLM_F_REQUEST | flags, sequence);
        self.send()?;
        Ok(sequence)
    }

    /// Sends the batch of the messages up to `last`. Positions count from `first`.
    fn settle(&mut self, first: u32, last: u32, refused: &mut Vec<(usize, KernelError)>) -> Result<()> {
        self.send()?;
        self.batch.clear();
        self.receive(ANSWER_BYTES, |reply| {
            let position = reply.sequence.wrapping_sub(first);
            if position > last.wrapping_sub(first) {
                return Ok(ControlFlow::Continue(()));
            }
            if reply.kind == NLMSG_ERROR
                && let Err(err) = reply.verdict()
            {
                refused.push((position as usize, err));
            }
            Ok(if reply.sequence == last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
    }

    fn send(&self) -> Result<()> {
        let sent = self.socket.send_to(&self.batch, &SocketAddr::new(0, 0), 0)?;
        if sent == self.batch.len() { Ok(()) } else { Err(KernelError::Unexpected("a batch was cut".into())) }
    }

    fn receive(
        &mut self,
        bytes: usize,
        mut each: impl FnMut(Reply<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        loop {
            self.buffer.clear();
            self.buffer.reserve(bytes);
            match self.socket.recv(&mut self.buffer, MSG_DONTWAIT) {
                Ok(_) => {}
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                Err(err) => return Err(err.into()),
            }
            for reply in replies(&self.buffer) {
                if each(reply)?.is_break() {
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::{super::message::HEADER_BYTES, *};

    fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
        let length = (HEADER_BYTES + payload.len()) as u32;
        let header = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8]].concat();
        [header, payload.to_vec()].concat()
    }

    /// Reads a dump from a single datagram.
    fn read(datagram: &[u8]) -> Result<(Vec<u16>, bool)> {
        let mut dump = Dump { found: Vec::new(), interrupted: false, sequence: 0 };
        for reply in replies(datagram) {
            if dump.take(&reply, |kind, _| Some(kind))?.is_break() {
                break;
            }
        }
        Ok((dump.found, dump.interrupted))
    }

    #[test]
    fn a_dump_that_ends_with_an_errno_fails() {
        let (rule, done) =
            (message(24, 2, &[0; 8]), |errno: i32| message(NLMSG_DONE, 2, &errno.to_ne_bytes()));
        assert_eq!(read(&[rule.clone(), done(0)].concat()).unwrap(), (vec![24], false));
        let err = read(&[rule, done(-105)].concat()).unwrap_err();
        assert!(
            matches!(&err, KernelError::Refused { errno, .. } if errno.raw_os_error() == Some(105)),
            "{err}"
        );
    }

    #[test]
    fn responses_to_other_requests_are_not_part_of_a_dump() {
        let mut dump = Dump { found: Vec::new(), interrupted: false, sequence: 8 };
        let old = |kind: u16, flags: u16| Reply { kind, flags, sequence: 7, payload: &[0; 4] };
        for (kind, flags) in [(24, NLM_F_DUMP_INTR), (NLMSG_DONE, 0), (NLMSG_ERROR, 0)] {
            assert!(dump.take(&old(kind, flags), |kind, _| Some(kind)).unwrap().is_continue());
        }
        assert!(dump.take(&Reply { sequence: 8, ..old(24, 0) }, |kind, _| Some(kind)).unwrap().is_continue());
        assert!(
            dump.take(&Reply { sequence: 8, ..old(NLMSG_DONE, 0) }, |kind, _| Some(kind)).unwrap().is_break()
        );
        assert_eq!((dump.found, dump.interrupted), (vec![24], false));
    }

    #[test]
    fn a_socket_is_reused_unless_something_failed_and_never_repeats_a_sequence_number() {
        let sockets = Sockets::default();
        let list = |socket: &mut RouteSocket| socket.dump(crate::kernel::link::list(), |kind, _| Some(kind));
        let first =
            sockets.with(|socket| list(socket).map(|_| (socket.socket.as_raw_fd(), socket.next))).unwrap();
        let second =
            sockets.with(|socket| list(socket).map(|_| (socket.socket.as_raw_fd(), socket.next))).unwrap();
        assert_eq!(first.0, second.0);
        assert!(second.1 > first.1);
        // Its response is in the buffer, unread.
        let failed = sockets.with(|socket| {
            socket.ask(&crate::kernel::link::list(), NLM_F_DUMP)?;
            Err::<(), _>(Errno::EIO.into())
        });
        assert!(failed.is_err() && sockets.0.lock().is_empty());
    }

    #[test]
    fn a_dump_is_interrupted_if_any_message_says_so() {
        let done = message(NLMSG_DONE, 2, &[0; 4]);
        let torn = message(NLMSG_DONE, 2 | NLM_F_DUMP_INTR, &[0; 4]);
        let (link, torn_link) = (message(16, 2, &[]), message(16, 2 | NLM_F_DUMP_INTR, &[]));
        assert!(!read(&[link.clone(), done.clone()].concat()).unwrap().1);
        assert!(read(&[link, torn].concat()).unwrap().1);
        assert!(read(&[torn_link, done].concat()).unwrap().1);
    }
}
