//! Plans links: pairs and leftovers.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    Action, Blocks, Bus, Have, Member, PairEnd, Plan, Reason, Sandbox, Scope, Step, Want,
    have::{alias, is_ours, other_end},
    pace::{self, BusWire},
    shape,
};
use crate::{
    kernel::{Link, LinkChange},
    names::{EndpointId, IfName},
    network::Hub,
};

/// The ends of a bus after the preceding steps, by their names at that point.
pub(super) type Ends = BTreeMap<IfName, End>;

/// An end of a bus: the hub's interface, or the host end of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It exists, with this index.
    Stands(u32),
    /// A step creates it.
    Planned,
}

impl End {
    pub(super) fn index(self) -> Option<u32> {
        match self {
            Self::Stands(index) => Some(index),
            Self::Planned => None,
        }
    }
}

/// Plans the pairs of one bus.
pub(super) fn plan_members(bus: &Bus, have: &Have, scope: Scope<'_>, wire: &BusWire<'_>) -> (Ends, Plan) {
    let (mut ends, mut all) = (Ends::new(), Plan::default());
    for member in bus.members.iter().filter(|member| !member.is_dead(have)) {
        let (end, plan) = match scope.covers(&member.endpoint) {
            true => plan_member(bus, member, have, scope, wire),
            false => (have.host_end(&member.endpoint).map(|link| End::Stands(link.index)), Plan::default()),
        };
        ends.extend(end.map(|end| (member.endpoint.host_end(), end)));
        all = all.and(plan);
    }
    (ends, all)
}

pub(super) fn taken(name: &IfName) -> String {
    format!(
        "interface {name} already exists and is not canhub's: choose another name for the hub, or use the interface with adapter={name}"
    )
}

/// Plans a pair. An unreadable sandbox is neither a reason to create or repair something nor to delete it.
fn plan_member(
    bus: &Bus,
    member: &Member,
    have: &Have,
    scope: Scope<'_>,
    wire: &BusWire<'_>,
) -> (Option<End>, Plan) {
    let sandbox = member.sandbox_in(have);
    let unread = match sandbox {
        Sandbox::Unknown(why) => {
            let text = format!(
                "could not read the interfaces in the sandbox {}: {why}; retrying; they are not healed until then",
                member.sandbox.display()
            );
            Plan::from(bus.problem(Some(&member.endpoint), Blocks::Nothing, text))
        }
        Sandbox::Present(_) | Sandbox::Missing => Plan::default(),
    };
    let Some(host) = have.host_end(&member.endpoint) else {
        let (end, plan) = match sandbox {
            Sandbox::Present(inside) => create_pair_inside(bus, member, &inside.links, have, wire),
            Sandbox::Missing if scope == Scope::Join(&member.endpoint) && !member.endpoint.is_attached() => {
                let action = pair(bus, member, member.endpoint.container_end(), None);
                let make = Plan::from(bus.step(Some(&member.endpoint), Reason::PairMissing, action));
                let name = member.endpoint.host_end();
                let shaped = shape::plan_new_end(bus, member, PairEnd::Host, &name, have);
                (Some(End::Planned), make.and(shaped))
            }
            // The container has ended, or Docker has not created its sandbox: there is no place for an end.
            Sandbox::Missing | Sandbox::Unknown(_) => (None, Plan::default()),
        };
        return (end, unread.and(plan));
    };
    let end = have.container_end(&member.endpoint, &member.sandbox);
    // Docker ≤ 27 moves the container end between Join and the start of the process.
    let waits_for_docker = other_end(host, &have.links).is_some();
    if let (Sandbox::Present(inside), None, false) = (sandbox, end, waits_for_docker) {
        let broken = Action::Delete { sandbox: None, index: host.index, name: host.name.clone() };
        let delete = bus.step(Some(&member.endpoint), Reason::ContainerEndMoved, broken);
        let (end, plan) = create_pair_inside(bus, member, &inside.links, have, wire);
        return (end, Plan::from(delete).and(plan));
    }
    let name = member.endpoint.host_end();
    let rename = (host.name != name.as_str() && have.named(name.as_str()).is_none()).then_some(&name);
    let wanted = LinkWant { rename, mtu: bus.mtu(), alias: &member.alias };
    let outside = repair(bus, Some(&member.endpoint), host, wanted);
    let inside = match (sandbox, end) {
        (Sandbox::Present(inside), Some(end)) => repair_end(bus, member, end, &inside.links),
        _ => None,
    };
    let shaped = shape::plan_end(bus, member, PairEnd::Host, host, have);
    let qdiscs = |end| {
        let paced = pace::plan_end(bus, member, wire, end, have);
        paced.and(shape::plan_end(bus, member, PairEnd::Container, end, have))
    };
    let qdiscs = end.map(qdiscs).unwrap_or_default().and(shaped);
    let steps: Vec<Step> = outside.into_iter().chain(inside).collect();
    (Some(End::Stands(host.index)), unread.and(steps.into()).and(qdiscs))
}

fn pair(bus: &Bus, member: &Member, end: IfName, sandbox: Option<PathBuf>) -> Action {
    let (host, alias) = (member.endpoint.host_end(), member.alias.clone());
    Action::CreatePair { host, end, sandbox, mtu: bus.mtu(), alias }
}

/// Plans a pair whose container end is created inside the sandbox, next to these links.
fn create_pair_inside(
    bus: &Bus,
    member: &Member,
    links: &[Link],
    have: &Have,
    wire: &BusWire<'_>,
) -> (Option<End>, Plan) {
    let (remnants, others): (Vec<&Link>, Vec<&Link>) =
        links.iter().partition(|link| is_remnant(link, member, have));
    let taken: Vec<String> = others.iter().map(|link| link.name.clone()).collect();
    let name = member.ifname.choose(&taken);
    let is_taken = taken.iter().any(|other| other == name.as_str());
    if is_taken && member.endpoint.is_span_port() {
        let text = format!(
            "interface {name} already exists and is not canhub's, so the bus does not reach other hosts: rename or delete it, `ip link del {name}`"
        );
        return (None, bus.problem(Some(&member.endpoint), Blocks::Nothing, text).into());
    }
    if is_taken {
        let what = format!("{} already has an interface {name}", member.endpoint.place());
        let text = match member.endpoint.is_attached() {
            true => format!("{what}: {}, or rename that one", crate::options::NAME_ANOTHER),
            false => format!(
                "{what}: set another interface name for one of them, with -o ifname=… on the network, or with the \
                 endpoint option {}",
                crate::options::DOCKER_IFNAME
            ),
        };
        return (None, bus.problem(Some(&member.endpoint), Blocks::Name, text).into());
    }
    let sandbox = Some(member.sandbox.clone());
    let remove = |link: &Link| {
        let action = Action::Delete { sandbox: sandbox.clone(), index: link.index, name: link.name.clone() };
        bus.step(Some(&member.endpoint), Reason::HostEndMoved, action)
    };
    let mut steps: Vec<Step> = remnants.into_iter().map(remove).collect();
    let paced = pace::plan_new_end(bus, member, wire, &name, have);
    let new = |end, name| shape::plan_new_end(bus, member, end, name, have);
    let shaped = new(PairEnd::Container, &name).and(new(PairEnd::Host, &member.endpoint.host_end()));
    let make = pair(bus, member, name, sandbox.clone());
    steps.push(bus.step(Some(&member.endpoint), Reason::PairMissing, make));
    (Some(End::Planned), Plan::from(steps).and(paced).and(shaped))
}

/// Whether a link is the remainder of the endpoint's previous pair, whose host end is not visible.
fn is_remnant(link: &Link, member: &Member, have: &Have) -> bool {
    is_ours(link)
        && match (owner(link), other_end(link, &have.links)) {
            (Some(owner), _) => owner == member.endpoint,
            // On the host, the other links without an alias belong to containers.
            (None, _) if member.endpoint.is_span_port() => member.ifname.accepts(&link.name),
            // Its alias was removed and it has no peer, so it serves no other bus either.
            (None, None) => true,
            (None, Some(host)) => owner(host).is_none() && member.ifname.accepts(&link.name),
        }
}

/// The endpoint that a link of canhub belongs to, by its alias.
pub fn owner(link: &Link) -> Option<EndpointId> {
    alias(link).and_then(|alias| alias.endpoint).map(|endpoint| endpoint.id)
}

/// The desired properties of a link of canhub.
pub(super) struct LinkWant<'a> {
    pub(super) rename: Option<&'a IfName>,
    pub(super) mtu: u32,
    pub(super) alias: &'a str,
}

/// The step that gives a host link its desired properties, if it differs.
pub(super) fn repair(
    bus: &Bus,
    endpoint: Option<&EndpointId>,
    link: &Link,
    wanted: LinkWant<'_>,
) -> Option<Step> {
    let change = LinkChange {
        name: wanted.rename.cloned(),
        mtu: (link.mtu != wanted.mtu).then_some(wanted.mtu),
        alias: (link.alias.as_deref() != Some(wanted.alias)).then(|| wanted.alias.to_owned()),
        up: None,
    };
    change_step(bus, endpoint, None, link, change)
}

fn repair_end(bus: &Bus, member: &Member, end: &Link, inside: &[Link]) -> Option<Step> {
    // Docker ≤ 27 looks up the end by this name between moving and renaming it; if it is renamed too early, the
    // container does not start ("failed to get link by name"). Docker also brings the end up then, so being down is not
    // a fault.
    let is_dockers = end.name == member.endpoint.container_end().as_str() && !member.endpoint.is_span_port();
    if is_dockers || (member.awaited && !end.up) {
        return None;
    }
    let others: Vec<String> =
        inside.iter().filter(|link| link.index != end.index).map(|link| link.name.clone()).collect();
    let name = member.ifname.choose(&others);
    let free = !others.iter().any(|other| other == name.as_str());
    let change = LinkChange {
        name: (!member.ifname.accepts(&end.name) && free).then_some(name),
        mtu: (end.mtu != bus.mtu()).then_some(bus.mtu()),
        alias: (end.alias.as_deref() != Some(&member.alias)).then(|| member.alias.clone()),
        up: None,
    };
    change_step(bus, Some(&member.endpoint), Some(member), end, change)
}

fn change_step(
    bus: &Bus,
    endpoint: Option<&EndpointId>,
    inside: Option<&Member>,
    link: &Link,
    mut change: LinkChange,
) -> Option<Step> {
    let up = !inside.is_some_and(|member| member.imposed.down);
    let reason = match &change {
        LinkChange { name: Some(_), .. } => Reason::LinkName,
        LinkChange { mtu: Some(_), .. } => Reason::LinkMtu,
        _ if link.up && !up => Reason::FaultUndone,
        _ if !link.up && up => Reason::LinkDown,
        LinkChange { alias: Some(_), .. } => Reason::LinkAlias,
        _ => return None,
    };
    // A new name or MTU takes the link down temporarily, so every change also brings it up.
    change.up = Some(up);
    let sandbox = inside.map(|member| member.sandbox.clone());
    let action = Action::Change { sandbox, index: link.index, name: link.name.clone(), change };
    Some(bus.step(endpoint, reason, action))
}

/// Plans the deletion of canhub links that belong to no known network or endpoint.
pub(super) fn plan_leftovers(want: &Want, have: &Have) -> Vec<Step> {
    let bus_of = |link: &Link| {
        alias(link).and_then(|alias| want.buses.iter().find(|bus| bus.network == alias.network))
    };
    let mut kept: Vec<u32> = Vec::new();
    for bus in &want.buses {
        if let Hub::Owned(name) | Hub::Shared(name) = &bus.hub {
            kept.extend(have.own_hub(&bus.network, name.as_str()).map(|link| link.index));
        }
    }
    let members = want.buses.iter().flat_map(|bus| &bus.members).map(|member| &member.endpoint);
    for endpoint in members.chain(&want.tolerated) {
        if let Some(host) = have.host_end(endpoint) {
            kept.push(host.index);
            kept.extend(other_end(host, &have.links).map(|end| end.index));
        }
    }
    // Deleting one end deletes the other; the second deletion then finds nothing, which is not an error.
    let leftovers = have.links.iter().filter(|link| is_ours(link) && !kept.contains(&link.index));
    let delete = |link: &Link| Step {
        network: bus_of(link).map(|bus| bus.network.clone()),
        endpoint: None,
        reason: Reason::Leftover,
        action: Action::Delete { sandbox: None, index: link.index, name: link.name.clone() },
    };
    leftovers.map(delete).collect()
}
