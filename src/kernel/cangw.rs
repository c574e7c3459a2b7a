//! The can-gw codec: `RTM_{NEW,DEL,GET}ROUTE` of family `AF_CAN` (`net/can/gw.c`).
//!
//! The payload is a 4-byte `struct rtcanmsg`, not the 12-byte `struct rtmsg` that netlink-packet-route writes, and its
//! attributes have their own numbers. No crate supports them.

use rtnetlink::packet_core::{NetlinkSerializable, NlasIterator, parse_u8, parse_u16, parse_u32};

use super::{Filter, Rule, RuleFlags, RuleStatus};

const AF_CAN: u8 = 29;
const CGW_TYPE_CAN_CAN: u8 = 1;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RTCANMSG_LEN: usize = 4;
const NLA_HEADER_LEN: usize = 4;

const CGW_HANDLED: u16 = 7;
const CGW_DROPPED: u16 = 8;
const CGW_SRC_IF: u16 = 9;
const CGW_DST_IF: u16 = 10;
const CGW_FILTER: u16 = 11;
const CGW_DELETED: u16 = 12;
const CGW_LIM_HOPS: u16 = 13;

/// A request to can-gw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// Add the rule, even if an equal one exists.
    Add(Rule),
    /// Remove the first rule that is equal in every attribute; `EINVAL` if there is none.
    Delete(Rule),
    /// All rules of the namespace.
    List,
    /// A rule without interfaces: `ENODEV` if can-gw is loaded, `EOPNOTSUPP` if not.
    Probe,
}

impl Request {
    fn rule(&self) -> Option<&Rule> {
        match self {
            Self::Add(rule) | Self::Delete(rule) => Some(rule),
            Self::List | Self::Probe => None,
        }
    }

    /// The kinds and values of the attributes, without an allocation: a Join on a large bus writes hundreds of rules.
    fn attributes(&self, mut write: impl FnMut(u16, &[u8])) {
        let Some(rule) = self.rule() else { return };
        write(CGW_SRC_IF, &rule.source.to_ne_bytes());
        write(CGW_DST_IF, &rule.destination.to_ne_bytes());
        // The kernel reports a filter of 0/0 as no filter, so none is written.
        if rule.filter != Filter::default() {
            let mut filter = [0; 8];
            filter[..4].copy_from_slice(&rule.filter.id.to_ne_bytes());
            filter[4..].copy_from_slice(&rule.filter.mask.to_ne_bytes());
            write(CGW_FILTER, &filter);
        }
        if let Some(hops) = rule.max_hops {
            write(CGW_LIM_HOPS, &[hops]);
        }
    }
}

impl NetlinkSerializable for Request {
    fn message_type(&self) -> u16 {
        match self {
            Self::Add(_) | Self::Probe => RTM_NEWROUTE,
            Self::Delete(_) => RTM_DELROUTE,
            Self::List => RTM_GETROUTE,
        }
    }

    fn buffer_len(&self) -> usize {
        let mut length = RTCANMSG_LEN;
        self.attributes(|_, value| length += NLA_HEADER_LEN + value.len().next_multiple_of(4));
        length
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let flags = self.rule().map_or(0, |rule| rule.flags.bits());
        buffer[0] = AF_CAN;
        buffer[1] = CGW_TYPE_CAN_CAN;
        buffer[2..4].copy_from_slice(&flags.to_ne_bytes());
        let mut at = RTCANMSG_LEN;
        self.attributes(|kind, value| {
            let length = NLA_HEADER_LEN + value.len();
            buffer[at..at + 2].copy_from_slice(&(length as u16).to_ne_bytes());
            buffer[at + 2..at + 4].copy_from_slice(&kind.to_ne_bytes());
            buffer[at + 4..at + length].copy_from_slice(value);
            buffer[at + length..at + length.next_multiple_of(4)].fill(0);
            at += length.next_multiple_of(4);
        });
    }
}

/// Parses one message of a dump; `None` if it is not a can-gw rule.
///
/// Without can-gw the kernel answers a dump with the routes of every other family.
pub(super) fn parse_rule(message_type: u16, payload: &[u8]) -> Option<RuleStatus> {
    if message_type != RTM_NEWROUTE || payload.first() != Some(&AF_CAN) {
        return None;
    }
    let flags = RuleFlags::from_bits_retain(parse_u16(payload.get(2..4)?).ok()?);
    let (mut source, mut destination, mut max_hops) = (None, None, None);
    let mut filter = Filter::default();
    let mut status = (0, 0, false);
    for nla in NlasIterator::new(payload.get(RTCANMSG_LEN..)?) {
        let nla = nla.ok()?;
        let value = nla.value();
        match nla.kind() {
            CGW_SRC_IF => source = Some(parse_u32(value).ok()?),
            CGW_DST_IF => destination = Some(parse_u32(value).ok()?),
            CGW_LIM_HOPS => max_hops = Some(parse_u8(value).ok()?),
            CGW_FILTER => {
                filter =
                    Filter { id: parse_u32(value.get(..4)?).ok()?, mask: parse_u32(value.get(4..8)?).ok()? }
            }
            CGW_HANDLED => status.0 = parse_u32(value).ok()?,
            CGW_DROPPED => status.1 = parse_u32(value).ok()?,
            // Counts every frame that met its hop limit. In a mesh that is every frame, so it means nothing.
            CGW_DELETED => {}
            _ => status.2 = true,
        }
    }
    let rule = Rule { source: source?, destination: destination?, flags, filter, max_hops };
    let (handled, dropped, modifies) = status;
    Some(RuleStatus { rule, handled, dropped, modifies })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(request: Request) -> Vec<u8> {
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        bytes
    }

    // The bytes that `cangw -A -s … -d … -e -f 123:7FF -l 1` of can-utils sends after the header.
    #[test]
    #[cfg(target_endian = "little")]
    fn a_rule_is_encoded_as_rtcanmsg_and_attributes() {
        let rule = Rule {
            source: 7,
            destination: 9,
            flags: RuleFlags::ECHO,
            filter: Filter { id: 0x123, mask: 0x7ff },
            max_hops: Some(1),
        };
        let expected = [
            29, 1, 1, 0, // rtcanmsg
            8, 0, 9, 0, 7, 0, 0, 0, // CGW_SRC_IF
            8, 0, 10, 0, 9, 0, 0, 0, // CGW_DST_IF
            12, 0, 11, 0, 0x23, 1, 0, 0, 0xff, 7, 0, 0, // CGW_FILTER
            5, 0, 13, 0, 1, 0, 0, 0, // CGW_LIM_HOPS, padded
        ];
        assert_eq!(bytes(Request::Add(rule)), expected);
        assert_eq!(parse_rule(RTM_NEWROUTE, &expected).unwrap().rule, rule);
    }

    // Captured on Linux 6.12: `cangw -A -s va -d vb -e -X -l 1` between interfaces 701 and 702.
    #[test]
    #[cfg(target_endian = "little")]
    fn an_fd_rule_matches_what_cangw_sends() {
        let rule = Rule {
            source: 701,
            destination: 702,
            flags: RuleFlags::ECHO | RuleFlags::FD,
            filter: Filter::default(),
            max_hops: Some(1),
        };
        let expected =
            [0x1d, 1, 9, 0, 8, 0, 9, 0, 0xbd, 2, 0, 0, 8, 0, 10, 0, 0xbe, 2, 0, 0, 5, 0, 13, 0, 1, 0, 0, 0];
        assert_eq!(bytes(Request::Add(rule)), expected);
    }

    #[test]
    fn a_probe_without_interfaces_adds_and_flushes_nothing() {
        assert_eq!(bytes(Request::Probe), [29, 1, 0, 0]);
        assert_eq!(Request::Probe.message_type(), RTM_NEWROUTE);
    }

    #[test]
    fn counters_and_modifications_are_parsed() {
        let mut payload = vec![29, 1, 4, 0];
        for (kind, value) in [(CGW_SRC_IF, 1_u32), (CGW_DST_IF, 2), (CGW_HANDLED, 70), (CGW_DROPPED, 3)] {
            payload.extend(8_u16.to_ne_bytes());
            payload.extend(kind.to_ne_bytes());
            payload.extend(value.to_ne_bytes());
        }
        let status = parse_rule(RTM_NEWROUTE, &payload).unwrap();
        assert_eq!((status.handled, status.dropped, status.modifies), (70, 3, false));
        // CGW_MOD_AND: 16 bytes of frame, and one that says which fields.
        payload.extend([21, 0, 1, 0]);
        payload.extend([0; 20]);
        assert!(parse_rule(RTM_NEWROUTE, &payload).unwrap().modifies);
    }

    #[test]
    fn other_families_and_truncated_messages_are_not_rules() {
        assert_eq!(parse_rule(RTM_NEWROUTE, &[2, 24, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0]), None);
        assert_eq!(parse_rule(RTM_NEWROUTE, &[29]), None);
        assert_eq!(parse_rule(RTM_NEWROUTE, &[29, 1, 0, 0]), None);
        assert_eq!(parse_rule(RTM_NEWROUTE, &[29, 1, 0, 0, 8, 0, 9, 0, 7]), None);
    }

    proptest::proptest! {
        #[test]
        fn random_bytes_never_panic(
            flags in proptest::num::u16::ANY,
            attributes in proptest::collection::vec(proptest::num::u8::ANY, 0..120),
        ) {
            parse_rule(RTM_NEWROUTE, &attributes);
            let header = [&[AF_CAN, CGW_TYPE_CAN_CAN], &flags.to_ne_bytes()[..]].concat();
            parse_rule(RTM_NEWROUTE, &[header, attributes].concat());
        }

        // Almost valid lengths and kinds reach further than random bytes.
        #[test]
        fn random_attributes_never_panic(
            attributes in proptest::collection::vec((0..40_u16, 0..24_u16, proptest::num::u8::ANY), 0..12),
        ) {
            let mut payload = vec![AF_CAN, CGW_TYPE_CAN_CAN, 0, 0];
            for (length, kind, fill) in attributes {
                payload.extend(length.to_ne_bytes());
                payload.extend(kind.to_ne_bytes());
                payload.extend(std::iter::repeat_n(fill, usize::from(length.saturating_sub(4).next_multiple_of(4))));
            }
            parse_rule(RTM_NEWROUTE, &payload);
        }
    }
}
