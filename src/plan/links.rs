//! Planning links: the pairs, and what nobody wants any more.

use std::collections::BTreeMap;

use super::{
    Action, Blocks, Bus, Have, Member, Plan, Scope, Step, Want,
    have::{alias, is_ours, other_end},
};
use crate::{
    kernel::{Link, LinkChange},
    names::{EndpointId, IfName},
    network::Hub,
};

/// The ends of a bus after the steps so far: by the name that each has then, with its index where it exists already.
pub(super) type Ends = BTreeMap<IfName, Option<u32>>;

/// Plans the pairs of one bus.
pub(super) fn plan_members(bus: &Bus, have: &Have, scope: Scope<'_>, plan: &mut Plan) -> Ends {
    let mut ends = Ends::new();
    for member in &bus.members {
        let end = if scope.covers(&member.endpoint) {
            plan_member(bus, member, have, scope, plan)
        } else {
            have.host_end(&member.endpoint).map(|link| Some(link.index))
        };
        if let Some(index) = end {
            ends.insert(member.endpoint.host_end(), index);
        }
    }
    ends
}

pub(super) fn taken(name: &IfName) -> String {
    format!(
        "an interface {name} exists that canhub did not make: choose another name for the hub, or use it as it is with adapter={name}"
    )
}

/// `Some(Some(index))`: the host end is there; `Some(None)`: a step makes it; `None`: there is none.
fn plan_member(
    bus: &Bus,
    member: &Member,
    have: &Have,
    scope: Scope<'_>,
    plan: &mut Plan,
) -> Option<Option<u32>> {
    let inside = have.sandboxes.get(&member.sandbox);
    let Some(host) = have.host_end(&member.endpoint) else {
        return create_pair(bus, member, have, scope, plan).then_some(None);
    };
    let end = inside.and_then(|links| other_end(host, links));
    // Docker ≤ 27 moves the container end between Join and the start of the process.
    let waits_for_docker = other_end(host, &have.links).is_some();
    if end.is_none() && !waits_for_docker && inside.is_some() {
        let broken = Action::Delete { sandbox: None, index: host.index, name: host.name.clone() };
        plan.steps.push(bus.step(Some(&member.endpoint), "the container end was moved away", broken));
        return create_pair(bus, member, have, scope, plan).then_some(None);
    }
    let name = member.endpoint.host_end();
    let rename = (host.name != name.as_str() && have.named(name.as_str()).is_none()).then_some(&name);
    repair(bus, Some(&member.endpoint), host, Repair { rename, mtu: bus.mtu, alias: &member.alias }, plan);
    if let (Some(end), Some(links)) = (end, inside) {
        repair_end(bus, member, end, links, plan);
    }
    Some(Some(host.index))
}

/// Whether a step now makes the pair.
fn create_pair(bus: &Bus, member: &Member, have: &Have, scope: Scope<'_>, plan: &mut Plan) -> bool {
    let (end, sandbox) = match have.sandboxes.get(&member.sandbox) {
        Some(links) => {
            let (remnants, others): (Vec<&Link>, Vec<&Link>) =
                links.iter().partition(|link| is_remnant(link, member, have));
            let taken: Vec<String> = others.iter().map(|link| link.name.clone()).collect();
            let name = member.ifname.choose(&taken);
            if taken.iter().any(|other| other == name.as_str()) {
                let text = format!(
                    "the container already has an interface {name}: give one of its networks another name, with -o ifname=… \
                     or per container with the option {}",
                    crate::options::DOCKER_IFNAME
                );
                plan.problems.push(bus.problem(Some(&member.endpoint), Blocks::Join, text));
                return false;
            }
            for link in remnants {
                let action = Action::Delete {
                    sandbox: Some(member.sandbox.clone()),
                    index: link.index,
                    name: link.name.clone(),
                };
                plan.steps.push(bus.step(Some(&member.endpoint), "the host end was moved away", action));
            }
            (name, Some(member.sandbox.clone()))
        }
        None if scope == Scope::Join(&member.endpoint) => (member.endpoint.container_end(), None),
        // The container is gone, or Docker has not made its sandbox: nowhere to put an end.
        None => return false,
    };
    let action = Action::CreatePair {
        host: member.endpoint.host_end(),
        end,
        sandbox,
        mtu: bus.mtu,
        alias: member.alias.clone(),
    };
    plan.steps.push(bus.step(Some(&member.endpoint), "the pair was missing", action));
    true
}

/// What is left of an endpoint's last pair in its sandbox, where its host end is out of our sight.
fn is_remnant(link: &Link, member: &Member, have: &Have) -> bool {
    is_ours(link)
        && match (owner(link), other_end(link, &have.links)) {
            (Some(owner), _) => owner == member.endpoint,
            // Its alias was removed, and it leads to nobody: it serves no other bus either.
            (None, None) => true,
            (None, Some(host)) => owner(host).is_none() && member.ifname.accepts(&link.name),
        }
}

fn owner(link: &Link) -> Option<EndpointId> {
    alias(link).and_then(|alias| alias.endpoint).map(|endpoint| endpoint.id)
}

/// What a link of ours is to be.
pub(super) struct Repair<'a> {
    pub(super) rename: Option<&'a IfName>,
    pub(super) mtu: u32,
    pub(super) alias: &'a str,
}

pub(super) fn repair(
    bus: &Bus,
    endpoint: Option<&EndpointId>,
    link: &Link,
    wanted: Repair<'_>,
    plan: &mut Plan,
) {
    let change = LinkChange {
        name: wanted.rename.cloned(),
        mtu: (link.mtu != wanted.mtu).then_some(wanted.mtu),
        alias: (link.alias.as_deref() != Some(wanted.alias)).then(|| wanted.alias.to_owned()),
        up: None,
    };
    push_change(bus, endpoint, None, link, change, plan);
}

fn repair_end(bus: &Bus, member: &Member, end: &Link, inside: &[Link], plan: &mut Plan) {
    // Docker ≤ 27 finds the end by this name between its move and its rename; a container whose end loses
    // it too early does not start ("failed to get link by name").
    // And it is Docker that brings the end up then: that is no fault.
    if end.name == member.endpoint.container_end().as_str() || (member.awaited && !end.up) {
        return;
    }
    let others: Vec<String> =
        inside.iter().filter(|link| link.index != end.index).map(|link| link.name.clone()).collect();
    let name = member.ifname.choose(&others);
    let free = !others.iter().any(|other| other == name.as_str());
    let change = LinkChange {
        name: (!member.ifname.accepts(&end.name) && free).then_some(name),
        mtu: (end.mtu != bus.mtu).then_some(bus.mtu),
        alias: (end.alias.as_deref() != Some(&member.alias)).then(|| member.alias.clone()),
        up: None,
    };
    push_change(bus, Some(&member.endpoint), Some(member), end, change, plan);
}

fn push_change(
    bus: &Bus,
    endpoint: Option<&EndpointId>,
    inside: Option<&Member>,
    link: &Link,
    mut change: LinkChange,
    plan: &mut Plan,
) {
    let reason = match &change {
        LinkChange { name: Some(_), .. } => "the link had another name",
        LinkChange { mtu: Some(_), .. } => "the link had another MTU",
        _ if !link.up => "the link was down",
        LinkChange { alias: Some(_), .. } => "the link's alias was missing",
        _ => return,
    };
    // A new name or MTU takes the link down on the way, so what is changed is always asked to be up.
    change.up = Some(true);
    let sandbox = inside.map(|member| member.sandbox.clone());
    let action = Action::Change { sandbox, index: link.index, name: link.name.clone(), change };
    plan.steps.push(bus.step(endpoint, reason, action));
}

/// Plans the deletion of links that are ours and that nobody wants.
pub(super) fn plan_leftovers(want: &Want, have: &Have, plan: &mut Plan) {
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
    for link in have.links.iter().filter(|link| is_ours(link) && !kept.contains(&link.index)) {
        // Deleting one end deletes the other; the second delete finds it gone, which is no error.
        let action = Action::Delete { sandbox: None, index: link.index, name: link.name.clone() };
        plan.steps.push(Step {
            network: bus_of(link).map(|bus| bus.network.clone()),
            endpoint: None,
            reason: LEFTOVER,
            action,
        });
    }
}

/// The reason of a step that removes what nobody wants; the reconcile loop gives such a link a grace period.
pub const LEFTOVER: &str = "nobody wants the link any more";
