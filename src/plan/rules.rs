//! Planning rules: which make a bus, and which of those are missing, double or wrong.

use std::collections::BTreeMap;

use super::{Action, Bus, Have, Plan, Scope, links::Ends};
use crate::{
    kernel::{Filter, Rule, RuleFlags},
    names::IfName,
    network::Ownership,
};

/// The hop limit of every rule: what one rule sent on, no other rule takes up again.
///
/// It makes the bus independent of can-gw's `max_hops`, which cannot be changed once the module is loaded.
const HOPS: Option<u8> = Some(1);

/// A rule between ends that may not exist yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedRule {
    /// Where frames come from.
    pub source: IfName,
    /// Where they are sent.
    pub destination: IfName,
    /// How.
    pub flags: RuleFlags,
    /// Which.
    pub filter: Filter,
}

impl NamedRule {
    /// The rule between two indices.
    pub fn between(&self, source: u32, destination: u32) -> Rule {
        Rule { source, destination, flags: self.flags, filter: self.filter, max_hops: HOPS }
    }
}

/// Which rules make a bus: the one place that decides it.
///
/// A mesh, because with can-gw's default of one hop two rules through the hub never carry a frame from
/// container to container, and with two hops the sender hears itself. `ECHO` only towards the hub, so that
/// the host's tools see frames; elsewhere the echo is read by nobody but other rules, fills the backlog and
/// loses bursts (a J1939 transfer is enough).
pub fn bus_rules(bus: &Bus, ends: &[IfName]) -> Vec<NamedRule> {
    let hub = &bus.hub.name;
    let kinds: &[RuleFlags] =
        if bus.fd { &[RuleFlags::empty(), RuleFlags::FD] } else { &[RuleFlags::empty()] };
    let mut rules = Vec::new();
    for source in ends {
        for destination in ends.iter().filter(|end| *end != source) {
            let echo = if destination == hub { RuleFlags::ECHO } else { RuleFlags::empty() };
            for &kind in kinds {
                rules.push(NamedRule {
                    source: source.clone(),
                    destination: destination.clone(),
                    flags: kind | echo | RuleFlags::IIF_TX_OK,
                    filter: Filter::default(),
                });
            }
            // A controller's error frames, for whoever asks for them.
            if source == hub && bus.hub.ownership != Ownership::Owned {
                rules.push(NamedRule {
                    source: source.clone(),
                    destination: destination.clone(),
                    flags: RuleFlags::IIF_TX_OK,
                    filter: Filter::ERRORS,
                });
            }
        }
    }
    rules
}

/// Plans the rules of one bus between the ends that it has after the steps so far.
pub(super) fn plan_bus(bus: &Bus, have: &Have, scope: Scope<'_>, ends: &Ends, plan: &mut Plan) {
    let joining = match scope {
        Scope::Everything => None,
        Scope::Network(_) => return,
        Scope::Join(endpoint) => Some(endpoint.host_end()),
    };
    let names: Vec<IfName> = ends.keys().cloned().collect();
    let mut wanted = bus_rules(bus, &names);
    wanted.retain(|rule| joining.as_ref().is_none_or(|end| rule.source == *end || rule.destination == *end));

    let mut standing = standing_rules(bus, have, ends, joining.as_ref());
    let mut missing = Vec::new();
    for rule in wanted {
        let index = |name: &IfName| ends.get(name).copied().flatten();
        let stands = index(&rule.source)
            .zip(index(&rule.destination))
            .and_then(|(source, destination)| standing.get_mut(&rule.between(source, destination)))
            .filter(|count| **count > 0);
        match stands {
            // One of them may stay; what is left in the count is too many.
            Some(count) => *count -= 1,
            None => missing.push(rule),
        }
    }
    let unwanted: Vec<Rule> =
        standing.into_iter().flat_map(|(rule, count)| std::iter::repeat_n(rule, count)).collect();
    if !unwanted.is_empty() {
        plan.steps.push(bus.step(None, "rules stood that deliver twice", Action::DeleteRules(unwanted)));
    }
    if !missing.is_empty() {
        let ends = ends.iter().filter_map(|(name, index)| Some((name.clone(), (*index)?))).collect();
        plan.steps.push(bus.step(None, "rules were missing", Action::AddRules { rules: missing, ends }));
    }
}

/// The rules of this bus that stand, with how often each does.
///
/// Rules carry no owner. Ours are those between two ends of one bus of which at least one is a member's
/// host end, and which modify nothing: any such rule beside the wanted one delivers a frame twice.
fn standing_rules(bus: &Bus, have: &Have, ends: &Ends, joining: Option<&IfName>) -> BTreeMap<Rule, usize> {
    let by_index: BTreeMap<u32, &IfName> =
        ends.iter().filter_map(|(name, index)| Some(((*index)?, name))).collect();
    let mut standing = BTreeMap::new();
    for status in &have.rules {
        let rule = status.rule;
        let (Some(&source), Some(&destination)) =
            (by_index.get(&rule.source), by_index.get(&rule.destination))
        else {
            continue;
        };
        let touches_member = *source != bus.hub.name || *destination != bus.hub.name;
        let in_scope = joining.is_none_or(|end| source == end || destination == end);
        if touches_member && in_scope && !status.modifies {
            *standing.entry(rule).or_insert(0) += 1;
        }
    }
    standing
}
