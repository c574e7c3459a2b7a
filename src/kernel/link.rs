//! Link messages: requests are built with rtnetlink's builders, responses are parsed here.
//!
//! Parsed by hand, because it must never fail: netlink-packet-route parses some sixty attributes and rejects a message
//! if one of them is new or odd. canhub needs eight.

use std::os::fd::RawFd;

use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoData, InfoVxcan, LinkAttribute, LinkExtentMask, LinkMessage},
};
use rtnetlink::{
    LinkMessageBuilder, LinkUnspec, LinkVcan, LinkVxcan,
    packet_core::{DefaultNla, NlaBuffer, NlasIterator, parse_string, parse_u32},
};

use super::{Controller, History, Link, LinkChange, LinkKind, OWN_INDEX_BASE, PairSpec, Qdisc, controller};
use crate::names::IfName;

const RTM_NEWLINK: u16 = 16;
const IFINFOMSG_LEN: usize = 16;
const ARPHRD_CAN: u16 = 280;
const IFF_UP: u32 = 1;

const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_QDISC: u16 = 6;
const IFLA_TXQLEN: u16 = 13;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_XSTATS: u16 = 3;
const VXCAN_INFO_PEER: u16 = 1;

/// Requests all links, without the statistics that make up most of a response.
pub(super) fn list() -> RouteNetlinkMessage {
    let mask = LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]);
    RouteNetlinkMessage::GetLink(LinkMessageBuilder::<LinkUnspec>::new().append_extra_attribute(mask).build())
}

/// Requests the link of this name.
pub(super) fn get(name: &IfName) -> RouteNetlinkMessage {
    let mask = LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]);
    let link = LinkMessageBuilder::<LinkUnspec>::new().name(name.as_str()).append_extra_attribute(mask);
    RouteNetlinkMessage::GetLink(link.build())
}

/// `ip link add NAME index INDEX mtu MTU up type vcan`.
pub(super) fn new_vcan(name: &IfName, index: u32, mtu: u32) -> RouteNetlinkMessage {
    RouteNetlinkMessage::NewLink(LinkVcan::new(name.as_str()).index(index).mtu(mtu).up().build())
}

/// The index for a hub, from [`OWN_INDEX_BASE`] and below those of pairs; `attempt` gives another one if it is taken.
pub(super) fn hub_index(name: &IfName, attempt: u32) -> u32 {
    OWN_INDEX_BASE | (hash(name, attempt) & 0x07ff_ffff)
}

/// FNV-1a: stable, and well distributed for a few thousand names over 2²⁷ slots.
fn hash(name: &IfName, attempt: u32) -> u32 {
    let bytes = name.as_str().bytes().chain(attempt.to_le_bytes());
    bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The indices of a pair's two ends.
///
/// Chosen by canhub, not by the kernel: a new namespace would assign 2, which is some other interface on the host, and
/// can-gw compares indices across namespaces. Ours are far above any that the kernel assigns, even on the host and odd
/// in containers, so that the index of a container end never equals the target of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairIndices {
    /// The host end's.
    pub host: u32,
    /// The container end's, in its namespace.
    pub end: u32,
}

impl PairIndices {
    /// Indices derived from a name; `attempt` gives others if they are taken.
    pub(super) fn for_name(name: &IfName, attempt: u32) -> Self {
        let host = 0x1000_0000 | (hash(name, attempt) & 0x0fff_fffe);
        Self { host, end: host + 1 }
    }
}

/// `ip link add HOST mtu MTU type vxcan peer name END mtu MTU netns SANDBOX`, both ends down.
///
/// The driver connects the two ends only after it has configured the peer, so a peer cannot be created up (`vxcan_open`
/// returns `ENOTCONN`), and an alias is only accepted by `RTM_SETLINK`. Both take a second step.
pub(super) fn new_pair(
    pair: &PairSpec<'_>,
    indices: PairIndices,
    sandbox: Option<RawFd>,
) -> RouteNetlinkMessage {
    let end =
        LinkMessageBuilder::<LinkUnspec>::new().name(pair.end.as_str()).index(indices.end).mtu(pair.mtu);
    let end = match sandbox {
        Some(fd) => end.setns_by_fd(fd),
        None => end,
    };
    let host = LinkVxcan::new(pair.host.as_str(), pair.end.as_str())
        .set_info_data(InfoData::Vxcan(InfoVxcan::Peer(end.build())))
        .index(indices.host)
        .mtu(pair.mtu);
    RouteNetlinkMessage::NewLink(host.build())
}

/// A pair that no kernel makes: `VXCAN_INFO_PEER` is shorter than its `struct ifinfomsg`. A kernel with vxcan, which it
/// loads for this, answers `ERANGE` or `EINVAL`, and one without `EOPNOTSUPP`.
pub(super) fn probe_pair() -> RouteNetlinkMessage {
    let short = InfoVxcan::Other(DefaultNla::new(VXCAN_INFO_PEER, vec![0; IFINFOMSG_LEN / 4]));
    let host = LinkVxcan::new("canhub-probe", "canhub-probe").set_info_data(InfoData::Vxcan(short));
    RouteNetlinkMessage::NewLink(host.build())
}

/// The messages for a change, in the order that the kernel requires.
pub(super) fn set(index: u32, change: &LinkChange) -> Vec<RouteNetlinkMessage> {
    let link = || LinkUnspec::new_with_index(index);
    let mut messages: Vec<LinkMessage> = Vec::new();
    // An MTU can only be changed while the link is down (EBUSY); before Linux 6.2 also a name.
    if change.mtu.is_some() || change.name.is_some() {
        messages.push(link().down().build());
    }
    let mut last = link();
    if let Some(mtu) = change.mtu {
        messages.push(link().mtu(mtu).build());
    }
    if let Some(name) = &change.name {
        messages.push(link().name(name.as_str()).build());
    }
    if let Some(alias) = &change.alias {
        last = last.alias(alias);
    }
    match change.up {
        Some(true) => last = last.up(),
        Some(false) => last = last.down(),
        None => {}
    }
    messages.push(last.build());
    messages.into_iter().map(RouteNetlinkMessage::SetLink).collect()
}

/// `ip link del`.
pub(super) fn delete(index: u32) -> RouteNetlinkMessage {
    RouteNetlinkMessage::DelLink(LinkUnspec::new_with_index(index).build())
}

/// Parses one message of a dump; `None` if it is not a link.
pub(super) fn parse(message_type: u16, payload: &[u8]) -> Option<Link> {
    if message_type != RTM_NEWLINK {
        return None;
    }
    let word = |at: usize| payload.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let hardware_type = u16::from_ne_bytes(payload.get(2..4)?.try_into().ok()?);
    let (mut name, mut mtu, mut txqueuelen, mut peer, mut alias) = (None, 0, 0, None, None);
    let (mut info, mut qdisc) = (Info::default(), None);
    for nla in NlasIterator::new(payload.get(IFINFOMSG_LEN..)?).filter_map(Result::ok) {
        match nla.kind() {
            IFLA_IFNAME => name = parse_string(nla.value()).ok(),
            IFLA_MTU => mtu = parse_u32(nla.value()).ok()?,
            IFLA_TXQLEN => txqueuelen = parse_u32(nla.value()).unwrap_or_default(),
            IFLA_LINK => peer = parse_u32(nla.value()).ok(),
            IFLA_QDISC => qdisc = parse_string(nla.value()).ok().and_then(|kind| Qdisc::of_kind(&kind)),
            IFLA_IFALIAS => alias = parse_string(nla.value()).ok(),
            IFLA_LINKINFO => info = Info::parse(&nla),
            _ => {}
        }
    }
    let kind = match (hardware_type, info.kind.as_deref()) {
        (ARPHRD_CAN, Some("vcan")) => LinkKind::Vcan,
        (ARPHRD_CAN, Some("vxcan")) => LinkKind::Vxcan,
        (ARPHRD_CAN, _) => LinkKind::Can,
        _ => LinkKind::Other,
    };
    let up = word(8)? & IFF_UP != 0;
    Some(Link {
        index: word(4)?,
        name: name?,
        kind,
        mtu,
        up,
        alias,
        peer,
        txqueuelen,
        controller: info.controller.map(Box::new),
        qdisc,
        counters: None,
    })
}

/// The parsed `IFLA_LINKINFO`.
#[derive(Default)]
struct Info {
    kind: Option<String>,
    controller: Option<Controller>,
}

impl Info {
    fn parse(info: &NlaBuffer<&[u8]>) -> Self {
        let (mut kind, mut data, mut history) = (None, None, History::default());
        for nla in NlasIterator::new(info.value()).filter_map(Result::ok) {
            match nla.kind() {
                IFLA_INFO_KIND => kind = parse_string(nla.value()).ok(),
                IFLA_INFO_DATA => data = Some(controller::parse(nla.value())),
                IFLA_INFO_XSTATS => history = controller::parse_history(nla.value()),
                _ => {}
            }
        }
        let controller = data.filter(|_| kind.as_deref() == Some("can"));
        Self { kind, controller: controller.map(|controller| Controller { history, ..controller }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_of_two_ends_differ_and_avoid_the_kernels_range() {
        for name in ["ch0123456789", "chabcdefabcd", "cha"] {
            let name = name.parse().unwrap();
            let first = PairIndices::for_name(&name, 0);
            assert!(first.host >= 0x1000_0000 && first.host.is_multiple_of(2) && first.end == first.host + 1);
            assert!(first.end < i32::MAX as u32, "the kernel keeps an index in an int");
            assert_ne!(first, PairIndices::for_name(&name, 1));
        }
    }

    #[test]
    fn the_mtu_is_only_changed_while_the_link_is_down() {
        let change = LinkChange { mtu: Some(72), up: Some(true), ..LinkChange::default() };
        assert_eq!(set(7, &change).len(), 3, "down, MTU, up");
        let alias = LinkChange { alias: Some("a".into()), ..LinkChange::default() };
        assert_eq!(set(7, &alias).len(), 1);
    }

    #[test]
    fn a_truncated_message_is_not_a_link() {
        assert_eq!(parse(RTM_NEWLINK, &[]), None);
        assert_eq!(parse(RTM_NEWLINK, &[0; 16]), None);
        assert_eq!(parse(17, &[0; 64]), None);
    }

    proptest::proptest! {
        #[test]
        fn random_bytes_never_panic(payload in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            parse(RTM_NEWLINK, &payload);
        }

        // Almost valid lengths and kinds reach further than random bytes.
        #[test]
        fn random_attributes_never_panic(
            attributes in proptest::collection::vec((0..40_u16, 0..24_u16, proptest::num::u8::ANY), 0..12),
        ) {
            let mut payload = vec![0; IFINFOMSG_LEN];
            for (length, kind, fill) in attributes {
                payload.extend(length.to_ne_bytes());
                payload.extend(kind.to_ne_bytes());
                payload.extend(std::iter::repeat_n(fill, usize::from(length.saturating_sub(4).next_multiple_of(4))));
            }
            parse(RTM_NEWLINK, &payload);
        }
    }
}
