//! The path of a frame through the kernel in memory, following `net/can/af_can.c`, `net/can/gw.c` and the drivers
//! `vcan.c` and `vxcan.c`.

use std::collections::{BTreeMap, VecDeque};

use nix::{errno::Errno, libc::CAN_ERR_FLAG as ERROR};

use super::world::{Port, World};
use crate::kernel::{CANFD_MTU, LinkKind, Rule, RuleFlags};

/// An endless loop of rules is cut off after this many receptions; by then everyone has received the frame far too
/// often.
const ENOUGH: usize = 10_000;

/// One CAN frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Its ID with the flags `CAN_EFF_FLAG`, `CAN_RTR_FLAG` and `CAN_ERR_FLAG`.
    pub id: u32,
    /// Whether it is a CAN FD frame.
    pub fd: bool,
}

impl Frame {
    /// A data frame of CAN 2.0.
    pub const CLASSIC: Self = Self { id: 0x123, fd: false };
    /// A CAN FD frame.
    pub const FD: Self = Self { id: 0x123, fd: true };
    /// What a controller reports about its bus: `CAN_ERR_FLAG | CAN_ERR_BUSOFF`.
    pub const ERROR: Self = Self { id: ERROR | 0x40, fd: false };
}

/// Who receives a frame, and how often.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deliveries {
    /// Sockets, by the host link that leads to them: those at the other end of a pair, or those on a hub. Where the
    /// frame was sent, these are the sockets besides the sender's.
    pub heard: BTreeMap<u32, usize>,
    /// Physical buses, by the index of the adapter.
    pub wires: BTreeMap<u32, usize>,
}

/// The effects of one frame.
#[derive(Debug, Default)]
pub(super) struct Journey {
    pub(super) deliveries: Deliveries,
    /// By rule index.
    pub(super) handled: BTreeMap<usize, u32>,
    pub(super) dropped: BTreeMap<usize, u32>,
    backlog: VecDeque<(Port, Packet)>,
}

/// A frame between two interfaces: `struct sk_buff`.
#[derive(Debug, Clone, Copy)]
struct Packet {
    frame: Frame,
    /// The index of the interface on which it was first sent or received, in that interface's namespace
    /// (`can_skb_prv(skb)->ifindex`). A pair does not rewrite it.
    first: u32,
    /// Number of rules it has passed since it last crossed a pair.
    hops: u8,
}

impl World {
    /// A socket at the far side of a host link sends a frame: in the container or, for a hub, on the host.
    pub(super) fn written_beyond(&self, link: u32, frame: Frame) -> Journey {
        let mut journey = Journey::default();
        let at = self.far_side(link);
        // The sender sees the errno; nobody receives anything.
        let _ = self.transmit(&at, Packet { frame, first: at.1, hops: 0 }, true, &mut journey);
        self.settle(journey)
    }

    /// An adapter receives a frame from its bus.
    pub(super) fn received_from_wire(&self, adapter: u32, frame: Frame) -> Journey {
        let mut journey = Journey::default();
        let at = (None, adapter);
        if self.is_up(&at) {
            journey.backlog.push_back((at, Packet { frame, first: adapter, hops: 0 }));
        }
        self.settle(journey)
    }

    /// Where the sockets of a host link are.
    fn far_side(&self, link: u32) -> Port {
        let near = (None, link);
        self.pairs.get(&near).cloned().unwrap_or(near)
    }

    fn is_up(&self, port: &Port) -> bool {
        self.links.get(port).is_some_and(|link| link.up)
    }

    fn settle(&self, mut journey: Journey) -> Journey {
        for _ in 0..ENOUGH {
            let Some((at, packet)) = journey.backlog.pop_front() else { break };
            self.receive(&at, packet, &mut journey);
        }
        journey
    }

    /// `can_rcv`: all sockets on the interface, then all rules that start there.
    fn receive(&self, at: &Port, packet: Packet, journey: &mut Journey) {
        match self.pairs.get(at) {
            None => *journey.deliveries.heard.entry(at.1).or_default() += 1,
            // Sockets on the host end of a pair do not matter; those on the other end are counted under it.
            Some((None, host)) if self.is_far_end(at) => {
                *journey.deliveries.heard.entry(*host).or_default() += 1;
            }
            Some(_) => {}
        }
        if at.0.is_none() {
            for (position, standing) in self.rules.iter().enumerate() {
                if standing.rule.source == at.1 && standing.rule.filter.passes(packet.frame.id) {
                    self.forward(position, &standing.rule, packet, journey);
                }
            }
        }
    }

    /// Whether an end of a pair is the one that goes into a container, even if it has not been moved yet.
    fn is_far_end(&self, at: &Port) -> bool {
        at.0.is_some() || !at.1.is_multiple_of(2)
    }

    /// `can_can_gw_rcv`.
    fn forward(&self, position: usize, rule: &Rule, packet: Packet, journey: &mut Journey) {
        if rule.flags.contains(RuleFlags::FD) != packet.frame.fd || packet.hops >= self.max_hops {
            return;
        }
        let destination = (None, rule.destination);
        if !self.is_up(&destination) {
            *journey.dropped.entry(position).or_default() += 1;
            return;
        }
        if !rule.flags.contains(RuleFlags::IIF_TX_OK) && packet.first == rule.destination {
            return;
        }
        let hops = match rule.max_hops {
            Some(limit) if packet.hops == 0 => self.max_hops - limit + 1,
            _ => packet.hops + 1,
        };
        let echo = rule.flags.contains(RuleFlags::ECHO);
        let counter = match self.transmit(&destination, Packet { hops, ..packet }, echo, journey) {
            Ok(()) => &mut journey.handled,
            Err(_) => &mut journey.dropped,
        };
        *counter.entry(position).or_default() += 1;
    }

    /// `can_send` and the driver's `ndo_start_xmit`. With `echo`, the receivers on the same interface get it too.
    fn transmit(&self, at: &Port, packet: Packet, echo: bool, journey: &mut Journey) -> Result<(), Errno> {
        let link = self.links.get(at).ok_or(Errno::ENODEV)?;
        if packet.frame.fd && link.mtu < CANFD_MTU {
            return Err(Errno::EMSGSIZE);
        }
        if !link.up {
            return Err(Errno::ENETDOWN);
        }
        match link.kind {
            // It has no bus behind it: listeners receive the echo, or nothing.
            LinkKind::Vcan => {}
            // `vxcan_xmit`. If the other end is down, the frame is lost without an error.
            LinkKind::Vxcan => {
                let other = self.pairs.get(at).filter(|other| self.is_up(other));
                journey.backlog.extend(other.map(|other| (other.clone(), Packet { hops: 0, ..packet })));
            }
            LinkKind::Can => *journey.deliveries.wires.entry(at.1).or_default() += 1,
            LinkKind::Other => return Err(Errno::EPERM),
        }
        if echo {
            journey.backlog.push_back((at.clone(), packet));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::kernel::{CAN_MTU, Filter, Kernel, LinkChange, PairSpec, fake::FakeKernel};

    const ECHO: RuleFlags = RuleFlags::ECHO;
    const IIF: RuleFlags = RuleFlags::IIF_TX_OK;
    const NONE: RuleFlags = RuleFlags::empty();

    /// Three containers in a mesh with a vcan, with these rule flags and this hop limit.
    struct Mesh {
        kernel: FakeKernel,
        hub: u32,
        ends: Vec<u32>,
    }

    impl Mesh {
        fn new(max_hops: u8, limit: Option<u8>, to_hub: RuleFlags, to_ends: RuleFlags) -> Self {
            let kernel = FakeKernel::new();
            kernel.set_max_hops(max_hops);
            let hub = kernel.add_foreign("vcan0", LinkKind::Vcan);
            let (end, alias) = ("can0".parse().unwrap(), "");
            let ends: Vec<u32> = ["ch1", "ch2", "ch3"]
                .iter()
                .map(|name| {
                    kernel.add_sandbox(name);
                    let (host, sandbox) = (name.parse().unwrap(), Some(Path::new(name)));
                    let pair = PairSpec { host: &host, end: &end, sandbox, mtu: CANFD_MTU, alias };
                    kernel.create_pair(&pair).unwrap().host
                })
                .collect();
            let mesh = Self { kernel, hub, ends };
            let all = || mesh.ends.iter().copied().chain([hub]);
            for (source, destination) in all().flat_map(|source| all().map(move |end| (source, end))) {
                if source != destination {
                    let flags = if destination == hub { to_hub } else { to_ends };
                    let filter = Filter::default();
                    let rule = Rule { source, destination, flags, filter, max_hops: limit };
                    mesh.kernel.add_rules(&[rule]).unwrap();
                }
            }
            mesh
        }

        /// How often each container, and then the hub, receives a frame of the first container.
        fn hear_first(&self, frame: Frame) -> Vec<usize> {
            let heard = self.kernel.deliveries(self.ends[0], frame).heard;
            self.ends.iter().chain([&self.hub]).map(|end| heard.get(end).copied().unwrap_or(0)).collect()
        }
    }

    // Measured on Linux 6.1 with sockets at each place.
    #[test]
    fn frames_are_delivered_as_often_as_on_a_real_kernel() {
        for (what, mesh, heard) in [
            ("echo to the hub only", Mesh::new(1, None, ECHO, NONE), [1, 1, 1, 1]),
            ("no echo", Mesh::new(1, None, NONE, NONE), [1, 1, 1, 0]),
            ("all echo", Mesh::new(1, None, ECHO, ECHO), [1, 1, 1, 1]),
            ("two hops", Mesh::new(2, None, ECHO, NONE), [2, 2, 2, 1]),
            ("two hops and all echo", Mesh::new(2, None, ECHO, ECHO), [4, 3, 3, 3]),
            ("two hops, limited to one", Mesh::new(2, Some(1), ECHO, NONE), [1, 1, 1, 1]),
        ] {
            assert_eq!(mesh.hear_first(Frame::CLASSIC), heard, "{what}");
            assert_eq!(
                mesh.hear_first(Frame::FD),
                [1, 0, 0, 0],
                "{what}: these rules are for classic frames"
            );
            assert_eq!(mesh.hear_first(Frame::ERROR), [1, 0, 0, 0], "{what}: and for no error frames");
        }
    }

    #[test]
    fn equal_indices_cut_off_a_container_without_iif_tx_ok() {
        for (flags, heard) in [(NONE, [1, 0, 1, 1]), (IIF, [1, 1, 1, 1])] {
            let mesh = Mesh::new(1, Some(1), ECHO | flags, flags);
            let inside = mesh.kernel.sandbox_links(Path::new("ch1")).unwrap().unwrap().remove(0);
            mesh.kernel.renumber(Path::new("ch1"), inside.index, mesh.ends[1]);
            assert_eq!(mesh.hear_first(Frame::CLASSIC), heard, "{flags:?}");
        }
    }

    #[test]
    fn a_link_that_is_down_or_has_a_small_mtu_drops_frames_and_rules_count_them() {
        let mesh = Mesh::new(1, Some(1), ECHO | RuleFlags::FD, RuleFlags::FD);
        let change = |change| mesh.kernel.change_link(None, mesh.ends[1], &change).unwrap();
        let counted = || {
            let rules = mesh.kernel.rules().unwrap();
            let rule = |status: &&crate::kernel::RuleStatus| {
                (status.rule.source, status.rule.destination) == (mesh.ends[0], mesh.ends[1])
            };
            let status = rules.iter().find(rule).unwrap();
            (status.handled, status.dropped)
        };
        mesh.kernel.send(mesh.ends[0], Frame::FD, 5);
        assert_eq!((mesh.hear_first(Frame::FD), counted()), (vec![1, 1, 1, 1], (5, 0)));
        change(LinkChange { mtu: Some(CAN_MTU), up: Some(true), ..LinkChange::default() });
        mesh.kernel.send(mesh.ends[0], Frame::FD, 2);
        assert_eq!((mesh.hear_first(Frame::FD), counted()), (vec![1, 0, 1, 1], (5, 2)));
        change(LinkChange { mtu: Some(CANFD_MTU), ..LinkChange::default() });
        mesh.kernel.send(mesh.ends[0], Frame::FD, 1);
        assert_eq!(
            (mesh.hear_first(Frame::FD), counted()),
            (vec![1, 0, 1, 1], (5, 3)),
            "an MTU takes it down"
        );
        // In the other direction there is no error.
        change(LinkChange { up: Some(true), ..LinkChange::default() });
        let inside = mesh.kernel.sandbox_links(Path::new("ch2")).unwrap().unwrap().remove(0).index;
        let down = LinkChange { up: Some(false), ..LinkChange::default() };
        mesh.kernel.change_link(Some(Path::new("ch2")), inside, &down).unwrap();
        mesh.kernel.send(mesh.ends[0], Frame::FD, 1);
        assert_eq!((mesh.hear_first(Frame::FD), counted()), (vec![1, 0, 1, 1], (6, 3)));
    }

    #[test]
    fn duplicate_rules_deliver_twice_and_endless_loops_are_cut_off() {
        let mesh = Mesh::new(1, Some(1), ECHO, NONE);
        let again = mesh.kernel.rules().unwrap()[0].rule;
        mesh.kernel.add_rules(&[again]).unwrap();
        assert_eq!(mesh.hear_first(Frame::CLASSIC), [1, 2, 1, 1]);

        // A pair between two places on one host resets the hop count: rules at both ends never stop.
        let (host, end) = ("w0".parse().unwrap(), "w1".parse().unwrap());
        let pair = PairSpec { host: &host, end: &end, sandbox: None, mtu: CANFD_MTU, alias: "" };
        let near = mesh.kernel.create_pair(&pair).unwrap().host;
        let far = mesh.kernel.links().unwrap().into_iter().find(|link| link.name == "w1").unwrap().index;
        let up = LinkChange { up: Some(true), ..LinkChange::default() };
        mesh.kernel.change_link(None, far, &up).unwrap();
        let rule = |source, destination| Rule { source, destination, flags: IIF, ..again };
        mesh.kernel.add_rules(&[rule(mesh.hub, near), rule(far, near)]).unwrap();
        assert!(mesh.kernel.deliveries(mesh.hub, Frame::CLASSIC).heard[&near] > 1000);
    }

    #[test]
    fn filters_are_those_of_af_can() {
        for (filter, id, expected) in [
            (Filter::default(), 0x123, true),
            (Filter::default(), 0x4000_0123, true),
            (Filter::default(), Frame::ERROR.id, false),
            (Filter::ERRORS, Frame::ERROR.id, true),
            (Filter::ERRORS, 0x123, false),
            (Filter { id: ERROR, mask: ERROR | 0x04 }, Frame::ERROR.id, false),
            (Filter { id: 0x123, mask: 0x7ff }, 0x123, true),
            (Filter { id: 0x123, mask: 0x7ff }, 0x124, false),
            (Filter { id: ERROR | 0x123, mask: 0x7ff }, 0x123, false),
            (Filter { id: ERROR | 0x123, mask: 0x7ff }, 0x124, true),
        ] {
            assert_eq!(filter.passes(id), expected, "{filter:?} and {id:#x}");
        }
    }
}
