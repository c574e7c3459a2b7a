//! Events. A single call writes the log line, publishes the event and updates the metrics.
//!
//! So the three always agree. Publishing never blocks: a listener that is too slow misses events and is told how many,
//! without an effect on others.

mod event;
mod feed;

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use parking_lot::Mutex;

pub use event::{Event, Kind};
pub use feed::{Entry, FeedItem, KEPT, Reader};

use crate::{
    metrics::Counters,
    names::{EndpointId, NetworkId},
};
use feed::Feed;

/// Logs, counts and publishes events.
#[derive(Default)]
pub struct Events {
    feed: Feed,
    counters: Counters,
    heals: Mutex<Heals>,
}

impl Events {
    /// Logs, counts and publishes an event.
    pub fn tell(&self, event: Event) {
        event.log();
        self.count(&event);
        self.feed.publish(event);
    }

    /// Only counts the event, for a recurring fault that is summed up later.
    pub fn count(&self, event: &Event) {
        count(&self.counters, event);
        self.heals.lock().count(event);
    }

    /// Subscribes to new events, preceded by up to `last` kept ones.
    pub fn listen(&self, last: usize) -> Reader {
        self.feed.listen(last)
    }

    /// The counters since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Number of heals of a network since the start.
    pub fn heals_of_network(&self, id: &NetworkId) -> u64 {
        self.heals.lock().0.get(id).map_or(0, |network| network.values().sum())
    }

    /// Number of heals of an endpoint since the start.
    pub fn heals_of_endpoint(&self, network: &NetworkId, id: &EndpointId) -> u64 {
        let heals = self.heals.lock();
        heals.0.get(network).and_then(|network| network.get(&Some(id.clone()))).copied().unwrap_or(0)
    }
}

fn count(counters: &Counters, event: &Event) {
    // A reason that is not one of the fixed set would create a series of its own, without any bound.
    let reason = match event.reason {
        Some(Cow::Borrowed(reason)) => Some(reason),
        _ => None,
    };
    match (event.kind, reason) {
        (Kind::Healed, Some(reason)) => counters.healed(reason),
        (Kind::HealFailed, Some(reason)) => counters.heal_failed(reason),
        (Kind::Joined, _) => counters.joined(Duration::from_micros(event.took_us.unwrap_or(0))),
        (Kind::Left, _) => counters.left(),
        (Kind::Problem, _) => counters.problem(),
        (Kind::ProblemOver, _) => counters.problem_over(),
        _ => {}
    }
}

/// Heals per existing network and endpoint; `None` counts the hub, the rules, and endpoints that are gone.
#[derive(Debug, Default)]
struct Heals(BTreeMap<NetworkId, BTreeMap<Option<EndpointId>, u64>>);

impl Heals {
    fn count(&mut self, event: &Event) {
        let Some(id) = &event.network else { return };
        match event.kind {
            Kind::Healed => {
                *self.0.entry(id.clone()).or_default().entry(event.endpoint.clone()).or_default() += 1;
            }
            Kind::Left => {
                if let Some(network) = self.0.get_mut(id)
                    && let Some(heals) = network.remove(&event.endpoint)
                {
                    *network.entry(None).or_default() += heals;
                }
            }
            Kind::NetworkDeleted => drop(self.0.remove(id)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: Kind, endpoint: Option<&str>) -> Event {
        Event {
            network: Some("a1".repeat(32).try_into().unwrap()),
            endpoint: endpoint.map(|id| id.to_owned().try_into().unwrap()),
            reason: Some("the hub was missing".into()),
            ..Event::new(kind)
        }
    }

    #[test]
    fn tell_publishes_and_counts_and_count_does_not_publish() {
        let events = Events::default();
        events.tell(event(Kind::Healed, None));
        events.tell(event(Kind::Healed, Some("e1")));
        events.count(&event(Kind::Healed, Some("e1")));
        assert_eq!(events.listen(KEPT).backlog(), 2);
        assert_eq!(events.counters().heals("the hub was missing"), 3);
        let network = "a1".repeat(32).try_into().unwrap();
        assert_eq!(events.heals_of_network(&network), 3);
        assert_eq!(events.heals_of_endpoint(&network, &"e1".to_owned().try_into().unwrap()), 2);
    }

    #[test]
    fn only_reasons_from_the_code_are_counted() {
        let events = Events::default();
        let healed = |reason| Event { reason: Some(reason), ..Event::new(Kind::Healed) };
        events.count(&healed("the hub was missing".into()));
        events.count(&healed(String::from("the hub was missing").into()));
        assert_eq!(events.counters().heals("the hub was missing"), 1);
    }

    #[test]
    fn heals_of_an_endpoint_that_left_count_for_its_network_until_it_is_deleted() {
        let events = Events::default();
        let network = "a1".repeat(32).try_into().unwrap();
        events.count(&event(Kind::Healed, Some("e1")));
        events.count(&event(Kind::Left, Some("e1")));
        assert_eq!(events.heals_of_network(&network), 1);
        assert_eq!(events.heals_of_endpoint(&network, &"e1".to_owned().try_into().unwrap()), 0);
        events.count(&event(Kind::NetworkDeleted, None));
        assert!(events.heals.lock().0.is_empty(), "deleted networks leave no entries");
    }
}
