//! Plans rules: which ones a bus needs, and which are missing, duplicate or wrong.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Action, Blocks, Bus, Have, Plan, Problem, Reason, Rules, Scope,
    hub::HubEnd,
    links::{End, Ends},
};
use crate::{
    filters::{Filters, Way},
    kernel::{Filter, Rule, RuleFlags},
    names::IfName,
    network::Hub,
};

/// The hop limit of every rule: no rule picks up a frame that another rule has forwarded.
///
/// It makes the bus independent of can-gw's `max_hops`, which cannot be changed once the module is loaded.
const HOPS: Option<u8> = Some(1);

/// A rule between ends that may not exist yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedRule {
    /// The interface that frames come from.
    pub source: IfName,
    /// The interface that frames are sent on.
    pub destination: IfName,
    /// The flags.
    pub flags: RuleFlags,
    /// The filter.
    pub filter: Filter,
}

impl NamedRule {
    /// The rule between two indices.
    pub fn between(&self, source: u32, destination: u32) -> Rule {
        Rule { source, destination, flags: self.flags, filter: self.filter, max_hops: HOPS }
    }
}

/// The rules from one end of a bus to another: the only place that defines a bus.
///
/// A mesh: with can-gw's default of one hop, two rules through the hub never carry a frame from container to container,
/// and with two hops the sender receives its own frames. `ECHO` only towards the hub, so that tools on the host see the
/// frames; elsewhere only other rules would see the echo, and it would fill the backlog and drop bursts (a J1939
/// transfer is enough). The kernel has a separate receive list for error frames, so their rules cost other frames
/// nothing.
///
/// A frame for other hosts keeps the time at which it was sent, because its age counts from then. Error frames are about
/// the wire of this host and do not go there.
///
/// `way`: what the lists of the two members let pass. Without lists that is one filter for everything.
fn rules_between(
    bus: &Bus,
    hub: Option<&HubEnd>,
    span: Option<&IfName>,
    [source, destination]: [&IfName; 2],
    way: Way,
) -> impl Iterator<Item = (RuleFlags, Filter)> {
    let is_hub = |end: &IfName| hub.is_some_and(|hub| hub.name == *end);
    let echo = if is_hub(destination) { RuleFlags::ECHO } else { RuleFlags::empty() };
    let stamp = if span == Some(destination) { RuleFlags::SRC_TSTAMP } else { RuleFlags::empty() };
    let frames = echo | stamp | RuleFlags::IIF_TX_OK;
    // For those who subscribe to them. A controller reports the errors of its own bus; sent to one, they would go out
    // as data frames.
    let on_wire = hub.map_or(matches!(bus.hub, Hub::Adapter(_)), |hub| hub.is_wire);
    let crosses = [source, destination].into_iter().any(|end| span == Some(end));
    let errors = way.errors && (!on_wire || is_hub(source)) && !crosses;
    let fd = bus.fd();
    let both = move |filter| [Some((frames, filter)), fd.then_some((frames | RuleFlags::FD, filter))];
    (0..way.frames.len())
        .map(move |at| way.frames[at])
        .flat_map(both)
        .flatten()
        .chain(errors.then_some((frames, Filter::ERRORS)))
}

/// The lists of the members of a bus that have some, by their host ends. The hub and the span port have none.
struct Lists<'a>(BTreeMap<IfName, &'a Filters>);

impl<'a> Lists<'a> {
    fn of(bus: &'a Bus) -> Self {
        let listed = bus.members.iter().filter(|member| !member.filters.are_open());
        Self(listed.map(|member| (member.endpoint.host_end(), &member.filters)).collect())
    }

    /// What passes from one end to another; `None` if that is not known.
    fn way(&self, source: &IfName, destination: &IfName) -> Option<Way> {
        let (from, to) = (self.0.get(source), self.0.get(destination));
        if [from, to].into_iter().flatten().any(|filters| filters.lost) {
            return None;
        }
        Some(Way::between(
            from.and_then(|filters| filters.tx.as_ref()),
            to.and_then(|filters| filters.rx.as_ref()),
        ))
    }
}

/// The host ends of members that a fault cuts off: no rule leads to them or from them.
struct Cut(BTreeSet<IfName>);

impl Cut {
    fn of(bus: &Bus) -> Self {
        let cut = bus.members.iter().filter(|member| member.imposed.cut);
        Self(cut.map(|member| member.endpoint.host_end()).collect())
    }

    fn between(&self, source: &IfName, destination: &IfName) -> bool {
        self.0.contains(source) || self.0.contains(destination)
    }
}

/// One problem per member in scope whose lists are lost: it must not be opened up, so its rules stay as they are.
fn lists_lost(bus: &Bus, scope: Scope<'_>) -> impl Iterator<Item = Problem> {
    let blocks = match scope {
        Scope::Join(_) => Blocks::Join,
        Scope::Everything | Scope::Network(_) | Scope::Bus(_) => Blocks::Nothing,
    };
    let lost = bus.members.iter().filter(move |member| member.filters.lost && scope.covers(&member.endpoint));
    lost.map(move |member| {
        let text = "what its allow-tx and allow-rx allow was lost with canhub's records, so its can-gw rules are neither added nor changed: start the container again; if Docker's API does not tell canhub the network's options either, recreate the network";
        bus.problem(Some(&member.endpoint), blocks, text.into())
    })
}

/// The end that all these rules have in common: the one that was recreated.
pub(super) fn shared_end(rules: &[NamedRule]) -> Option<&IfName> {
    let first = rules.first()?;
    let in_all = |end: &&IfName| rules.iter().all(|rule| rule.source == **end || rule.destination == **end);
    [&first.source, &first.destination].into_iter().find(in_all)
}

/// Plans the rules of a bus between its ends after the preceding steps.
///
/// If the rules could not be read, only those of an end that a step creates are planned: they cannot exist yet.
pub(super) fn plan_rules(
    bus: &Bus,
    have: &Have,
    scope: Scope<'_>,
    hub: Option<&HubEnd>,
    mut ends: Ends,
) -> Plan {
    let span = bus.span_end();
    let joining = match scope {
        Scope::Everything | Scope::Bus(_) => None,
        Scope::Network(_) => match span.as_ref().filter(|span| ends.get(*span) == Some(&End::Planned)) {
            Some(new) => Some(new.clone()),
            None => return Plan::default(),
        },
        Scope::Join(endpoint) => Some(endpoint.host_end()),
    };
    let in_scope = |source: &IfName, destination: &IfName| {
        joining.as_ref().is_none_or(|end| source == end || destination == end)
    };
    ends.extend(hub.map(|hub| (hub.name.clone(), hub.end)));
    let ends = &ends;
    let unread = match &have.rules {
        Rules::Unknown(why) => Some(why),
        Rules::Read(_) | Rules::NotRead => None,
    };
    let standing = standing_rules(have, ends, in_scope);
    let (lists, cut) = (Lists::of(bus), Cut::of(bus));
    let mut stays = vec![false; standing.len()];
    let mut missing = Vec::new();
    let mut skipped = false;
    for (source, source_end) in ends {
        for (destination, destination_end) in ends {
            if source == destination || !in_scope(source, destination) || cut.between(source, destination) {
                continue;
            }
            let indices = source_end.index().zip(destination_end.index());
            if unread.is_some() && indices.is_some() {
                skipped = true;
                continue;
            }
            let Some(way) = lists.way(source, destination) else {
                let is_this = |rule: &Rule| Some((rule.source, rule.destination)) == indices;
                standing.iter().zip(&mut stays).for_each(|(rule, stays)| *stays |= is_this(rule));
                continue;
            };
            for (flags, filter) in rules_between(bus, hub, span.as_ref(), [source, destination], way) {
                let rule = indices.map(|(source, destination)| Rule {
                    source,
                    destination,
                    flags,
                    filter,
                    max_hops: HOPS,
                });
                // Of equal rules, one stays; the others would deliver the same frames again.
                match rule.and_then(|rule| standing.binary_search(&rule).ok()) {
                    Some(position) => stays[position] = true,
                    None => missing.push(NamedRule {
                        source: source.clone(),
                        destination: destination.clone(),
                        flags,
                        filter,
                    }),
                }
            }
        }
    }
    let mut plan = Plan { problems: lists_lost(bus, scope).collect(), ..Plan::default() };
    if let (Some(why), true) = (unread, skipped) {
        let blocks = if joining.is_some() { Blocks::Join } else { Blocks::Nothing };
        let text =
            format!("could not read the can-gw rules: {why}; retrying; they are not healed until then");
        plan.problems.push(bus.problem(None, blocks, text));
    }
    let unwanted = standing.into_iter().zip(stays).filter(|(_, stays)| !stays).map(|(rule, _)| rule);
    let cut: Vec<u32> = cut.0.iter().filter_map(|end| ends.get(end)?.index()).collect();
    let is_cut = |rule: &Rule| cut.contains(&rule.source) || cut.contains(&rule.destination);
    let (of_cut, surplus): (Vec<Rule>, Vec<Rule>) = unwanted.partition(is_cut);
    for (reason, rules) in [(Reason::FaultUndone, of_cut), (Reason::SurplusRules, surplus)] {
        if !rules.is_empty() {
            plan.steps.push(bus.step(None, reason, Action::DeleteRules(rules)));
        }
    }
    if !missing.is_empty() {
        let ends = ends.iter().filter_map(|(name, end)| Some((name.clone(), end.index()?))).collect();
        plan.steps.push(bus.step(None, Reason::RulesMissing, Action::AddRules { rules: missing, ends }));
    }
    plan
}

/// The existing rules of this bus, sorted; a duplicate rule appears twice.
///
/// Rules have no owner. Ours are those between two ends of one bus, at least one of them a member's host end, that do
/// not modify frames: any such rule besides the desired one delivers frames twice.
fn standing_rules(have: &Have, ends: &Ends, in_scope: impl Fn(&IfName, &IfName) -> bool) -> Vec<Rule> {
    let by_index: BTreeMap<u32, &IfName> =
        ends.iter().filter_map(|(name, end)| Some((end.index()?, name))).collect();
    let of_this_bus = |rule: &Rule| {
        let (Some(&source), Some(&destination)) =
            (by_index.get(&rule.source), by_index.get(&rule.destination))
        else {
            return false;
        };
        source != destination && in_scope(source, destination)
    };
    let plain = have.rules.list().iter().filter(|status| !status.modifies).map(|status| status.rule);
    let mut standing: Vec<Rule> = plain.filter(of_this_bus).collect();
    standing.sort_unstable();
    standing
}
