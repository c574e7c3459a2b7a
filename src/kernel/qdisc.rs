//! Queueing disciplines of a link: the bucket that paces a container end ([`Pace`]), what happens to frames on their way
//! through an end ([`Netem`]), and how full a queue is.
//!
//! Encoded by hand, as for can-gw: netlink-packet-route supports only half of the few attributes needed.
//!
//! With both, the bucket is the root and netem is its child: so setting up or ending either of them leaves the other's
//! parameters alone, a change of the pace keeps what waits, and the kernel counts each frame's length once, at the root.
//! netem puts the second of two equal frames into the root again, so a duplicate is paced like any frame.

mod netem;
mod pace;

use rtnetlink::packet_core::{
    DefaultNla, Emitable, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NetlinkSerializable, NlasIterator,
    parse_string, parse_u32,
};

pub use self::{netem::Netem, pace::Pace};
use super::{Link, LinkKind, Result, socket::RouteSocket};

const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
const TCMSG_LEN: usize = 20;

const TC_H_ROOT: u32 = 0xffff_ffff;
/// The parent of what looks at incoming frames, which is no queue.
const TC_H_INGRESS: u32 = 0xffff_fff1;
/// The handle of canhub's buckets, `ca0:` in `tc`. The kernel assigns its own handles from `8000:` on.
const BUCKET: u32 = 0x0ca0_0000;
/// The handle of canhub's netem, `ca1:`. A qdisc cannot be replaced by one of another kind with the same handle.
const EMULATOR: u32 = 0x0ca1_0000;
/// The only class of a bucket.
const IN_BUCKET: u32 = BUCKET | 1;

const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_STATS2: u16 = 7;
const TCA_STAB: u16 = 8;
const TCA_STATS_QUEUE: u16 = 3;

/// The index of `lo` in every namespace.
const LOOPBACK: u32 = 1;

const TBF: &str = "tbf";
const NETEM: &str = "netem";

/// The queueing disciplines of a link, unless it has only the kernel's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qdisc {
    /// Of the root: `tbf`, `netem`, …
    pub kind: String,
    /// The pace, if all qdiscs of the link are canhub's and unmodified.
    pub pace: Option<Pace>,
    /// What happens to the frames, on the same condition.
    pub netem: Option<Netem>,
    /// Whether the root is canhub's, even if somebody modified it.
    pub ours: bool,
    /// Frames that wait.
    pub queued: u32,
    /// Frames that were dropped, also on purpose; wraps at 2³².
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

fn nested(kind: u16, inner: &[DefaultNla]) -> DefaultNla {
    let mut value = vec![0; inner.buffer_len()];
    inner.emit(&mut value);
    DefaultNla::new(kind, value)
}

/// A request about the qdiscs of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// Set this pace at the root, replacing any other qdisc. What is in canhub's bucket stays there.
    Pace(u32, Pace),
    /// Set this at the root, replacing any other qdisc, or in canhub's bucket.
    Netem(u32, Netem, Above),
    /// Restore the default.
    Remove(u32),
    /// Remove netem from canhub's bucket, which then holds nothing until its pace is set again.
    Empty(u32),
    /// Set up netem without options: what has it, refuses it so (`EINVAL`), and nothing changes.
    ProbeNetem,
    /// Read that of one link. With `NLM_F_ECHO` the response goes to the requester.
    Get(u32),
    /// Read those of all links of the namespace.
    List,
}

/// What a qdisc is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Above {
    /// The link.
    Root,
    /// canhub's bucket.
    Bucket,
}

impl Request {
    /// `NLM_F_*`.
    pub(super) fn flags(self) -> u16 {
        match self {
            Self::Pace(..) | Self::Netem(..) => NLM_F_CREATE | NLM_F_REPLACE,
            // Whatever the root is, a new one is created.
            Self::ProbeNetem => NLM_F_CREATE | NLM_F_REPLACE | NLM_F_EXCL,
            Self::Remove(_) | Self::Empty(_) | Self::Get(_) | Self::List => 0,
        }
    }

    /// Whether it needs the module of its qdisc.
    pub(super) fn creates(self) -> bool {
        matches!(self, Self::Pace(..) | Self::Netem(..))
    }

    fn attributes(&self) -> Vec<DefaultNla> {
        let kind = |kind: &str| DefaultNla::new(TCA_KIND, [kind.as_bytes(), &[0]].concat());
        match self {
            Self::Pace(_, pace) => vec![kind(TBF), pace.options(), pace.size_table()],
            Self::Netem(_, netem, _) => vec![kind(NETEM), netem.options()],
            Self::ProbeNetem => vec![kind(NETEM)],
            Self::Remove(_) | Self::Empty(_) | Self::Get(_) | Self::List => Vec::new(),
        }
    }
}

impl NetlinkSerializable for Request {
    fn message_type(&self) -> u16 {
        match self {
            Self::Pace(..) | Self::Netem(..) | Self::ProbeNetem => RTM_NEWQDISC,
            Self::Remove(_) | Self::Empty(_) => RTM_DELQDISC,
            Self::Get(_) | Self::List => RTM_GETQDISC,
        }
    }

    fn buffer_len(&self) -> usize {
        TCMSG_LEN + self.attributes().as_slice().buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let (index, handle, parent) = match *self {
            Self::Pace(index, _) => (index, BUCKET, TC_H_ROOT),
            Self::Netem(index, _, Above::Root) => (index, EMULATOR, TC_H_ROOT),
            Self::Netem(index, _, Above::Bucket) | Self::Empty(index) => (index, EMULATOR, IN_BUCKET),
            Self::Remove(index) | Self::Get(index) => (index, 0, TC_H_ROOT),
            Self::ProbeNetem => (LOOPBACK, 0, TC_H_ROOT),
            Self::List => (0, 0, 0),
        };
        for (at, word) in [0, index, handle, parent, 0].into_iter().enumerate() {
            buffer[at * 4..at * 4 + 4].copy_from_slice(&u32::to_ne_bytes(word));
        }
        self.attributes().as_slice().emit(&mut buffer[TCMSG_LEN..]);
    }
}

/// The requests that give a link this pace and this netem, if it has these qdiscs. What is canhub's and unmodified is
/// changed in place, so that what waits there is kept.
pub(super) fn requests(
    index: u32,
    found: Option<&Qdisc>,
    pace: Option<Pace>,
    netem: Option<Netem>,
) -> Vec<Request> {
    let (old_pace, old_netem) = found.map_or((None, None), |qdisc| (qdisc.pace, qdisc.netem));
    let is_odd = found.is_some() && old_pace.is_none() && old_netem.is_none();
    let mut requests = Vec::new();
    match (pace, netem) {
        (None, None) if found.is_some_and(|qdisc| qdisc.ours) => requests.push(Request::Remove(index)),
        (None, None) => {}
        // The kernel would take a foreign qdisc with canhub's handle for the one to change.
        _ if is_odd => requests.push(Request::Remove(index)),
        // A qdisc cannot move from the bucket to the root.
        (None, Some(_)) if old_pace.is_some() => requests.push(Request::Remove(index)),
        (Some(_), None) if old_pace.is_some() && old_netem.is_some() => requests.push(Request::Empty(index)),
        _ => {}
    }
    // An emptied bucket gets its queue back when its pace is set.
    if let Some(pace) = pace.filter(|pace| old_pace != Some(*pace) || !requests.is_empty()) {
        requests.push(Request::Pace(index, pace));
    }
    let above = if pace.is_some() { Above::Bucket } else { Above::Root };
    if let Some(netem) =
        netem.filter(|netem| old_netem != Some(*netem) || old_pace.is_some() != pace.is_some())
    {
        requests.push(Request::Netem(index, netem, above));
    }
    requests
}

/// A qdisc as the kernel reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// The index of its link.
    pub(super) link: u32,
    parent: u32,
    handle: u32,
    kind: String,
    part: Part,
    /// Frames that wait in it.
    pub(super) queued: u32,
    drops: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Pace(Pace),
    Netem(Netem),
    /// Not canhub's, or modified.
    Other,
}

/// Parses a message about a qdisc. `None` for anything else.
pub(super) fn parse(message_type: u16, payload: &[u8]) -> Option<Node> {
    let word = |at: usize| parse_u32(payload.get(at..at + 4)?).ok();
    let (link, handle, parent) = (word(4)?, word(8)?, word(12)?);
    if message_type != RTM_NEWQDISC || parent == TC_H_INGRESS {
        return None;
    }
    let (mut kind, mut options, mut table) = (None, &[][..], &[][..]);
    let mut queue = (0, 0);
    let rest = payload.get(TCMSG_LEN..)?;
    let mut nlas: Vec<_> = NlasIterator::new(rest).filter_map(std::result::Result::ok).collect();
    for nla in &mut nlas {
        match nla.kind() {
            TCA_KIND => kind = parse_string(nla.value()).ok(),
            TCA_OPTIONS => options = nla.value(),
            TCA_STAB => table = nla.value(),
            TCA_STATS2 => queue = attribute(nla.value(), TCA_STATS_QUEUE, parse_queue).unwrap_or_default(),
            _ => {}
        }
    }
    let kind = kind?;
    let part = match kind.as_str() {
        TBF if handle == BUCKET => Pace::parse(options, table).map(Part::Pace),
        NETEM if handle == EMULATOR => Netem::parse(options).map(Part::Netem),
        _ => None,
    };
    let (part, (queued, drops)) = (part.unwrap_or(Part::Other), queue);
    Some(Node { link, parent, handle, kind, part, queued, drops })
}

/// The qdiscs of one link.
fn assemble(nodes: &[&Node]) -> Option<Qdisc> {
    // The kernel's default has no handle.
    let root = nodes.iter().find(|node| node.parent == TC_H_ROOT && node.handle != 0)?;
    let (pace, netem) = match nodes {
        [Node { part: Part::Pace(pace), .. }] => (Some(*pace), None),
        [Node { part: Part::Netem(netem), .. }] => (None, Some(*netem)),
        [one, other] => {
            let child = if one.parent == TC_H_ROOT { other } else { one };
            match (root.part, child.part) {
                (Part::Pace(pace), Part::Netem(netem)) if child.parent == IN_BUCKET => {
                    (Some(pace), Some(netem))
                }
                _ => (None, None),
            }
        }
        _ => (None, None),
    };
    let ours = [(TBF, BUCKET), (NETEM, EMULATOR)].contains(&(root.kind.as_str(), root.handle));
    Some(Qdisc { kind: root.kind.clone(), pace, netem, ours, queued: root.queued, drops: root.drops })
}

fn attribute<T>(nest: &[u8], kind: u16, parse: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    let mut inner = NlasIterator::new(nest).filter_map(std::result::Result::ok);
    parse(inner.find(|nla| nla.kind() == kind)?.value())
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
        (!default).then(|| Self::foreign(kind))
    }

    /// Whether the root is canhub's bucket, but somebody modified it or what is in it.
    pub fn is_modified_pace(&self) -> bool {
        self.ours && self.kind == TBF && self.pace.is_none()
    }

    /// Whether the root is canhub's netem, but somebody modified it.
    pub fn is_modified_netem(&self) -> bool {
        self.ours && self.kind == NETEM && self.netem.is_none()
    }

    /// One that is not canhub's.
    pub(super) fn foreign(kind: &str) -> Self {
        Self { kind: kind.to_owned(), pace: None, netem: None, ours: false, queued: 0, drops: 0 }
    }
}

/// Adds the qdisc details that the list of links lacks.
///
/// This costs a second dump only if there is one that may be canhub's: most links have their default.
pub(super) fn complete(socket: &mut RouteSocket, mut links: Vec<Link>) -> Result<Vec<Link>> {
    let may_be_ours = |link: &Link| {
        let kind = link.qdisc.as_ref().map(|qdisc| qdisc.kind.as_str());
        link.kind == LinkKind::Vxcan && matches!(kind, Some(TBF | NETEM))
    };
    if links.iter().any(may_be_ours) {
        let nodes = socket.dump(Request::List, parse)?;
        for link in links.iter_mut().filter(|link| may_be_ours(link)) {
            link.qdisc = of_link(&nodes, link.index).or_else(|| link.qdisc.take());
        }
    }
    Ok(links)
}

/// The qdiscs of this link.
pub(super) fn of_link(nodes: &[Node], index: u32) -> Option<Qdisc> {
    assemble(&nodes.iter().filter(|node| node.link == index).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::{pace::TICK_SHIFT, *};

    const TCA_TBF_PARMS: u16 = 1;
    const TCA_STAB_BASE: u16 = 1;
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
            [0, 7, BUCKET, TC_H_ROOT, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
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
                let node = parse(RTM_NEWQDISC, &told(pace, |_, _| {})).unwrap();
                let qdisc = of_link(&[node], 7).unwrap();
                assert_eq!((qdisc.pace, qdisc.ours, qdisc.queued, qdisc.drops), (Some(pace), true, 5, 3));
            }
        }
    }

    #[test]
    fn a_modified_qdisc_is_not_a_pace_of_canhub() {
        let no_limit = told(PACE, |bucket, _| bucket[24] ^= 1);
        let other_table = told(PACE, |_, sizes| sizes[0] = 1);
        let mut other_handle = told(PACE, |_, _| {});
        other_handle[11] = 0x80;
        for (message, ours) in [(no_limit, true), (other_table, true), (other_handle, false)] {
            let qdisc = of_link(&[parse(RTM_NEWQDISC, &message).unwrap()], 7).unwrap();
            assert_eq!((qdisc.kind.as_str(), qdisc.pace, qdisc.ours), ("tbf", None, ours));
        }
        let mut of_a_class = told(PACE, |_, _| {});
        of_a_class[12..16].copy_from_slice(&BUCKET.to_ne_bytes());
        assert_eq!(of_link(&[parse(RTM_NEWQDISC, &of_a_class).unwrap()], 7), None);
    }

    // The bytes that `tc qdisc replace dev … root handle ca0: stab … tbf …` sends, except for the content of the table.
    #[test]
    #[cfg(target_endian = "little")]
    fn a_pace_is_encoded_like_tc_does() {
        let message = bytes(Request::Pace(7, PACE));
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

    const NETEM: Netem = Netem {
        delay: std::time::Duration::from_millis(5),
        jitter: std::time::Duration::ZERO,
        limit: 16_384,
        loss: 1 << 31,
        duplicate: 0,
        corrupt: 0,
    };

    fn canhubs(pace: Option<Pace>, netem: Option<Netem>) -> Option<Qdisc> {
        let kind = if pace.is_some() { "tbf" } else { "netem" };
        (pace.is_some() || netem.is_some()).then(|| Qdisc { pace, netem, ours: true, ..Qdisc::foreign(kind) })
    }

    #[test]
    fn only_what_differs_is_changed_and_nothing_moves_between_root_and_bucket() {
        let (slow, lossy) = (Pace { rate: 8_000, ..PACE }, Netem { loss: 1, ..NETEM });
        let (root, inner) = (Above::Root, Above::Bucket);
        let (pace, netem) = (|pace| Request::Pace(7, pace), |netem, above| Request::Netem(7, netem, above));
        let (remove, empty) = (Request::Remove(7), Request::Empty(7));
        for (found, wanted, expected) in [
            ((None, None), (None, None), vec![]),
            ((None, None), (Some(PACE), None), vec![pace(PACE)]),
            ((None, None), (None, Some(NETEM)), vec![netem(NETEM, root)]),
            ((None, None), (Some(PACE), Some(NETEM)), vec![pace(PACE), netem(NETEM, inner)]),
            ((Some(PACE), None), (Some(PACE), None), vec![]),
            ((Some(PACE), None), (Some(slow), None), vec![pace(slow)]),
            ((Some(PACE), None), (Some(PACE), Some(NETEM)), vec![netem(NETEM, inner)]),
            ((Some(PACE), None), (None, Some(NETEM)), vec![remove, netem(NETEM, root)]),
            ((Some(PACE), None), (None, None), vec![remove]),
            ((None, Some(NETEM)), (None, Some(lossy)), vec![netem(lossy, root)]),
            ((None, Some(NETEM)), (Some(PACE), Some(NETEM)), vec![pace(PACE), netem(NETEM, inner)]),
            ((None, Some(NETEM)), (Some(PACE), None), vec![pace(PACE)]),
            ((Some(PACE), Some(NETEM)), (Some(slow), Some(NETEM)), vec![pace(slow)]),
            ((Some(PACE), Some(NETEM)), (Some(PACE), Some(lossy)), vec![netem(lossy, inner)]),
            ((Some(PACE), Some(NETEM)), (None, Some(NETEM)), vec![remove, netem(NETEM, root)]),
            ((Some(PACE), Some(NETEM)), (Some(PACE), None), vec![empty, pace(PACE)]),
            ((Some(PACE), Some(NETEM)), (None, None), vec![remove]),
        ] {
            let qdisc = canhubs(found.0, found.1);
            assert_eq!(requests(7, qdisc.as_ref(), wanted.0, wanted.1), expected, "{found:?} {wanted:?}");
        }
        let foreign = Qdisc::foreign("prio");
        assert_eq!(requests(7, Some(&foreign), None, None), []);
        assert_eq!(requests(7, Some(&foreign), Some(PACE), None), [remove, pace(PACE)]);
        let modified = Qdisc { ours: true, ..Qdisc::foreign("tbf") };
        assert_eq!(requests(7, Some(&modified), None, None), [remove]);
        assert_eq!(requests(7, Some(&modified), None, Some(NETEM)), [remove, netem(NETEM, root)]);
    }

    #[test]
    fn a_bucket_with_anything_but_canhubs_netem_in_it_is_modified() {
        let bucket = parse(RTM_NEWQDISC, &told(PACE, |_, _| {})).unwrap();
        let node =
            |parent, handle, part| Node { parent, handle, part, kind: "netem".into(), ..bucket.clone() };
        let inner = node(IN_BUCKET, EMULATOR, Part::Netem(NETEM));
        let of = |nodes: &[Node]| of_link(nodes, 7).map(|qdisc| (qdisc.pace, qdisc.netem));
        let is_modified = |nodes: &[Node]| of_link(nodes, 7).unwrap().is_modified_pace();
        assert_eq!(of(&[inner.clone(), bucket.clone()]), Some((Some(PACE), Some(NETEM))));
        assert!(is_modified(&[bucket.clone(), node(IN_BUCKET, 0x8001_0000, Part::Other)]));
        assert!(is_modified(&[bucket.clone(), inner.clone(), node(EMULATOR | 1, 0x8001_0000, Part::Other)]));
        let root = node(TC_H_ROOT, EMULATOR, Part::Netem(NETEM));
        assert_eq!(of(&[root.clone(), Node { link: 8, ..inner.clone() }]), Some((None, Some(NETEM))));
        assert_eq!(of_link(&[node(TC_H_ROOT, 0, Part::Other)], 7), None, "the kernel's default");
        let in_it = node(EMULATOR | 1, 0x8001_0000, Part::Other);
        assert!(of_link(&[root, in_it], 7).unwrap().is_modified_netem());
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
