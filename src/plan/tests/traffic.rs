//! The definition of a bus: each frame reaches everyone exactly once, whatever else exists on the host.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::kernel::{
    CAN_MTU, CANFD_MTU, Filter, Link, RuleFlags,
    fake::{Deliveries, Frame},
};

/// Asserts that everyone receives each frame of each member, of the host and of the adapter exactly once, and that it
/// leaves through the adapter once. For error frames of members only without an adapter.
///
/// Everyone: also other listeners next to the sender, which the kernel takes care of.
pub fn assert_each_frame_reaches_everybody_once(kernel: &FakeKernel, bus: &Bus, have: &Have) {
    let hub = have.named(&bus.hub.to_string());
    let mut ends: BTreeSet<u32> =
        bus.members.iter().filter_map(|member| Some(have.host_end(&member.endpoint)?.index)).collect();
    ends.extend(hub.map(|hub| hub.index));
    let wire = hub.filter(|hub| hub.kind == LinkKind::Can);
    let span = bus.span_end().and_then(|end| Some(have.named(end.as_str())?.index));
    // FD frames do not fit through a classic interface.
    let narrow = |end: u32| hub.filter(|hub| hub.index == end).map_or(bus.mtu(), |hub| hub.mtu) < CANFD_MTU;
    for &source in &ends {
        let classic = kernel.deliveries(source, Frame::CLASSIC);
        assert_eq!(classic, once(&ends, wire), "a classic frame from {source}");
        let carried = |end: &u32| !narrow(source) && !narrow(*end) && (bus.fd() || *end == source);
        let hearing = ends.iter().copied().filter(carried).collect();
        assert_eq!(kernel.deliveries(source, Frame::FD), once(&hearing, wire), "an FD frame from {source}");
        // They stay on this host.
        let hears = |end: u32| wire.is_none() && span != Some(source) && span != Some(end);
        let hearing = ends.iter().copied().filter(|end| hears(*end) || *end == source).collect();
        if wire.is_none_or(|wire| wire.index != source) {
            let error = kernel.deliveries(source, Frame::ERROR);
            assert_eq!(error, once(&hearing, None), "an error frame from {source}");
        }
    }
    if let Some(wire) = wire {
        for frame in [Frame::CLASSIC, Frame::ERROR] {
            let deliveries = kernel.deliveries_from_wire(wire.index, frame);
            let is_error = frame == Frame::ERROR;
            let hearing = ends.iter().copied().filter(|end| !is_error || span != Some(*end)).collect();
            assert_eq!(deliveries, once(&hearing, None), "{frame:?} from the adapter");
        }
    }
}

/// Once to the sockets at each of these ends, and once to the bus of the adapter if it is one of them.
fn once(ends: &BTreeSet<u32>, wire: Option<&Link>) -> Deliveries {
    let wire = wire.map(|wire| wire.index).filter(|wire| ends.contains(wire));
    Deliveries {
        heard: ends.iter().map(|end| (*end, 1)).collect(),
        wires: wire.into_iter().map(|wire| (wire, 1)).collect(),
    }
}

/// A foreign rule between two ends of ours, for frames that no test sends.
pub fn somebody_elses(source: u32, destination: u32) -> Rule {
    let filter = Filter { id: 0x7e0, mask: 0x7ff };
    Rule { source, destination, flags: RuleFlags::IIF_TX_OK, filter, max_hops: Some(1) }
}

/// A host with one bus of three members, with a hub according to these options.
fn bus(options: &[(&str, &str)]) -> (FakeKernel, Model) {
    let (kernel, mut model) = (FakeKernel::new(), Model::default());
    let network = network(1, options);
    for number in 16..19 {
        kernel.add_sandbox(sandbox(number));
        model.put_endpoint(endpoint(number, &network));
    }
    model.put_network(network);
    (kernel, model)
}

#[test]
fn each_frame_reaches_everyone_once_with_any_hub_and_any_max_hops() {
    for max_hops in 1..=6 {
        for frames in ["classic", "fd", "xl"] {
            for (hub, found) in [
                (("hub", "vcan7"), None),
                (("adapter", "vcan0"), Some(("vcan0", LinkKind::Vcan))),
                (("adapter", "can0"), Some(("can0", LinkKind::Can))),
                (("vxcan.dev", "vcan3"), Some(("vcan3", LinkKind::Vcan))),
            ] {
                let (kernel, model) = bus(&[hub, ("frames", frames)]);
                kernel.set_max_hops(max_hops);
                let found = found.map(|(name, kind)| kernel.add_foreign(name, kind));
                heals(&kernel, &model);
                // An adapter for classic frames only.
                if let Some(index) = found {
                    let narrow = LinkChange { mtu: Some(CAN_MTU), up: Some(true), ..LinkChange::default() };
                    kernel.change_link(None, index, &narrow).unwrap();
                    assert_eq!(heals(&kernel, &model), [""; 0]);
                }
            }
        }
    }
}

#[test]
fn members_with_equal_interface_indices_reach_each_other() {
    for adapter in [None, Some("can0")] {
        let (kernel, model) = bus(&adapter.map(|name| ("adapter", name)).into_iter().collect::<Vec<_>>());
        adapter.map(|name| kernel.add_foreign(name, LinkKind::Can));
        heals(&kernel, &model);
        let links = kernel.links().unwrap();
        for link in links.iter().filter(|link| link.kind.is_can()) {
            let inside = kernel.sandbox_links(&sandbox(16)).unwrap().unwrap().remove(0);
            kernel.renumber(&sandbox(16), inside.index, link.index);
            assert_eq!(heals(&kernel, &model), [""; 0], "its index does not matter");
        }
    }
}

#[test]
fn foreign_rules_that_modify_frames_are_left_alone() {
    let (kernel, model) = bus(&[]);
    heals(&kernel, &model);
    let ours: Vec<Rule> = kernel.rules().unwrap().iter().map(|status| status.rule).collect();
    // One that equals ours except that it modifies frames, and one that only the owner wants.
    let theirs = [ours[0], somebody_elses(ours[0].source, ours[0].destination)];
    theirs.iter().for_each(|rule| kernel.add_modifying_rule(*rule));
    assert_eq!(plan_all(&kernel, &model).steps, [], "foreign rules are not duplicates of ours");

    kernel.delete_rules(&ours).unwrap();
    assert_eq!(heal(&kernel, &model).len(), 1);
    let mut standing: BTreeMap<(bool, Rule), usize> = BTreeMap::new();
    for status in kernel.rules().unwrap() {
        *standing.entry((status.modifies, status.rule)).or_default() += 1;
    }
    let wanted = ours.iter().map(|rule| ((false, *rule), 1)).chain(theirs.map(|rule| ((true, rule), 1)));
    assert_eq!(standing, wanted.collect(), "all of ours are back, and theirs still exist");
}
