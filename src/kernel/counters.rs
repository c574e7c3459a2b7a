//! The counters of links: `RTM_GETSTATS`.
//!
//! A dump of the links is requested without statistics, which on recent kernels leaves out all of them; and a Join, which
//! dumps links too, needs none.

use rtnetlink::packet_core::{NetlinkSerializable, NlasIterator};

use super::{Link, LinkCounters, Result, socket::RouteSocket};

const RTM_NEWSTATS: u16 = 92;
const RTM_GETSTATS: u16 = 94;
/// `struct if_stats_msg`: family and padding, index, filter.
const IF_STATS_MSG_LEN: usize = 12;
const IFLA_STATS_LINK_64: u16 = 1;
const IFLA_STATS64: u16 = 23;
/// `IFLA_STATS_FILTER_BIT(IFLA_STATS_LINK_64)`.
const FILTER: u32 = 1;

/// Requests the counters of links.
#[derive(Debug, Clone, Copy)]
pub(super) enum Request {
    /// Those of one link.
    Get(u32),
    /// Those of all links of the namespace.
    List,
}

impl NetlinkSerializable for Request {
    fn message_type(&self) -> u16 {
        RTM_GETSTATS
    }

    fn buffer_len(&self) -> usize {
        IF_STATS_MSG_LEN
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let index = match *self {
            Self::Get(index) => index,
            Self::List => 0,
        };
        for (at, word) in [0, index, FILTER].into_iter().enumerate() {
            buffer[at * 4..at * 4 + 4].copy_from_slice(&u32::to_ne_bytes(word));
        }
    }
}

/// The counters of all links of the socket's namespace, by index.
pub(super) fn all(socket: &mut RouteSocket) -> Result<Vec<(u32, LinkCounters)>> {
    socket.dump(Request::List, parse)
}

/// Fills in the counters of links that were just read through the same socket. Without counters a link is still a link.
pub(super) fn complete(socket: &mut RouteSocket, links: &mut [Link]) {
    let counters = all(socket).unwrap_or_default();
    for link in links {
        link.counters =
            counters.iter().find(|(index, _)| *index == link.index).map(|(_, counters)| *counters);
    }
}

/// The counters of a link, by its index, from a response to [`Request`].
pub(super) fn parse(message_type: u16, payload: &[u8]) -> Option<(u32, LinkCounters)> {
    if message_type != RTM_NEWSTATS {
        return None;
    }
    let index = payload.get(4..8)?.try_into().ok().map(u32::from_ne_bytes)?;
    let mut attributes = NlasIterator::new(payload.get(IF_STATS_MSG_LEN..)?).filter_map(|nla| nla.ok());
    let stats = attributes.find(|nla| nla.kind() == IFLA_STATS_LINK_64)?;
    Some((index, counters(stats.value())))
}

/// The counters among the attributes of a link event.
pub(super) fn of_link(attributes: &[u8]) -> Option<LinkCounters> {
    let mut attributes = NlasIterator::new(attributes).filter_map(|nla| nla.ok());
    Some(counters(attributes.find(|nla| nla.kind() == IFLA_STATS64)?.value()))
}

/// `struct rtnl_link_stats64`; older kernels have fewer fields at its end.
fn counters(stats: &[u8]) -> LinkCounters {
    let field = |at: usize| {
        let bytes = stats.get(8 * at..8 * (at + 1)).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u64::from_ne_bytes).unwrap_or_default()
    };
    LinkCounters {
        rx_packets: field(0),
        tx_packets: field(1),
        rx_dropped: field(6),
        tx_dropped: field(7),
        // Drivers count an overrun as one or the other (`rx_over_errors`, `rx_fifo_errors`).
        rx_overruns: field(11).saturating_add(field(14)),
    }
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_core::{DefaultNla, Emitable};

    use super::*;

    #[test]
    fn the_counters_of_this_machine_are_read() {
        let mut socket = RouteSocket::open().unwrap();
        let before = all(&mut socket).unwrap();
        // The loopback interface, which every machine has and every connection to itself uses.
        let listener = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (0..3).for_each(|_| assert_eq!(listener.send_to(b"x", address).unwrap(), 1));
        let after = all(&mut socket).unwrap();
        let received =
            |all: &[(u32, LinkCounters)]| all.iter().find(|(index, _)| *index == 1).unwrap().1.rx_packets;
        assert!(received(&after) >= received(&before) + 3, "{before:?}, then {after:?}");
    }

    #[test]
    fn counters_of_a_link_are_read() {
        let mut stats: Vec<u8> = [40_u64, 2].iter().flat_map(|word| word.to_ne_bytes()).collect();
        stats.resize(200, 0);
        let mut message: Vec<u8> = [0_u32, 9, 1].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let nla = DefaultNla::new(IFLA_STATS_LINK_64, stats);
        let mut rest = vec![0; nla.buffer_len()];
        nla.emit(&mut rest);
        message.extend(rest);
        let (index, counters) = parse(RTM_NEWSTATS, &message).unwrap();
        assert_eq!((index, counters.rx_packets, counters.tx_packets), (9, 40, 2));
        assert_eq!(parse(RTM_NEWSTATS, &message[..30]), None);
    }

    #[test]
    fn a_cut_or_foreign_message_has_no_counters() {
        assert_eq!(parse(RTM_NEWSTATS, &[0; 8]), None);
        assert_eq!(parse(RTM_NEWSTATS, &[0; IF_STATS_MSG_LEN]), None);
        assert_eq!(parse(16, &[0; 64]), None);
        assert_eq!(counters(&[1; 12]).tx_packets, 0);
    }

    proptest::proptest! {
        #[test]
        fn random_bytes_are_never_a_panic(payload in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            parse(RTM_NEWSTATS, &payload);
        }
    }
}
