//! Plans the pace of container ends: the desired one, and when the qdisc is wrong.

use super::{Action, Blocks, Bus, Have, Member, Plan, Reason, Step, carrier};
use crate::{
    kernel::{Link, Pace},
    names::IfName,
    network::Hub,
    pace::{Rate, Wire},
};

/// What is known about the adapter of a bus.
pub(super) struct BusWire<'a> {
    /// The adapter, if it is present.
    adapter: Option<&'a Link>,
    wire: Option<Wire>,
    /// Whether its bitrate is still unknown: it is missing, or has no bitrate yet.
    awaited: bool,
}

/// The desired pace of an end.
enum Wanted {
    /// Unchanged: the bitrate is unknown.
    AsItIs,
    /// No pace.
    Nothing,
    At(Pace),
}

impl<'a> BusWire<'a> {
    /// Finds out what carries a bus.
    pub(super) fn of(bus: &Bus, have: &'a Have) -> Self {
        let adapter = carrier(&bus.hub, have);
        let wire = Wire::of(&bus.options.settings, adapter);
        let awaited = match adapter {
            None => matches!(bus.hub, Hub::Adapter(_)),
            Some(link) => link.controller.is_some(),
        };
        Self { adapter, wire, awaited: awaited && wire.is_none() }
    }

    fn wanted(&self, bus: &Bus, member: &Member) -> Wanted {
        let rate = match (member.rate.or(bus.options.rate), self.wire) {
            (Some(Rate::Off), _) => return Wanted::Nothing,
            (Some(Rate::Bits(rate)), wire) => wire.map_or(rate, |wire| rate.min(wire.bitrate)),
            (None, Some(wire)) => wire.bitrate,
            (None, None) if self.awaited => return Wanted::AsItIs,
            (None, None) => return Wanted::Nothing,
        };
        // Without an adapter, an FD frame has no faster data phase.
        let wire = self.wire.unwrap_or(Wire { bitrate: rate, dbitrate: None });
        let rate = member.share.map_or(rate, |share| share.min(rate));
        Wanted::At(wire.pace(rate, bus.mtu(), bus.options.settings.txqueuelen))
    }

    /// A rate that the adapter does not have.
    fn refusal(&self, rate: Option<Rate>) -> Option<String> {
        let (Some(Rate::Bits(rate)), Some(wire), Some(link)) = (rate, self.wire, self.adapter) else {
            return None;
        };
        (rate > wire.bitrate).then(|| {
            format!(
                "rate={rate} is higher than the {} bit/s of adapter {}: set a lower rate, or remove it to use the bitrate of the adapter",
                wire.bitrate, link.name
            )
        })
    }
}

/// Problems with the pace of a bus as a whole.
pub(super) fn plan_wire(bus: &Bus, wire: &BusWire<'_>, have: &Have) -> Plan {
    let mut plan = Plan::default();
    if let Some(text) = wire.refusal(bus.options.rate) {
        plan.problems.push(bus.problem(None, Blocks::Creation, text));
    }
    let is_paced = |member: &Member| matches!(wire.wanted(bus, member), Wanted::At(_));
    if let Some(why) = &have.cannot_pace
        && bus.members.iter().any(is_paced)
    {
        let text = format!("{why}, or create the network with -o rate=off");
        plan.problems.push(bus.problem(None, Blocks::Nothing, text));
    }
    plan
}

/// Plans the pace of a container end that exists in its sandbox.
pub(super) fn plan_end(bus: &Bus, member: &Member, wire: &BusWire<'_>, end: &Link, have: &Have) -> Plan {
    let (pace, reason) = match (wire.wanted(bus, member), end.qdisc.as_ref()) {
        (Wanted::At(pace), None) if member.awaited => (Some(pace), Reason::EndArrived),
        (Wanted::At(pace), None) => (Some(pace), Reason::QdiscMissing),
        (Wanted::At(pace), Some(qdisc)) => match qdisc.pace {
            Some(found) if found == pace => return plan_problem(bus, member, wire),
            Some(_) => (Some(pace), Reason::QdiscRate),
            None if qdisc.netem.is_some() => (Some(pace), Reason::QdiscMissing),
            None => (Some(pace), Reason::QdiscReplaced),
        },
        (Wanted::Nothing, Some(qdisc)) if qdisc.pace.is_some() => (None, Reason::QdiscUnwanted),
        (Wanted::Nothing, Some(qdisc)) if qdisc.is_modified_pace() => (None, Reason::QdiscUnwanted),
        (Wanted::Nothing | Wanted::AsItIs, _) => return plan_problem(bus, member, wire),
    };
    if pace.is_some() && have.cannot_pace.is_some() {
        return plan_problem(bus, member, wire);
    }
    let step = step(bus, member, reason, Some(end.index), end.name.clone(), pace);
    Plan::from(step).and(plan_problem(bus, member, wire))
}

/// Plans the pace of a container end that an earlier step creates with this name.
pub(super) fn plan_new_end(
    bus: &Bus,
    member: &Member,
    wire: &BusWire<'_>,
    name: &IfName,
    have: &Have,
) -> Plan {
    match wire.wanted(bus, member) {
        Wanted::At(pace) if have.cannot_pace.is_none() => {
            step(bus, member, Reason::QdiscMissing, None, name.to_string(), Some(pace)).into()
        }
        Wanted::At(_) | Wanted::Nothing | Wanted::AsItIs => Plan::default(),
    }
}

fn plan_problem(bus: &Bus, member: &Member, wire: &BusWire<'_>) -> Plan {
    let text = wire.refusal(member.rate);
    text.map(|text| bus.problem(Some(&member.endpoint), Blocks::Nothing, text).into()).unwrap_or_default()
}

fn step(
    bus: &Bus,
    member: &Member,
    reason: Reason,
    index: Option<u32>,
    name: String,
    pace: Option<Pace>,
) -> Step {
    let (sandbox, host) = (member.sandbox.clone(), member.endpoint.host_end());
    bus.step(Some(&member.endpoint), reason, Action::Pace { sandbox, host, index, name, pace })
}

/// The step that gives a container end its share of the adapter between two passes.
pub fn share(bus: &Bus, member: &Member, have: &Have, index: u32) -> Option<Step> {
    match BusWire::of(bus, have).wanted(bus, member) {
        Wanted::At(pace) => {
            let name = member.ifname.to_string();
            Some(step(bus, member, Reason::QdiscRate, Some(index), name, Some(pace)))
        }
        Wanted::Nothing | Wanted::AsItIs => None,
    }
}

/// The maximum rate of a container end in bit/s: that of the adapter, or less if requested. `None`: it is not paced.
pub fn ceiling(bus: &Bus, member: &Member, have: &Have) -> Option<u32> {
    let unshared = Member { share: None, ..member.clone() };
    match BusWire::of(bus, have).wanted(bus, &unshared) {
        Wanted::At(pace) => Some(pace.rate),
        Wanted::Nothing | Wanted::AsItIs => None,
    }
}
