//! A synchronous `NETLINK_ROUTE` socket: batches of changes, and dumps that tolerate interruption.
//!
//! Synchronous like the kernel: `rtnetlink_rcv` runs inside `sendmsg(2)`, so the response is in the socket before the
//! call returns. A receive that would block therefore means that the response was lost, which is an error. Each task
//! opens a socket and closes it afterwards, so a stale response can never be mistaken for a current one.

use std::{io, ops::ControlFlow};

use nix::errno::Errno;
use rtnetlink::{
    packet_core::{
        NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkHeader,
        NetlinkMessage, NetlinkPayload, NetlinkSerializable, NlasIterator, parse_string,
    },
    sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE},
};

use super::{KernelError, Result};

/// The maximum size of one send in bytes, well under the default `net.core.wmem_default`.
const BATCH_BYTES: usize = 32 * 1024;
/// And the maximum number of messages: each response takes up to 1 KiB of the receive buffer (an skb's true size, 896
/// bytes measured), and one that does not fit causes `ENOBUFS`. The default `net.core.rmem_default` holds about 230.
const BATCH_MESSAGES: usize = 64;
/// How often to retry a dump that is interrupted.
const DUMP_TRIES: usize = 10;
/// The kernel fills at most 32 KiB per dump datagram (`netlink_dump` in `net/netlink/af_netlink.c`).
const RECEIVE_BYTES: usize = 64 * 1024;
const HEADER_BYTES: usize = 16;
/// include/uapi/linux/netlink.h.
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// A socket in the namespace of the thread that opened it.
pub(super) struct RouteSocket {
    socket: Socket,
    buffer: Vec<u8>,
}

/// What has been read of a dump so far.
struct Dump<T> {
    found: Vec<T>,
    /// The kernel's list changed meanwhile, so entries may be missing or duplicated.
    interrupted: bool,
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

/// One message of a datagram.
pub(super) struct Reply<'a> {
    pub(super) kind: u16,
    flags: u16,
    sequence: u32,
    pub(super) payload: &'a [u8],
}

impl RouteSocket {
    pub(super) fn open() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        // Responses without a copy of the request, so that those to a full batch of refused requests fit into the
        // buffer.
        socket.set_cap_ack(true)?;
        socket.set_ext_ack(true)?;
        Ok(Self { socket, buffer: Vec::with_capacity(RECEIVE_BYTES) })
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
        let mut batch = Vec::new();
        let (mut count, mut sequence) = (0, 0);
        let mut messages = messages.into_iter().peekable();
        while let Some(message) = messages.next() {
            (count, sequence) = (count + 1, sequence + 1);
            let closes = count == BATCH_MESSAGES || batch.len() >= BATCH_BYTES || messages.peek().is_none();
            // A refusal is always answered; the ACK of the last message confirms that all are done, and the others need
            // none.
            let ack = if closes { NLM_F_ACK } else { 0 };
            batch.extend_from_slice(&encode(message, flags | NLM_F_REQUEST | ack, sequence));
            if closes {
                self.settle(&std::mem::take(&mut batch), sequence, &mut refused)?;
                count = 0;
            }
        }
        Ok(refused)
    }

    /// Dumps all objects of a kind. `parse` gets the type and payload of each message.
    ///
    /// # Errors
    /// `EINTR` if the kernel's list changed during every attempt.
    pub(super) fn dump<M, T>(&mut self, request: M, parse: impl Fn(u16, &[u8]) -> Option<T>) -> Result<Vec<T>>
    where
        M: NetlinkSerializable + Clone,
    {
        for _ in 0..DUMP_TRIES {
            self.send(&encode(request.clone(), NLM_F_REQUEST | NLM_F_DUMP, 1))?;
            let mut dump = Dump { found: Vec::new(), interrupted: false };
            self.receive(|reply| dump.take(&reply, &parse))?;
            if !dump.interrupted {
                return Ok(dump.found);
            }
        }
        Err(Errno::EINTR.into())
    }

    /// Asks for single objects in one send. `parse` sees the type and payload of each answer; what is refused, because
    /// it is gone, has none.
    pub(super) fn get<M: NetlinkSerializable, T>(
        &mut self,
        requests: impl IntoIterator<Item = M>,
        flags: u16,
        parse: impl Fn(u16, &[u8]) -> Option<T>,
    ) -> Result<Vec<T>> {
        let (mut found, mut batch) = (Vec::new(), Vec::new());
        let mut requests = (1..).zip(requests).peekable();
        while let Some((sequence, request)) = requests.next() {
            let closes = (sequence as usize).is_multiple_of(BATCH_MESSAGES) || requests.peek().is_none();
            let ack = if closes { NLM_F_ACK } else { 0 };
            batch.extend_from_slice(&encode(request, flags | NLM_F_REQUEST | ack, sequence));
            if closes {
                self.send(&std::mem::take(&mut batch))?;
                self.receive(|reply| {
                    found.extend(parse(reply.kind, reply.payload));
                    let ends = reply.kind == NLMSG_ERROR && reply.sequence == sequence;
                    Ok(if ends { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
                })?;
            }
        }
        Ok(found)
    }

    fn settle(&mut self, batch: &[u8], last: u32, refused: &mut Vec<(usize, KernelError)>) -> Result<()> {
        self.send(batch)?;
        self.receive(|reply| {
            if reply.kind == NLMSG_ERROR
                && let Err(err) = reply.verdict()
            {
                refused.push((reply.sequence.saturating_sub(1) as usize, err));
            }
            Ok(if reply.sequence == last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        let sent = self.socket.send_to(bytes, &SocketAddr::new(0, 0), 0)?;
        if sent == bytes.len() { Ok(()) } else { Err(KernelError::Unexpected("a batch was cut".into())) }
    }

    fn receive(&mut self, mut each: impl FnMut(Reply<'_>) -> Result<ControlFlow<()>>) -> Result<()> {
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
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

fn encode<M: NetlinkSerializable>(message: M, flags: u16, sequence: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
    message.finalize();
    // Attributes are already padded to four bytes, so messages can follow each other directly.
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// The messages of a datagram.
pub(super) fn replies(datagram: &[u8]) -> impl Iterator<Item = Reply<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let (reply, after) = next_reply(rest)?;
        rest = after;
        Some(reply)
    })
}

fn next_reply(bytes: &[u8]) -> Option<(Reply<'_>, &[u8])> {
    let length = u32_at(bytes, 0)? as usize;
    let payload = bytes.get(HEADER_BYTES..length)?;
    let reply =
        Reply { kind: u16_at(bytes, 4)?, flags: u16_at(bytes, 6)?, sequence: u32_at(bytes, 8)?, payload };
    Some((reply, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

impl Reply<'_> {
    /// `struct nlmsgerr` starts with the negative errno, or zero for an ACK. The end of a dump (`NLMSG_DONE`) has the
    /// return value of the dump in the same place (`netlink_dump_done`), negative if it ended early.
    fn verdict(&self) -> Result<()> {
        match u32_at(self.payload, 0).map(|code| code as i32) {
            Some(0) => Ok(()),
            Some(code) => {
                let errno = io::Error::from_raw_os_error(code.wrapping_neg());
                Err(KernelError::Refused { errno, words: self.words() })
            }
            None => Err(KernelError::Unexpected("a cut error message".into())),
        }
    }

    /// The kernel's message for a refusal, after the header of the request; the end of a dump has none.
    fn words(&self) -> Option<String> {
        if self.flags & NLM_F_ACK_TLVS == 0 {
            return None;
        }
        let header = if self.kind == NLMSG_DONE { 0 } else { HEADER_BYTES };
        let mut attributes = NlasIterator::new(self.payload.get(4 + header..)?).filter_map(Result::ok);
        let words = attributes.find(|nla| nla.kind() == NLMSGERR_ATTR_MSG)?;
        parse_string(words.value()).ok().filter(|words| !words.is_empty())
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
        let length = (HEADER_BYTES + payload.len()) as u32;
        let header = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8]].concat();
        [header, payload.to_vec()].concat()
    }

    /// Reads a dump from a single datagram.
    fn read(datagram: &[u8]) -> Result<(Vec<u16>, bool)> {
        let mut dump = Dump { found: Vec::new(), interrupted: false };
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
    fn a_dump_is_interrupted_if_any_message_says_so() {
        let done = message(NLMSG_DONE, 2, &[0; 4]);
        let torn = message(NLMSG_DONE, 2 | NLM_F_DUMP_INTR, &[0; 4]);
        let (link, torn_link) = (message(16, 2, &[]), message(16, 2 | NLM_F_DUMP_INTR, &[]));
        assert!(!read(&[link.clone(), done.clone()].concat()).unwrap().1);
        assert!(read(&[link, torn].concat()).unwrap().1);
        assert!(read(&[torn_link, done].concat()).unwrap().1);
    }

    proptest::proptest! {
        #[test]
        fn random_datagrams_never_panic_or_loop(
            datagram in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
        ) {
            let bytes: usize = replies(&datagram).map(|reply| HEADER_BYTES + reply.payload.len()).sum();
            proptest::prop_assert!(bytes <= datagram.len());
            let _ = replies(&datagram).map(|reply| reply.verdict()).collect::<Vec<_>>();
        }

        #[test]
        fn random_lengths_never_panic_or_loop(
            lengths in proptest::collection::vec(0..60_u32, 0..12),
        ) {
            let mut datagram = Vec::new();
            for length in lengths {
                datagram.extend(length.to_ne_bytes());
                datagram.resize(datagram.len() + (length as usize).saturating_sub(4), 0x5a);
            }
            let mut count = 0;
            for reply in replies(&datagram) {
                let _ = reply.verdict();
                count += 1;
            }
            proptest::prop_assert!(count * HEADER_BYTES <= datagram.len());
        }
    }
}
