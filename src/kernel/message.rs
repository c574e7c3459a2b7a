//! Netlink messages: how one is written, and the replies in a datagram.

use std::io;

use rtnetlink::packet_core::{NLMSG_DONE, NetlinkSerializable, NlasIterator, parse_string};

use super::{KernelError, Result};
pub(super) const HEADER_BYTES: usize = 16;
/// include/uapi/linux/netlink.h.
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// One message of a datagram.
pub(super) struct Reply<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) payload: &'a [u8],
}

/// Appends a message: attributes are already padded to four bytes, so messages can follow each other directly.
pub(super) fn encode(batch: &mut Vec<u8>, message: &impl NetlinkSerializable, flags: u16, sequence: u32) {
    let at = batch.len();
    let length = HEADER_BYTES + message.buffer_len();
    batch.extend((length as u32).to_ne_bytes());
    batch.extend(message.message_type().to_ne_bytes());
    batch.extend(flags.to_ne_bytes());
    batch.extend(sequence.to_ne_bytes());
    // The kernel fills in the port.
    batch.extend([0; 4]);
    batch.resize(at + length, 0);
    message.serialize(&mut batch[at + HEADER_BYTES..]);
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
    pub(super) fn verdict(&self) -> Result<()> {
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
    use rtnetlink::packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};

    use super::*;

    #[test]
    fn a_message_matches_the_crates_own_encoder() {
        let message = crate::kernel::link::delete(7);
        let mut header = NetlinkHeader::default();
        (header.flags, header.sequence_number) = (5, 9);
        let mut expected = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message.clone()));
        expected.finalize();
        let mut bytes = vec![0; expected.buffer_len()];
        expected.serialize(&mut bytes);
        let mut batch = Vec::new();
        encode(&mut batch, &message, 5, 9);
        assert_eq!(batch, bytes);
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
