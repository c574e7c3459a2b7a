//! Containers that ended while dockerd was away with live-restore: dead members do not count as members.

use std::path::Path;

use super::*;
use crate::{
    manager::Depth,
    status::{BusStatus, MemberStatus},
};

fn sandbox(number: u8) -> String {
    format!("/run/netns/{number}")
}

/// The members in a status of this depth.
fn members(rig: &Rig, depth: Depth) -> Vec<EndpointId> {
    let members = |bus: BusStatus| bus.members.into_iter().map(|MemberStatus { endpoint, .. }| endpoint);
    rig.manager.survey(depth).unwrap().0.into_iter().flat_map(members).collect()
}

fn told(rig: &Rig, kind: Kind) -> usize {
    rig.told().iter().filter(|event| event.kind == kind).count()
}

/// The first of two containers has ended, in one of the ways in which dockerd leaves it.
fn after(ends: impl Fn(&FakeKernel)) -> Rig {
    let rig = Rig::new(&[]);
    assert_eq!(rig.look(), LookResult::default());
    ends(&rig.kernel);
    rig
}

fn remounts(kernel: &FakeKernel) {
    kernel.remount_sandbox(Path::new(&sandbox(1)));
}

fn unmounts(kernel: &FakeKernel) {
    kernel.end_sandbox(Path::new(&sandbox(1)));
}

/// Something else still holds the old namespace, so the pair still exists.
fn remounts_while_held(kernel: &FakeKernel) {
    let path = sandbox(1);
    let end = kernel.sandbox_links(Path::new(&path)).unwrap().unwrap().remove(0);
    kernel.add_sandbox("/held");
    kernel.move_link(end.index, Some(Path::new(&path)), Some(Path::new("/held")), "can0");
    kernel.remount_sandbox(Path::new(&path));
}

#[test]
fn a_dead_member_is_neither_healed_nor_shown_and_is_collected_within_seconds() {
    for (ends, what) in [
        (remounts as fn(&FakeKernel), "another namespace at the path"),
        (unmounts, "nothing at the path"),
        (remounts_while_held, "another namespace at the path while the pair stands"),
    ] {
        let rig = after(ends);
        // Even before the loop's next pass: every query checks for itself.
        assert_eq!(members(&rig, Depth::Everything), [endpoint(2)], "{what}");
        assert!(rig.manager.status().unwrap().buses[0].steps.is_empty(), "{what}");
        let look = rig.look();
        assert_eq!((look.healed, look.failed, look.pending), (0, 0, true), "{what}: {look:?}");
        for depth in [Depth::Frames, Depth::Everything] {
            assert_eq!(members(&rig, depth), [endpoint(2)], "{what}, {depth:?}");
        }
        rig.later(9);
        assert!(rig.look().pending, "{what}");
        assert_eq!(told(&rig, Kind::EndpointCollected), 0, "{what}");
        rig.later(1);
        rig.look();
        assert_eq!((told(&rig, Kind::EndpointCollected), told(&rig, Kind::Healed)), (1, 0), "{what}");
        assert_eq!(rig.host_end(1), None, "{what}");
        assert!(!rig.dir.path().join(format!("endpoints/{}.json", endpoint(1))).exists(), "{what}");
        assert_eq!(rig.look(), LookResult::default(), "{what}: the other one is whole");
    }
}

#[test]
fn a_restarted_canhub_recognizes_a_dead_member() {
    let rig = after(remounts);
    let rig = rig.restarted();
    assert_eq!(rig.look().healed, 0);
    assert_eq!(members(&rig, Depth::Frames), [endpoint(2)]);
}

#[test]
fn a_living_member_is_healed_in_its_own_namespace() {
    let rig = after(|_| ());
    for rig in [&rig, &rig.restarted()] {
        rig.kernel.delete_link(None, rig.host_end(1).unwrap()).unwrap();
        assert_eq!(rig.look().healed, 2, "its pair and the rules of that");
        assert_eq!(members(rig, Depth::Frames), [endpoint(1), endpoint(2)]);
    }
}

/// Its path was hidden for a moment, but the namespace still exists.
#[test]
fn a_member_with_a_pair_is_not_dead_while_its_path_is_missing() {
    let rig = after(|kernel| {
        let path = sandbox(1);
        let end = kernel.sandbox_links(Path::new(&path)).unwrap().unwrap().remove(0);
        kernel.add_sandbox("/held");
        kernel.move_link(end.index, Some(Path::new(&path)), Some(Path::new("/held")), "can0");
        kernel.end_sandbox(Path::new(&path));
    });
    rig.look();
    rig.later(60);
    rig.look();
    assert_eq!(members(&rig, Depth::Everything), [endpoint(1), endpoint(2)]);
    assert_eq!(told(&rig, Kind::EndpointCollected), 0);
}

/// An endpoint that joins again is alive, whatever was known before.
#[test]
fn an_endpoint_that_joins_again_is_a_member_again() {
    let rig = after(remounts);
    rig.look();
    rig.start(1);
    assert_eq!(members(&rig, Depth::Frames), [endpoint(1), endpoint(2)]);
    assert_eq!(rig.look().healed, 0);
    rig.kernel.delete_link(None, rig.host_end(1).unwrap()).unwrap();
    assert_eq!(rig.look().healed, 2);
}

/// The rules of the next member only lead to living ones.
#[test]
fn a_new_member_gets_no_rules_to_remnants_of_a_dead_one() {
    let rig = after(remounts_while_held);
    rig.look();
    let dead = rig.host_end(1).unwrap();
    rig.start(3);
    let joined = rig.host_end(3).unwrap();
    let leads = |status: &crate::kernel::RuleStatus| {
        [(dead, joined), (joined, dead)].contains(&(status.rule.source, status.rule.destination))
    };
    assert!(!rig.kernel.rules().unwrap().iter().any(leads));
}

/// Before Linux 5.14 the two namespaces cannot be told apart.
#[test]
fn without_cookies_the_namespace_at_the_path_is_assumed_to_be_the_containers() {
    let rig = Rig::new(&[]);
    rig.kernel.withhold_cookies();
    assert_eq!(rig.look(), LookResult::default());
    remounts(&rig.kernel);
    assert_eq!(rig.look().healed, 2);
    assert_eq!(members(&rig, Depth::Everything), [endpoint(1), endpoint(2)]);
}
