//! Totals that never fall, computed from kernel counters that do.
//!
//! can-gw counts frames per rule, in 32 bits, for the lifetime of the rule. A rule is deleted when a container leaves,
//! when a pair is healed, or when someone deletes it, and a busy bus wraps the counter within days. [`Totals`] adds up
//! the differences between dumps instead, for each end of a bus, under a key that outlives links and rules. Only what a
//! rule counts between the last dump and its deletion is lost.

mod losses;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::{Duration, Instant},
};

pub use losses::{Ledger, Untold};

use crate::{
    kernel::{Link, LinkCounters, LinkKind, Rule},
    names::{EndpointId, NetworkId},
    network::Hub,
    plan::{Have, Want, carriers},
    status::{Count, Direction, LossCause, Traffic},
};
use losses::Counted;

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
    /// When the latest reading of the container ends was complete.
    sandboxes_read: Option<Instant>,
    /// The counters of links as last read.
    links: BTreeMap<Place, Counted>,
    /// How many frames adapters had sent when they were unplugged, by index.
    unplugged: BTreeMap<u32, u64>,
    /// Frames of containers on buses whose adapter is away, until it is known how many of them it had still sent.
    undecided: BTreeMap<NetworkId, u64>,
    losses: Ledger,
}

/// The interfaces of a bus whose counters tell of losses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Hub(NetworkId),
    HostEnd(EndpointId),
    ContainerEnd(EndpointId),
}

/// The ends of all buses with their networks, by the index of their interface on the host.
type Ends<'a> = BTreeMap<u32, (End, &'a NetworkId)>;

impl Place {
    fn end(&self) -> End {
        match self {
            Self::Hub(network) => End::Hub(network.clone()),
            Self::HostEnd(endpoint) | Self::ContainerEnd(endpoint) => End::Member(endpoint.clone()),
        }
    }
}

/// By how much the counters of a link grew.
#[derive(Debug, Default)]
struct Grown {
    links: LinkCounters,
    /// The drops of its qdisc.
    qdisc: u64,
    /// Whether these drops and the link's own are on purpose.
    on_purpose: (bool, bool),
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
        let traffic = self.ends.get(end).copied().unwrap_or_default();
        let lost = |direction| self.losses.lost(end, direction);
        Traffic { lost_in: lost(Direction::In), lost_out: lost(Direction::Out), ..traffic }
    }

    /// What was lost.
    pub fn losses(&self) -> &Ledger {
        &self.losses
    }

    /// The same, to name the ends and to tell of them.
    pub fn losses_mut(&mut self) -> &mut Ledger {
        &mut self.losses
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
        let seen = self.read.replace(read.end).map(|_| read.end);
        let links: BTreeMap<u32, &Link> = have.links.iter().map(|link| (link.index, link)).collect();
        let mut ends: Ends<'_> = BTreeMap::new();
        let mut known: BTreeSet<End> = want.tolerated.iter().cloned().map(End::Member).collect();
        for bus in &want.buses {
            if let Some(link) = hub_of(&bus.network, &bus.hub, have) {
                ends.insert(link.index, (End::Hub(bus.network.clone()), &bus.network));
                self.feed_adapter(&bus.network, link);
                self.feed_hub(&bus.network, link, have.own_hub(&bus.network, &link.name).is_some(), seen);
            }
            let mut sent = 0;
            known.insert(End::Hub(bus.network.clone()));
            for member in &bus.members {
                if let Some(link) = have.host_end(&member.endpoint) {
                    ends.insert(link.index, (End::Member(member.endpoint.clone()), &bus.network));
                    let place = Place::HostEnd(member.endpoint.clone());
                    let more =
                        self.feed_end(&bus.network, place, link, [Direction::Out, Direction::In], seen);
                    // Its host end also counts what it may not send.
                    let is_exact = member.filters.tx.is_none() && !member.filters.lost;
                    sent += if is_exact { more } else { 0 };
                }
                known.insert(End::Member(member.endpoint.clone()));
            }
            if matches!(bus.hub, Hub::Adapter(_)) && hub_of(&bus.network, &bus.hub, have).is_none() {
                self.feed_away(&bus.network, sent, seen);
            } else {
                self.undecided.remove(&bus.network);
            }
        }
        self.feed_rules(have, &links, &ends, seen);
        self.ends.retain(|end, _| known.contains(end));
        self.links.retain(|place, _| known.contains(&place.end()));
        self.losses.retain(&known);
        self.undecided.retain(|network, _| known.contains(&End::Hub(network.clone())));
        let hubs: BTreeSet<u32> = self.links.values().map(|last| last.index).collect();
        self.unplugged.retain(|index, _| hubs.contains(index));
        self.adapters.retain(|network, _| known.contains(&End::Hub(network.clone())));
    }

    /// Processes a reading of the container ends, taken within the period `read`.
    pub fn feed_sandboxes(&mut self, want: &Want, have: &Have, read: Range<Instant>) {
        if self.sandboxes_read.is_some_and(|last| read.start < last) {
            return;
        }
        let seen = self.sandboxes_read.replace(read.end).map(|_| read.end);
        for bus in &want.buses {
            for member in &bus.members {
                if let Some(link) = have.container_end(&member.endpoint, &member.sandbox) {
                    let place = Place::ContainerEnd(member.endpoint.clone());
                    self.feed_end(&bus.network, place, link, [Direction::In, Direction::Out], seen);
                }
            }
        }
    }

    /// One end of a pair: what it could not receive was on its way in the first of these directions, what it could not
    /// send in the second.
    fn feed_end(
        &mut self,
        network: &NetworkId,
        place: Place,
        link: &Link,
        [received, sent]: [Direction; 2],
        seen: Option<Instant>,
    ) -> u64 {
        let end = place.end();
        let Grown { links: more, qdisc, on_purpose } = self.grown_of(place, link, true);
        self.losses.add(network, &end, received, LossCause::Backlog, more.rx_dropped, seen);
        let dropped =
            [(LossCause::Qdisc, qdisc, on_purpose.0), (LossCause::Down, more.tx_dropped, on_purpose.1)];
        for (cause, frames, on_purpose) in dropped {
            match on_purpose {
                true => self.entry(&end).on_purpose(sent, frames),
                false => self.losses.add(network, &end, sent, cause, frames, seen),
            }
        }
        more.rx_packets
    }

    /// The adapter of a bus is not there, and its containers have sent this many frames since the last dump: those that the
    /// adapter did not send before it was unplugged are lost. Its rules are gone, so they cannot tell.
    fn feed_away(&mut self, network: &NetworkId, sent: u64, seen: Option<Instant>) {
        if seen.is_none() {
            return;
        }
        let undecided = self.undecided.entry(network.clone()).or_default();
        *undecided += sent;
        let place = Place::Hub(network.clone());
        if let Some(last) = self.links.get(&place) {
            let Some(carried) = self.unplugged.remove(&last.index) else { return };
            *undecided = undecided.saturating_sub(carried.saturating_sub(last.counters.tx_packets));
            self.links.remove(&place);
        }
        let lost = std::mem::take(undecided);
        self.losses.add(network, &End::Hub(network.clone()), Direction::In, LossCause::Away, lost, seen);
    }

    /// A link of the host was removed after it had sent this many frames.
    pub fn removed(&mut self, index: u32, sent: u64) {
        let hub = |(place, last): (&Place, &Counted)| matches!(place, Place::Hub(_)) && last.index == index;
        if self.links.iter().any(hub) {
            self.unplugged.insert(index, sent);
        }
    }

    fn feed_hub(&mut self, network: &NetworkId, link: &Link, ours: bool, seen: Option<Instant>) {
        let end = End::Hub(network.clone());
        let more = self.grown_of(Place::Hub(network.clone()), link, ours).links;
        let mut lost =
            |direction, cause, frames| self.losses.add(network, &end, direction, cause, frames, seen);
        if link.kind == LinkKind::Vcan {
            lost(Direction::In, LossCause::Backlog, more.rx_dropped);
        } else {
            // Not its `tx_errors` and `rx_errors`: these count errors on the wire, after which a frame is sent again.
            lost(Direction::Out, LossCause::Adapter, more.rx_dropped + more.rx_overruns);
            lost(Direction::In, LossCause::Adapter, more.tx_dropped);
        }
    }

    /// By how much the counters of a link and those of its qdisc grew.
    fn grown_of(&mut self, place: Place, link: &Link, ours: bool) -> Grown {
        let Some(counters) = link.counters else { return Grown::default() };
        let qdisc = link.qdisc.as_ref().map_or(0, |qdisc| qdisc.drops);
        let netem = link.qdisc.as_ref().and_then(|qdisc| qdisc.netem);
        let corrupted = netem.is_some_and(|netem| netem.corrupt > 0);
        let now = Counted { index: link.index, counters, qdisc, shaped: netem.is_some(), corrupted };
        let last = self.links.insert(place, now);
        Grown { links: now.since(last, ours), qdisc: now.qdisc_since(last), on_purpose: now.on_purpose(last) }
    }

    fn feed_rules(
        &mut self,
        have: &Have,
        links: &BTreeMap<u32, &Link>,
        ends: &Ends<'_>,
        seen: Option<Instant>,
    ) {
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
        self.add(&ways, ends, seen);
    }

    /// Adds the increments of each direction between two ends, in the order of `ways`.
    ///
    /// An outgoing frame is handled by one rule per receiving end, so the destination with the highest count shows the
    /// number of frames. With `allow-rx` that is the hub: it hears everything.
    fn add(&mut self, ways: &[(u32, u32, Count)], ends: &Ends<'_>, seen: Option<Instant>) {
        for from in ways.chunk_by(|one, other| one.0 == other.0) {
            let mut out = Count::default();
            for way in from.chunk_by(|one, other| one.1 == other.1) {
                let handled: u64 = way.iter().map(|(.., count)| count.handled).sum();
                let dropped: u64 = way.iter().map(|(.., count)| count.dropped).sum();
                out.handled = out.handled.max(handled);
                out.dropped += dropped;
                if let Some((end, network)) = ends.get(&way[0].1) {
                    self.entry(end).frames_in.add(Count { handled, dropped });
                    self.losses.add(network, end, Direction::In, LossCause::Rule, dropped, seen);
                }
            }
            if let Some((end, _)) = ends.get(&from[0].0) {
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

impl Traffic {
    fn on_purpose(&mut self, direction: Direction, frames: u64) {
        match direction {
            Direction::In => self.dropped_on_purpose_in += frames,
            Direction::Out => self.dropped_on_purpose_out += frames,
        }
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
