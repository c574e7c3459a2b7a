//! Lost frames: how many, of which end, in which direction, why and when.
//!
//! The kernel never tells a sender. It counts a frame on the interface that would have received it, or on the one that
//! could not send it (`src/kernel/counters.rs`). These counters start from zero when a link is created, so the differences
//! are added up here, as for the rules. What a program's own socket loses because the program reads too
//! slowly is counted nowhere outside that socket.
//!
//! | counter | of | means |
//! |---|---|---|
//! | `rx_dropped` | host end | from the container: the backlog was full |
//! | `rx_dropped` | container end, hub | to the container, to the host: the backlog was full |
//! | drops | qdisc of the container end | from the container: its queue was full, and the sender got ENOBUFS |
//! | `tx_dropped` | container end | from the container: the host end was down |
//! | `tx_dropped` | host end | to the container: the container end was down |
//! | `tx_dropped` | adapter | to the wire: its driver dropped them |
//! | `tx_packets` of an adapter that was unplugged, `rx_packets` of host ends | bus | to the wire: it was not there |
//! | `rx_dropped`, overruns | adapter | from the wire: its driver or controller dropped them |
//! | `dropped` | rule | to its destination, which was down or whose queue was full |
//!
//! A shape ([`crate::shape`]) drops frames on purpose. The qdiscs count them as dropped, and those whose length it
//! corrupts are in `tx_dropped`. They are no losses, but have a count of their own. It also has those that find the queue
//! of a shaped end full: their sender got ENOBUFS, or the rule counts them as dropped, too.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use super::End;
use crate::{
    kernel::LinkCounters,
    names::NetworkId,
    status::{Direction, Loss, LossCause, Lost},
};

/// Losses of ends that no longer exist are kept for doctor, at most this many per network.
const KEPT: usize = 16;
/// Per end, losses are told at most this often.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// What was lost, as far as it was seen.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<Key, Entry>,
    told: BTreeMap<End, Instant>,
}

type Key = (End, Direction, LossCause);

#[derive(Debug)]
struct Entry {
    network: NetworkId,
    frames: u64,
    /// How many of them were told in events.
    told: u64,
    /// When the loss was last seen to grow; `None`: it was there when canhub started.
    last: Option<Instant>,
    /// What people call the end.
    container: Option<String>,
    interface: String,
}

/// What an end lost since it was last told.
#[derive(Debug, PartialEq, Eq)]
pub struct Untold {
    /// The network of the end.
    pub network: NetworkId,
    /// The end.
    pub end: End,
    /// Its container, once Docker has told its name.
    pub container: Option<String>,
    /// Its interface.
    pub interface: String,
    /// All of them.
    pub frames: u64,
    /// By direction and cause.
    pub by: Vec<(Direction, LossCause, u64)>,
}

impl Ledger {
    /// Adds frames. `at`: when they were seen; `None`: before canhub started, which is no news.
    pub(super) fn add(
        &mut self,
        network: &NetworkId,
        end: &End,
        direction: Direction,
        cause: LossCause,
        frames: u64,
        at: Option<Instant>,
    ) {
        if frames == 0 {
            return;
        }
        let entry = self.entries.entry((end.clone(), direction, cause)).or_insert_with(|| Entry {
            network: network.clone(),
            frames: 0,
            told: 0,
            last: None,
            container: None,
            interface: String::new(),
        });
        entry.frames += frames;
        match at {
            Some(_) => entry.last = at,
            None => entry.told += frames,
        }
    }

    /// What an end lost in one direction.
    pub fn lost(&self, end: &End, direction: Direction) -> Lost {
        let mut lost = Lost::default();
        for ((.., cause), entry) in self.entries.range(keys(end, direction)) {
            *lost.of_mut(*cause) += entry.frames;
        }
        lost
    }

    /// All losses of a network, the largest first.
    pub fn of_network(&self, network: &NetworkId, now: Instant) -> Vec<Loss> {
        let of_network = self.entries.iter().filter(|(_, entry)| entry.network == *network);
        let loss = |((end, direction, cause), entry): (&Key, &Entry)| {
            let ago = entry.last.map(|last| now.saturating_duration_since(last));
            Loss {
                endpoint: match end {
                    End::Member(endpoint) => Some(endpoint.clone()),
                    End::Hub(_) => None,
                },
                container: entry.container.clone(),
                interface: entry.interface.clone(),
                direction: *direction,
                cause: *cause,
                frames: entry.frames,
                last_seen: ago.map(crate::clock::rfc3339_ago),
                last_seen_s: ago.map(|ago| ago.as_secs()),
            }
        };
        let mut losses: Vec<Loss> = of_network.map(loss).collect();
        losses.sort_by_key(|loss| std::cmp::Reverse(loss.frames));
        losses
    }

    /// Fills in what people call the ends, while they are known.
    pub fn name(&mut self, name: impl Fn(&End) -> Option<(Option<String>, String)>) {
        for ((end, ..), entry) in &mut self.entries {
            if (entry.container.is_none() || entry.interface.is_empty())
                && let Some((container, interface)) = name(end)
            {
                (entry.container, entry.interface) = (container, interface);
            }
        }
    }

    /// Whether somebody has to be told.
    pub fn is_untold(&self) -> bool {
        self.entries.values().any(|entry| entry.told < entry.frames)
    }

    /// What is due to be told: of each end at most once a minute, all that it lost since.
    pub fn take_untold(&mut self, now: Instant) -> Vec<Untold> {
        let mut untold: Vec<Untold> = Vec::new();
        for ((end, direction, cause), entry) in &mut self.entries {
            let early = |told: &Instant| now.saturating_duration_since(*told) < TOLD_EVERY;
            if entry.told == entry.frames || self.told.get(end).is_some_and(early) {
                continue;
            }
            let frames = entry.frames - std::mem::replace(&mut entry.told, entry.frames);
            let by = (*direction, *cause, frames);
            match untold.last_mut().filter(|last| last.end == *end) {
                Some(last) => {
                    last.frames += frames;
                    last.by.push(by);
                }
                None => untold.push(Untold {
                    network: entry.network.clone(),
                    end: end.clone(),
                    container: entry.container.clone(),
                    interface: entry.interface.clone(),
                    frames,
                    by: vec![by],
                }),
            }
        }
        self.told.extend(untold.iter().map(|untold| (untold.end.clone(), now)));
        untold
    }

    /// Forgets what networks that no longer exist lost, and the oldest losses of ends that no longer exist.
    pub(super) fn retain(&mut self, known: &BTreeSet<End>) {
        self.entries.retain(|_, entry| known.contains(&End::Hub(entry.network.clone())));
        let mut gone: Vec<(NetworkId, Option<Instant>, Key)> = self
            .entries
            .iter()
            .filter(|((end, ..), _)| !known.contains(end))
            .map(|(key, entry)| (entry.network.clone(), entry.last, key.clone()))
            .collect();
        gone.sort();
        for of_network in gone.chunk_by(|one, other| one.0 == other.0) {
            for (.., key) in &of_network[..of_network.len().saturating_sub(KEPT)] {
                self.entries.remove(key);
            }
        }
        self.told.retain(|end, _| known.contains(end));
    }
}

/// The keys of an end's losses in one direction.
fn keys(end: &End, direction: Direction) -> RangeInclusive<Key> {
    let [first, .., last] = LossCause::ALL;
    (end.clone(), direction, first)..=(end.clone(), direction, last)
}

/// The counters of a link as last read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    pub(super) index: u32,
    pub(super) counters: LinkCounters,
    /// Frames that its qdisc dropped; another qdisc counts from zero.
    pub(super) qdisc: u64,
    /// Whether its qdisc drops frames on purpose.
    pub(super) shaped: bool,
    /// Whether it also corrupts frames. Those whose length it corrupts are dropped by the link.
    pub(super) corrupted: bool,
}

impl Counted {
    /// By how much the counters grew. `last`: as they were read before; `None`: the link was not known, and started from
    /// zero if `ours`. A link made anew may have the index of the old one, and then no counter is larger than before.
    pub(super) fn since(self, last: Option<Self>, ours: bool) -> LinkCounters {
        let now = self.counters;
        match last {
            None if ours => now,
            None => LinkCounters::default(),
            Some(last) if last.index != self.index || now.restarted(&last.counters) => now,
            Some(last) => now.minus(&last.counters),
        }
    }

    /// Whether what it dropped since it was read before was dropped on purpose: by its qdisc, by the link itself.
    pub(super) fn on_purpose(self, last: Option<Self>) -> (bool, bool) {
        let last = last.filter(|last| last.index == self.index);
        let was = |flag: fn(&Self) -> bool| flag(&self) || last.as_ref().is_some_and(flag);
        (was(|one| one.shaped), was(|one| one.corrupted))
    }

    /// By how many frames the drops of its qdisc grew.
    pub(super) fn qdisc_since(self, last: Option<Self>) -> u64 {
        let last = last.map_or(0, |last| last.qdisc);
        self.qdisc.checked_sub(last).unwrap_or(self.qdisc)
    }
}
