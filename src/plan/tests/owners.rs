//! Which links are canhub's, and whose: by alias, else by name and index. The user's own are never among them.

use super::*;
use crate::kernel::{Link, OWN_INDEX_BASE, fake::new_link};

fn link(index: u32, name: &str, kind: LinkKind, alias: Option<String>) -> Link {
    Link { alias, counters: None, ..new_link(index, name, kind, 72, "") }
}

fn have(links: Vec<Link>) -> Have {
    Have { links, ..Have::default() }
}

/// An even index of canhub's, as host ends have.
const EVEN: u32 = OWN_INDEX_BASE + 2;
const ODD: u32 = OWN_INDEX_BASE + 3;
/// An index as the kernel assigns them.
const LOW: u32 = 7;

#[test]
fn a_host_end_is_found_by_its_alias_under_any_name_and_without_it_by_its_name() {
    let bus = network(1, &[]);
    let member = endpoint(16, &bus);
    let (name, alias) = (member.id.host_end(), Some(bus.pair_alias(&member)));
    for (index, name, alias) in [
        (EVEN, "renamed", &alias),
        (LOW, "renamed", &alias),
        (LOW + 1, "renamed", &alias),
        (EVEN, name.as_str(), &alias),
        (EVEN, name.as_str(), &None),
    ] {
        let have = have(vec![link(index, name, LinkKind::Vxcan, alias.clone())]);
        assert_eq!(have.host_end(&member.id).map(|end| end.index), Some(index), "{name} {alias:?}");
    }
}

#[test]
fn a_link_that_is_not_a_host_end_is_not_taken_for_one() {
    let bus = network(1, &[]);
    let (member, other) = (endpoint(16, &bus), endpoint(17, &bus));
    let (name, beside) = (member.id.host_end(), member.id.container_end());
    let alias = |member: &Endpoint| Some(bus.pair_alias(member));
    for (index, name, kind, alias, why) in [
        (LOW, name.as_str(), LinkKind::Vxcan, None, "somebody else's pair with our name"),
        (LOW + 1, name.as_str(), LinkKind::Vxcan, Some("uplink".into()), "the same with an alias of its own"),
        (EVEN, name.as_str(), LinkKind::Vcan, alias(&member), "a vcan"),
        (LOW, name.as_str(), LinkKind::Other, alias(&member), "not a CAN interface"),
        (EVEN, beside.as_str(), LinkKind::Vxcan, alias(&member), "the container end, before Docker moves it"),
        (ODD, "renamed", LinkKind::Vxcan, alias(&member), "the container end, which has the same alias"),
        (ODD, name.as_str(), LinkKind::Vxcan, None, "the container end, whatever its name"),
        (EVEN, name.as_str(), LinkKind::Vxcan, alias(&other), "another member's host end with this name"),
    ] {
        let have = have(vec![link(index, name, kind, alias)]);
        assert_eq!(have.host_end(&member.id), None, "{why}");
    }
}

#[test]
fn a_hub_is_found_by_its_alias_under_any_name_and_without_it_by_its_name() {
    let (bus, other) = (network(1, &[]), network(2, &[]));
    let name = bus.id.hub_name();
    let found = |link: Link| have(vec![link]).own_hub(&bus.id, name.as_str()).map(|link| link.index);
    let alias = Some(bus.hub_alias());
    assert_eq!(found(link(EVEN, "renamed", LinkKind::Vcan, alias.clone())), Some(EVEN));
    assert_eq!(found(link(LOW, "renamed", LinkKind::Vcan, alias.clone())), Some(LOW));
    assert_eq!(found(link(EVEN, name.as_str(), LinkKind::Vcan, None)), Some(EVEN), "by its index");
    assert_eq!(found(link(LOW, name.as_str(), LinkKind::Vcan, None)), None, "somebody else's vcan");
    assert_eq!(found(link(EVEN, name.as_str(), LinkKind::Vxcan, alias)), None, "a pair is no hub");
    assert_eq!(found(link(EVEN, name.as_str(), LinkKind::Vcan, Some(other.hub_alias()))), None);
    let member = endpoint(16, &bus);
    assert_eq!(found(link(EVEN, "renamed", LinkKind::Vcan, Some(bus.pair_alias(&member)))), None);
}

#[test]
fn the_other_end_of_a_pair_is_the_one_that_also_names_this_end() {
    let host = Link { peer: Some(9), ..link(EVEN, "host", LinkKind::Vxcan, None) };
    let inside = |index, kind, peer| Link { peer, ..link(index, "can0", kind, None) };
    let other = |link| other_end(&host, &[link]).is_some();
    assert!(other(inside(9, LinkKind::Vxcan, Some(EVEN))));
    // Indices are unique in one namespace only: in a container they may equal those of the host by chance.
    assert!(!other(inside(9, LinkKind::Vxcan, Some(5))), "it leads elsewhere");
    assert!(!other(inside(8, LinkKind::Vxcan, Some(EVEN))), "the host end leads elsewhere");
    assert!(!other(inside(9, LinkKind::Other, Some(EVEN))), "a veth with such indices");
}
