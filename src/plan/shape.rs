//! Plans what happens to frames on their way to and from a container: netem on both ends of its pair.

use super::{Action, Blocks, Bus, Have, Member, PairEnd, Plan, Reason};
use crate::{
    kernel::{Link, Netem},
    names::IfName,
};

/// The desired netem of an end: `None` if it stays as it is, because what was asked for is not known.
fn wanted(member: &Member, end: PairEnd) -> Option<Option<Netem>> {
    let shape = match end {
        PairEnd::Container => member.shapes.tx,
        PairEnd::Host => member.shapes.rx,
    };
    (!member.shapes.lost).then(|| shape.netem())
}

/// Problems with the shapes of a bus as a whole.
pub(super) fn plan_module(bus: &Bus, have: &Have) -> Plan {
    let is_shaped = |member: &Member| {
        [PairEnd::Container, PairEnd::Host].iter().any(|end| matches!(wanted(member, *end), Some(Some(_))))
    };
    match &have.cannot_shape {
        Some(why) if bus.members.iter().any(is_shaped) => {
            bus.problem(None, Blocks::Nothing, why.clone()).into()
        }
        _ => Plan::default(),
    }
}

/// Plans the netem of an end that exists in its place.
pub(super) fn plan_end(bus: &Bus, member: &Member, end: PairEnd, link: &Link, have: &Have) -> Plan {
    let Some(netem) = wanted(member, end) else { return Plan::default() };
    let arrives = member.awaited && end == PairEnd::Container;
    let reason = match (netem, link.qdisc.as_ref()) {
        (Some(_), None) if arrives => Reason::EndArrived,
        (Some(_), None) => Reason::QdiscMissing,
        (Some(wanted), Some(qdisc)) => match qdisc.netem {
            Some(found) if found == wanted => return Plan::default(),
            Some(_) => Reason::QdiscShape,
            None if qdisc.pace.is_some() && arrives => Reason::EndArrived,
            None if qdisc.pace.is_some() => Reason::QdiscMissing,
            None => Reason::QdiscReplaced,
        },
        // A bucket that somebody modified is the pace's.
        (None, Some(qdisc)) if qdisc.netem.is_some() => Reason::QdiscUnwanted,
        (None, Some(qdisc)) if qdisc.is_modified_netem() => Reason::QdiscUnwanted,
        (None, _) => return Plan::default(),
    };
    match netem.is_some() && have.cannot_shape.is_some() {
        true => Plan::default(),
        false => plan_step(bus, member, end, reason, Some(link.index), link.name.clone(), netem),
    }
}

/// Plans the netem of an end that an earlier step creates with this name.
pub(super) fn plan_new_end(bus: &Bus, member: &Member, end: PairEnd, name: &IfName, have: &Have) -> Plan {
    match wanted(member, end) {
        Some(netem @ Some(_)) if have.cannot_shape.is_none() => {
            plan_step(bus, member, end, Reason::QdiscMissing, None, name.to_string(), netem)
        }
        _ => Plan::default(),
    }
}

fn plan_step(
    bus: &Bus,
    member: &Member,
    end: PairEnd,
    reason: Reason,
    index: Option<u32>,
    name: String,
    netem: Option<Netem>,
) -> Plan {
    let (sandbox, host) = (member.sandbox.clone(), member.endpoint.host_end());
    bus.step(Some(&member.endpoint), reason, Action::Netem { sandbox, host, end, index, name, netem }).into()
}
