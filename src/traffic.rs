//! Totals that never fall, computed from kernel counters that do.
//!
//! can-gw counts frames per rule, in 32 bits, for the lifetime of the rule. A rule is deleted when a container leaves,
//! when a pair is healed, or when someone deletes it, and a busy bus wraps the counter within days. [`Totals`] adds up
//! the differences between dumps instead, for each end of a bus, under a key that outlives links and rules. Only what a
//! rule counts between the last dump and its deletion is lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::{Duration, Instant},
};

use crate::{
    kernel::{Link, Rule},
    names::{EndpointId, NetworkId},
    network::Hub,
    plan::{Have, Want, carriers},
    status::{Count, Traffic},
};

/// One end of a bus, independent of the current index of its interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The interface of a network on the host: its hub, or the adapter.
    Hub(NetworkId),
    /// A container's interface.
    Member(EndpointId),
}

/// What happened to an adapter's controller since it was plugged in. Replugging while canhub runs does not reset it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Number of bus-offs.
    pub bus_offs: u64,
    /// Number of restarts.
    pub restarts: u64,
}

/// The totals of all buses since canhub started.
#[derive(Debug, Default)]
pub struct Totals {
    ends: BTreeMap<End, Traffic>,
    adapters: BTreeMap<NetworkId, Adapter>,
    /// The rules as last read, sorted.
    rules: Vec<Reading>,
    /// When the latest dump was complete.
    read: Option<Instant>,
}

/// A rule's counters in one dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Reading {
    rule: Rule,
    handled: u32,
    dropped: u32,
}

#[derive(Debug, Default)]
struct Adapter {
    faults: Faults,
    /// Its index, bus-offs and restarts as last read.
    last: Option<(u32, u32, u32)>,
}

impl Totals {
    /// What an end has sent and received so far.
    pub fn of(&self, end: &End) -> Traffic {
        self.ends.get(end).copied().unwrap_or_default()
    }

    /// The faults of a network's adapter so far.
    pub fn faults(&self, network: &NetworkId) -> Faults {
        self.adapters.get(network).map(|adapter| adapter.faults).unwrap_or_default()
    }

    /// The age of the latest dump; `None` before the first.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        self.read.map(|read| now.saturating_duration_since(read))
    }

    /// Processes a dump of the host's links and rules, taken within the period `read`.
    ///
    /// A dump that overlaps the latest one is ignored: its counters may be older, and would look as if they had
    /// wrapped.
    pub fn feed(&mut self, want: &Want, have: &Have, read: Range<Instant>) {
        if self.read.is_some_and(|last| read.start < last) {
            return;
        }
        self.read = Some(read.end);
        let links: BTreeMap<u32, &Link> = have.links.iter().map(|link| (link.index, link)).collect();
        let mut ends: BTreeMap<u32, End> = BTreeMap::new();
        let mut known: BTreeSet<End> = want.tolerated.iter().cloned().map(End::Member).collect();
        for bus in &want.buses {
            if let Some(link) = hub_of(&bus.network, &bus.hub, have) {
                ends.insert(link.index, End::Hub(bus.network.clone()));
                self.feed_adapter(&bus.network, link);
            }
            known.insert(End::Hub(bus.network.clone()));
            for member in &bus.members {
                if let Some(link) = have.host_end(&member.endpoint) {
                    ends.insert(link.index, End::Member(member.endpoint.clone()));
                }
                known.insert(End::Member(member.endpoint.clone()));
            }
        }
        self.feed_rules(have, &links, &ends);
        self.ends.retain(|end, _| known.contains(end));
        self.adapters.retain(|network, _| known.contains(&End::Hub(network.clone())));
    }

    fn feed_rules(&mut self, have: &Have, links: &BTreeMap<u32, &Link>, ends: &BTreeMap<u32, End>) {
        let ours = |rule: &Rule| ends.contains_key(&rule.source) || ends.contains_key(&rule.destination);
        let mut now: Vec<Reading> = have
            .rules
            .list()
            .iter()
            .filter(|status| !status.modifies && ours(&status.rule))
            .map(|status| Reading { rule: status.rule, handled: status.handled, dropped: status.dropped })
            .collect();
        // A duplicate rule delivers twice until it is healed; the older one, which stays, has counted more.
        now.sort_unstable_by(|one, other| one.rule.cmp(&other.rule).then(other.cmp(one)));
        now.dedup_by_key(|reading| reading.rule);

        let before = std::mem::take(&mut self.rules);
        let mut last = before.iter().peekable();
        let mut kept = Vec::new();
        // If a dump misses a rule because others were changed meanwhile, the rule's ends still exist.
        let mut keep = |reading: &Reading| {
            if links.contains_key(&reading.rule.source) && links.contains_key(&reading.rule.destination) {
                kept.push(*reading);
            }
        };
        let mut ways: Vec<(u32, u32, Count)> = Vec::with_capacity(now.len());
        for reading in &now {
            while let Some(gone) = last.next_if(|last| last.rule < reading.rule) {
                keep(gone);
            }
            let last = last.next_if(|last| last.rule == reading.rule);
            let count = Count {
                handled: grown(last.map(|last| last.handled), reading.handled),
                dropped: grown(last.map(|last| last.dropped), reading.dropped),
            };
            ways.push((reading.rule.source, reading.rule.destination, count));
        }
        last.for_each(keep);
        now.extend(kept);
        now.sort_unstable();
        // A bus with 100 members has 20,000 rules, and a vector that grew has up to twice the space.
        now.shrink_to_fit();
        self.rules = now;
        self.add(&ways, ends);
    }

    /// Adds the increments of each direction between two ends, in the order of `ways`.
    ///
    /// An outgoing frame is handled by one rule per receiving end, so the destination with the highest count shows the
    /// number of frames.
    fn add(&mut self, ways: &[(u32, u32, Count)], ends: &BTreeMap<u32, End>) {
        for from in ways.chunk_by(|one, other| one.0 == other.0) {
            let mut out = Count::default();
            for way in from.chunk_by(|one, other| one.1 == other.1) {
                let handled: u64 = way.iter().map(|(.., count)| count.handled).sum();
                let dropped: u64 = way.iter().map(|(.., count)| count.dropped).sum();
                out.handled = out.handled.max(handled);
                out.dropped += dropped;
                if let Some(end) = ends.get(&way[0].1) {
                    self.entry(end).frames_in.add(Count { handled, dropped });
                }
            }
            if let Some(end) = ends.get(&from[0].0) {
                self.entry(end).frames_out.add(out);
            }
        }
    }

    fn entry(&mut self, end: &End) -> &mut Traffic {
        self.ends.entry(end.clone()).or_default()
    }

    fn feed_adapter(&mut self, network: &NetworkId, link: &Link) {
        let Some(controller) = &link.controller else { return };
        let adapter = self.adapters.entry(network.clone()).or_default();
        let history = controller.history;
        // After replugging, it has another index and counts from zero.
        let last = adapter.last.filter(|(index, ..)| *index == link.index);
        adapter.faults.bus_offs += grown(last.map(|(_, bus_offs, _)| bus_offs), history.bus_off);
        adapter.faults.restarts += grown(last.map(|(.., restarts)| restarts), history.restarts);
        adapter.last = Some((link.index, history.bus_off, history.restarts));
    }
}

impl Count {
    fn add(&mut self, more: Self) {
        self.handled += more.handled;
        self.dropped += more.dropped;
    }
}

/// The current interface of a bus's hub on the host.
pub(crate) fn hub_of<'a>(network: &NetworkId, hub: &Hub, have: &'a Have) -> Option<&'a Link> {
    match hub {
        Hub::Adapter(adapter) => carriers(adapter, have).first().copied(),
        Hub::Owned(name) | Hub::Shared(name) => {
            have.own_hub(network, name.as_str()).or_else(|| have.named(name.as_str()))
        }
    }
}

/// The increment of a 32-bit counter. A counter that fell has wrapped, or belongs to a new rule between the same ends.
/// No bus carries 2³¹ frames between two readings (three days at full load), so a larger difference is not a wrap.
fn grown(last: Option<u32>, now: u32) -> u64 {
    let more = now.wrapping_sub(last.unwrap_or(0));
    let anew = last.is_some_and(|last| now < last) && more >= 1 << 31;
    u64::from(if anew { now } else { more })
}

#[cfg(test)]
mod tests;
