//! Changes of adapters since the last pass: vanished, appeared, went bus-off. What is wrong with an adapter now is a
//! problem in the plan.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    events::{Event, Events, Kind},
    kernel::{BusState, Link},
    manager::took_us,
    model::Model,
    names::NetworkId,
    network::Hub,
    plan::{Have, Want, carriers, unread_adapter},
};

/// With `restart-ms`, an adapter on a broken bus goes bus-off many times a second; this is the minimum time between
/// reports.
const BUS_OFF_TOLD: Duration = Duration::from_secs(60);

/// A change of a bus's adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AdapterChange {
    pub(super) network: NetworkId,
    /// The adapter's name, before or now.
    pub(super) interface: String,
    pub(super) kind: ChangeKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChangeKind {
    /// It disappeared.
    Vanished,
    /// It, or another one in its place, appeared.
    Appeared,
    /// It went bus-off this many times since the last report.
    BusOff(u32),
}

/// The adapters of all buses as last reported.
#[derive(Debug, Default)]
pub(super) struct Adapters(BTreeMap<NetworkId, Option<LastSeen>>);

#[derive(Debug, Clone)]
struct LastSeen {
    index: u32,
    interface: String,
    off: bool,
    /// The kernel's counter.
    bus_offs: u32,
    /// Bus-offs not reported yet.
    untold: u32,
    told: Option<Instant>,
}

impl Adapters {
    /// Compares the adapters with those of the last pass. On the first pass, neither a present nor a missing adapter is
    /// news.
    pub(super) fn look(&mut self, want: &Want, have: &Have, now: Instant) -> Vec<AdapterChange> {
        let mut news = Vec::new();
        let mut before = std::mem::take(&mut self.0);
        for bus in &want.buses {
            let Hub::Adapter(adapter) = &bus.hub else { continue };
            let mut seen = match carriers(adapter, have)[..] {
                [link] => Some(LastSeen::new(link)),
                [] if unread_adapter(adapter, have).is_some() => {
                    // Unknown, so nothing is reported, and the next pass compares with the last known state.
                    let last = before.remove(&bus.network);
                    self.0.extend(last.map(|last| (bus.network.clone(), last)));
                    continue;
                }
                _ => None,
            };
            let mut tell = |interface: &str, kind| {
                news.push(AdapterChange {
                    network: bus.network.clone(),
                    interface: interface.to_owned(),
                    kind,
                });
            };
            match (before.remove(&bus.network), &mut seen) {
                (Some(Some(old)), None) => tell(&old.interface, ChangeKind::Vanished),
                (Some(None), Some(new)) => tell(&new.interface, ChangeKind::Appeared),
                (Some(Some(old)), Some(new)) if old.index != new.index => {
                    tell(&new.interface, ChangeKind::Appeared)
                }
                (Some(Some(old)), Some(new)) => {
                    if let Some(times) = new.bus_offs_since(&old, now) {
                        tell(&new.interface, ChangeKind::BusOff(times));
                    }
                }
                (None, Some(new)) if new.off => {
                    new.told = Some(now);
                    tell(&new.interface, ChangeKind::BusOff(1));
                }
                (Some(None), None) | (None, _) => {}
            }
            self.0.insert(bus.network.clone(), seen);
        }
        news
    }
}

impl LastSeen {
    fn new(link: &Link) -> Self {
        let controller = link.controller.as_deref();
        Self {
            index: link.index,
            interface: link.name.clone(),
            off: controller.is_some_and(|controller| controller.state == BusState::BusOff),
            bus_offs: controller.map_or(0, |controller| controller.history.bus_off),
            untold: 0,
            told: None,
        }
    }

    /// The number of bus-offs to report, if a report is due.
    fn bus_offs_since(&mut self, old: &Self, now: Instant) -> Option<u32> {
        // If the driver has no counter, at least the state is seen.
        let seen = u32::from(self.off && !old.off);
        self.untold = old.untold + self.bus_offs.saturating_sub(old.bus_offs).max(seen);
        let due = old.told.is_none_or(|told| now.duration_since(told) >= BUS_OFF_TOLD);
        if self.untold == 0 || !due {
            self.told = old.told;
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

/// Adapters that appeared in this pass: all their repairs are one log line.
#[derive(Debug, Default)]
pub(super) struct Arrivals(BTreeMap<NetworkId, Arrival>);

#[derive(Debug)]
struct Arrival {
    interface: String,
    did: Vec<String>,
    found: Instant,
}

impl Arrivals {
    pub(super) fn add(&mut self, network: NetworkId, interface: String, found: Instant) {
        self.0.insert(network, Arrival { interface, did: Vec::new(), found });
    }

    /// Whether a heal belongs to an arrival, which then reports it.
    pub(super) fn take_in(&mut self, healed: &Event) -> bool {
        let network = healed.network.as_ref().filter(|_| healed.endpoint.is_none());
        let Some(arrival) = network.and_then(|network| self.0.get_mut(network)) else { return false };
        arrival.did.extend(healed.did.clone());
        true
    }

    /// Reports each arrival with its repairs.
    pub(super) fn tell(self, events: &Events, model: &Model) {
        for (network, Arrival { interface, did, found }) in self.0 {
            events.tell(Event {
                interface: Some(interface),
                did: Some(did.join("; ")).filter(|did| !did.is_empty()),
                took_us: Some(took_us(found)),
                ..Event::of_network(Kind::AdapterAppeared, model, &network)
            });
        }
    }
}
