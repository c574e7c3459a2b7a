//! Queueing disciplines: the token bucket (`sch_tbf`) that paces a container end, and how full a queue is.
//!
//! Encoded by hand, as for can-gw: netlink-packet-route supports only half of the few attributes needed.
//!
//! The kernel takes the size of a frame's `skb` for its length, 16 bytes for any classic frame and 72 for any FD frame,
//! which is not its length on a CAN bus. A size table (`TCA_STAB`) replaces these sizes, so one bucket handles both
//! kinds. The kernel does not report the table, only its `struct tc_sizespec`, whose fields `mpu` and `mtu` it stores
//! but never uses (`__qdisc_calculate_pkt_len` in `net/sched/sch_api.c`): canhub stores the two sizes there, to read
//! them back.

use rtnetlink::packet_core::{
    DefaultNla, Emitable, NetlinkSerializable, NlasIterator, parse_string, parse_u32,
};

use super::{CAN_MTU, CANFD_MTU, Link, Result, socket::RouteSocket};

const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
const TCMSG_LEN: usize = 20;

const TC_H_ROOT: u32 = 0xffff_ffff;
/// The handle of canhub's qdiscs, `ca0:` in `tc`. The kernel assigns its own handles from `8000:` on.
const HANDLE: u32 = 0x0ca0_0000;

const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_STATS2: u16 = 7;
const TCA_STAB: u16 = 8;
const TCA_STAB_BASE: u16 = 1;
const TCA_STAB_DATA: u16 = 2;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_BURST: u16 = 6;
const TCA_STATS_QUEUE: u16 = 3;

const TBF: &str = "tbf";
/// `TC_LINKLAYER_ETHERNET`: sizes in bytes, so no rate table is needed.
const LINKLAYER_ETHERNET: u8 = 1;
/// A tick of `psched`, the unit of a bucket's size, is 2⁶ ns.
const TICK_SHIFT: u32 = 6;
const BITS: u32 = 8;

/// The limit of a bucket's queue in classic frames. A socket blocks its writer after about 290
/// (`net.core.wmem_default`), so only frames without a socket, forwarded by a container's own can-gw rules, can ever
/// fill it.
const QUEUE_FRAMES: u32 = 16 * 1024;

/// How fast an end may send, and the frame sizes that the bucket assumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// In bit/s, a multiple of eight.
    pub rate: u32,
    /// The size of a classic frame, in bytes.
    pub classic: u16,
    /// The size of an FD frame, in bytes.
    pub fd: u16,
    /// The burst size in bytes: what may be sent at once after a pause. A larger frame is never sent.
    pub burst: u32,
}

/// The root queueing discipline of a link, unless it is one of the kernel's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qdisc {
    /// `tbf`, `netem`, …
    pub kind: String,
    /// The pace, if it is an unmodified qdisc of canhub.
    pub pace: Option<Pace>,
    /// Frames that wait in it.
    pub queued: u32,
    /// Frames that it dropped; wraps at 2³².
    pub drops: u64,
}

/// The counters of an adapter and of the ends that send through it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gauge {
    /// Frames that wait in the adapter's queue.
    pub queued: u32,
    /// Frames that the adapter has sent.
    pub sent: u64,
    /// Frames received from each of the requested ends; `None` for one that no longer exists.
    pub from: Vec<Option<u64>>,
}

impl Pace {
    fn limit(self) -> u32 {
        QUEUE_FRAMES * u32::from(self.classic)
    }

    /// The size of each `skb` up to an FD frame. Sizes in between do not occur.
    fn sizes(self) -> Vec<u8> {
        let size = |length: u32| if length <= CAN_MTU { self.classic } else { self.fd };
        (0..=CANFD_MTU).flat_map(|length| size(length).to_ne_bytes()).collect()
    }

    fn options(self) -> DefaultNla {
        // struct tc_ratespec: cell_log, linklayer, overhead, cell_align, mpu, rate in bytes per second.
        let rate =
            [&[0, LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0][..], &(self.rate / BITS).to_ne_bytes()].concat();
        // struct tc_tbf_qopt: rate, peak rate, limit, buffer, mtu. The bucket size in bytes is a separate attribute.
        let parameters = [&rate[..], &[0; 12], &self.limit().to_ne_bytes(), &[0; 8]].concat();
        let burst = DefaultNla::new(TCA_TBF_BURST, self.burst.to_ne_bytes().to_vec());
        nested(TCA_OPTIONS, &[DefaultNla::new(TCA_TBF_PARMS, parameters), burst])
    }

    fn size_table(self) -> DefaultNla {
        // struct tc_sizespec: cell_log, size_log, cell_align, overhead, linklayer, mpu, mtu, tsize.
        let words = [0, 0, 0, u32::from(self.classic), u32::from(self.fd), CANFD_MTU + 1];
        let base = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let base = DefaultNla::new(TCA_STAB_BASE, base);
        nested(TCA_STAB, &[base, DefaultNla::new(TCA_STAB_DATA, self.sizes())])
    }
}

fn nested(kind: u16, inner: &[DefaultNla]) -> DefaultNla {
    let mut value = vec![0; inner.buffer_len()];
    inner.emit(&mut value);
    DefaultNla::new(kind, value)
}

/// A request about the root qdisc of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// Set this pace, replacing any other qdisc.
    Set(u32, Pace),
    /// Restore the default, if the qdisc is canhub's.
    Remove(u32),
    /// Read that of one link. With `NLM_F_ECHO` the response goes to the requester.
    Get(u32),
    /// Read those of all links of the namespace.
    List,
}

impl Request {
    fn attributes(&self) -> Vec<DefaultNla> {
        match self {
            Self::Set(_, pace) => {
                let kind = DefaultNla::new(TCA_KIND, [TBF.as_bytes(), &[0]].concat());
                vec![kind, pace.options(), pace.size_table()]
            }
            Self::Remove(_) | Self::Get(_) | Self::List => Vec::new(),
        }
    }
}

impl NetlinkSerializable for Request {
    fn message_type(&self) -> u16 {
        match self {
            Self::Set(..) => RTM_NEWQDISC,
            Self::Remove(_) => RTM_DELQDISC,
            Self::Get(_) | Self::List => RTM_GETQDISC,
        }
    }

    fn buffer_len(&self) -> usize {
        TCMSG_LEN + self.attributes().as_slice().buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let (index, handle, parent) = match *self {
            Self::Set(index, _) | Self::Remove(index) => (index, HANDLE, TC_H_ROOT),
            Self::Get(index) => (index, 0, TC_H_ROOT),
            Self::List => (0, 0, 0),
        };
        for (at, word) in [0, index, handle, parent, 0].into_iter().enumerate() {
            buffer[at * 4..at * 4 + 4].copy_from_slice(&u32::to_ne_bytes(word));
        }
        self.attributes().as_slice().emit(&mut buffer[TCMSG_LEN..]);
    }
}

/// Parses a message about a root qdisc: its link, and the qdisc. `None` for anything else.
pub(super) fn parse(message_type: u16, payload: &[u8]) -> Option<(u32, Qdisc)> {
    let word = |at: usize| parse_u32(payload.get(at..at + 4)?).ok();
    let (index, handle, parent) = (word(4)?, word(8)?, word(12)?);
    if message_type != RTM_NEWQDISC || parent != TC_H_ROOT {
        return None;
    }
    let (mut kind, mut bucket, mut sizes) = (None, None, None);
    let mut queue = (0, 0);
    for nla in NlasIterator::new(payload.get(TCMSG_LEN..)?).filter_map(std::result::Result::ok) {
        match nla.kind() {
            TCA_KIND => kind = parse_string(nla.value()).ok(),
            TCA_OPTIONS => bucket = attribute(nla.value(), TCA_TBF_PARMS, parse_bucket),
            TCA_STAB => sizes = attribute(nla.value(), TCA_STAB_BASE, parse_sizes),
            TCA_STATS2 => queue = attribute(nla.value(), TCA_STATS_QUEUE, parse_queue).unwrap_or_default(),
            _ => {}
        }
    }
    let kind = kind?;
    let pace = bucket.zip(sizes).filter(|_| kind == TBF && handle == HANDLE);
    let pace = pace.and_then(|((rate, limit, burst), (classic, fd))| {
        let pace = Pace { rate, classic, fd, burst };
        (pace.limit() == limit).then_some(pace)
    });
    Some((index, Qdisc { kind, pace, queued: queue.0, drops: queue.1 }))
}

fn attribute<T>(nest: &[u8], kind: u16, parse: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    let mut inner = NlasIterator::new(nest).filter_map(std::result::Result::ok);
    parse(inner.find(|nla| nla.kind() == kind)?.value())
}

/// Rate in bit/s, limit and bucket size in bytes.
fn parse_bucket(parameters: &[u8]) -> Option<(u32, u32, u32)> {
    let word = |at: usize| parse_u32(parameters.get(at..at + 4)?).ok();
    let (rate, limit, ticks) = (word(8)?, word(24)?, word(28)?);
    // The kernel stores the size as a duration.
    let burst = ((u64::from(ticks) << TICK_SHIFT) as f64 * f64::from(rate) / 1e9).round();
    Some((rate.checked_mul(BITS)?, limit, burst as u32))
}

/// The sizes of a classic and of an FD frame, if everything else is as canhub sets it.
fn parse_sizes(base: &[u8]) -> Option<(u16, u16)> {
    let word = |at: usize| parse_u32(base.get(at..at + 4)?).ok();
    let plain = [word(0)?, word(4)?, word(8)?, word(20)?] == [0, 0, 0, CANFD_MTU + 1];
    let size = |at: usize| u16::try_from(word(at)?).ok();
    Some((size(12)?, size(16)?)).filter(|_| plain)
}

/// Frames in the queue, and dropped frames.
fn parse_queue(stats: &[u8]) -> Option<(u32, u64)> {
    let word = |at: usize| parse_u32(stats.get(at..at + 4)?).ok();
    Some((word(0)?, u64::from(word(8)?)))
}

impl Qdisc {
    /// One of which only the kind is known; `None` for the kernel's defaults.
    pub(super) fn of_kind(kind: &str) -> Option<Self> {
        let default = matches!(kind, "noqueue" | "noop" | "pfifo_fast" | "");
        (!default).then(|| Self { kind: kind.to_owned(), pace: None, queued: 0, drops: 0 })
    }
}

/// Adds the qdisc details that the list of links lacks.
///
/// This costs a second dump only if there is a bucket: links without a pace have their default.
pub(super) fn complete(socket: &mut RouteSocket, mut links: Vec<Link>) -> Result<Vec<Link>> {
    let is_bucket = |link: &Link| link.qdisc.as_ref().is_some_and(|qdisc| qdisc.kind == TBF);
    if links.iter().any(is_bucket) {
        for (index, qdisc) in socket.dump(Request::List, parse)? {
            let link = links.iter_mut().find(|link| link.index == index && is_bucket(link));
            link.into_iter().for_each(|link| link.qdisc = Some(qdisc.clone()));
        }
    }
    Ok(links)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { rate: 500_000, classic: 17, fd: 31, burst: 72 };

    fn bytes(request: Request) -> Vec<u8> {
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        bytes
    }

    /// As the kernel reports a qdisc after it was set: without the size table, and with the bucket as a duration.
    fn told(pace: Pace, change: impl Fn(&mut Vec<u8>, &mut Vec<u8>)) -> Vec<u8> {
        let ticks = (u64::from(pace.burst) * 1_000_000_000 / u64::from(pace.rate / 8)) >> TICK_SHIFT;
        let rate = [&[0, 1, 0, 0, 0, 0, 0, 0][..], &(pace.rate / 8).to_ne_bytes()].concat();
        let mut bucket =
            [&rate[..], &[0; 12], &pace.limit().to_ne_bytes(), &(ticks as u32).to_ne_bytes(), &[0; 4]]
                .concat();
        let words = [0, 0, 0, u32::from(pace.classic), u32::from(pace.fd), 73];
        let mut sizes: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_ne_bytes()).collect();
        change(&mut bucket, &mut sizes);
        let queue = [5_u32, 85, 3, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let attributes = [
            DefaultNla::new(TCA_KIND, b"tbf\0".to_vec()),
            nested(TCA_OPTIONS, &[DefaultNla::new(TCA_TBF_PARMS, bucket)]),
            nested(TCA_STATS2, &[DefaultNla::new(TCA_STATS_QUEUE, queue)]),
            nested(TCA_STAB, &[DefaultNla::new(TCA_STAB_BASE, sizes)]),
        ];
        let mut message: Vec<u8> =
            [0, 7, HANDLE, TC_H_ROOT, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut rest = vec![0; attributes.as_slice().buffer_len()];
        attributes.as_slice().emit(&mut rest);
        message.extend(rest);
        message
    }

    #[test]
    fn a_pace_is_read_back_as_it_was_set() {
        for rate in [10_000, 83_328, 125_000, 500_000, 1_000_000, 25_000_000] {
            for burst in [72, 89, 2581] {
                let pace = Pace { rate, burst, ..PACE };
                let (index, qdisc) = parse(RTM_NEWQDISC, &told(pace, |_, _| {})).unwrap();
                assert_eq!((index, qdisc.pace, qdisc.queued, qdisc.drops), (7, Some(pace), 5, 3));
            }
        }
    }

    #[test]
    fn a_modified_qdisc_is_not_a_pace_of_canhub() {
        let no_limit = told(PACE, |bucket, _| bucket[24] ^= 1);
        let other_table = told(PACE, |_, sizes| sizes[0] = 1);
        let mut other_handle = told(PACE, |_, _| {});
        other_handle[11] = 0x80;
        for message in [no_limit, other_table, other_handle] {
            let (_, qdisc) = parse(RTM_NEWQDISC, &message).unwrap();
            assert_eq!((qdisc.kind.as_str(), qdisc.pace), ("tbf", None));
        }
        let mut of_a_class = told(PACE, |_, _| {});
        of_a_class[12..16].copy_from_slice(&HANDLE.to_ne_bytes());
        assert_eq!(parse(RTM_NEWQDISC, &of_a_class), None);
    }

    // The bytes that `tc qdisc replace dev … root handle ca0: stab … tbf …` sends, except for the content of the table.
    #[test]
    #[cfg(target_endian = "little")]
    fn a_pace_is_encoded_like_tc_does() {
        let message = bytes(Request::Set(7, PACE));
        assert_eq!(message[..20], [0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0xa0, 0x0c, 255, 255, 255, 255, 0, 0, 0, 0]);
        assert_eq!(message[20..28], [8, 0, 1, 0, b't', b'b', b'f', 0]);
        let options = &message[28..];
        assert_eq!(options[..8], [52, 0, 2, 0, 40, 0, 1, 0]);
        assert_eq!(options[8..20], [0, 1, 0, 0, 0, 0, 0, 0, 0x24, 0xf4, 0, 0], "62,500 bytes per second");
        assert_eq!(options[32..36], (17_u32 * 16_384).to_le_bytes());
        assert_eq!(options[44..52], [8, 0, 6, 0, 72, 0, 0, 0]);
        let table = &options[52..];
        assert_eq!(table[..8], [184, 0, 8, 0, 28, 0, 1, 0]);
        assert_eq!(table[8..32], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 31, 0, 0, 0, 73, 0, 0, 0]);
        assert_eq!(table[32..36], [150, 0, 2, 0]);
        let size = |length: usize| table[36 + 2 * length];
        assert_eq!((size(16), size(72)), (17, 31));
        assert_eq!(bytes(Request::Get(7)).len(), 20);
    }

    proptest::proptest! {
        #[test]
        fn random_bytes_never_panic(payload in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            parse(RTM_NEWQDISC, &payload);
            let root = [&[0; 12][..], &TC_H_ROOT.to_ne_bytes(), &[0; 4], &payload].concat();
            parse(RTM_NEWQDISC, &root);
        }

        // Almost valid lengths and kinds reach further than random bytes.
        #[test]
        fn random_attributes_never_panic(
            attributes in proptest::collection::vec((0..80_u16, 0..10_u16, proptest::num::u8::ANY), 0..12),
        ) {
            let mut payload = [&[0; 12][..], &TC_H_ROOT.to_ne_bytes(), &[0; 4]].concat();
            for (length, kind, fill) in attributes {
                payload.extend(length.to_ne_bytes());
                payload.extend(kind.to_ne_bytes());
                payload.extend(std::iter::repeat_n(fill, usize::from(length.saturating_sub(4).next_multiple_of(4))));
            }
            parse(RTM_NEWQDISC, &payload);
        }
    }
}
