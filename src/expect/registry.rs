//! All expectations, with what is known of each.
//!
//! The lock guards the list for as long as it takes to read or change it; what is added is on disk before.

use std::time::SystemTime;

use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::{Expectation, expectation::Cycle};
use crate::{
    clock::rfc3339,
    names::NetworkId,
    status::{ExpectationState, ExpectationStatus},
};

/// Where an expectation comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Added with `canhub expect add` or on the admin socket; kept in the state folder.
    Added,
    /// The health policy.
    Policy,
}

/// What is known of an expectation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Whether it is met.
    pub state: ExpectationState,
    /// One sentence: why.
    pub reason: String,
    /// The network, while there is one.
    pub network: Option<NetworkId>,
    /// When the last frame was seen.
    pub last_seen: Option<SystemTime>,
    /// The real cycle.
    pub cycle: Option<std::time::Duration>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            state: ExpectationState::Unknown,
            reason: "not listened for yet".into(),
            network: None,
            last_seen: None,
            cycle: None,
        }
    }
}

/// An expectation and what is known of it.
#[derive(Debug, Clone)]
struct Entry {
    expectation: Expectation,
    /// Its name, which is asked for often.
    component: String,
    source: Source,
    known: State,
    since: SystemTime,
}

/// All expectations.
#[derive(Default)]
pub struct Expectations {
    entries: Mutex<Vec<Entry>>,
    changed: Notify,
    /// Why the records could not be read, so that they are not overwritten.
    pub(crate) unread: Mutex<Option<String>>,
    /// Held while the list is changed and written.
    saving: Mutex<()>,
}

impl Expectations {
    /// Resolves when expectations were added or removed.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Lets one caller at a time change the list and its file.
    pub(crate) fn saving(&self) -> MutexGuard<'_, ()> {
        self.saving.lock()
    }

    /// Those of a source.
    pub fn of(&self, source: Source) -> Vec<Expectation> {
        let entries = self.entries.lock();
        entries.iter().filter(|entry| entry.source == source).map(|entry| entry.expectation.clone()).collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.lock().is_empty()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Expectation> {
        self.entries.lock().iter().map(|entry| entry.expectation.clone()).collect()
    }

    /// The source of the one with this component's name, if it exists.
    pub fn source(&self, component: &str) -> Option<Source> {
        let entries = self.entries.lock();
        entries.iter().find(|entry| entry.component == component).map(|entry| entry.source)
    }

    /// Replaces all expectations of a source. What the policy expects is not expected twice.
    pub fn set(&self, source: Source, wanted: Vec<Expectation>) {
        {
            let mut entries = self.entries.lock();
            let mut old: Vec<Entry> = std::mem::take(&mut *entries);
            let others: Vec<Entry> = old.extract_if(.., |entry| entry.source != source).collect();
            let policy = |component: &str| {
                others.iter().any(|entry| entry.source == Source::Policy && entry.component == component)
            };
            let mut new: Vec<Entry> = Vec::new();
            for expectation in wanted {
                let component = expectation.component();
                let twice = new.iter().any(|entry| entry.component == component);
                if twice || policy(&component) {
                    continue;
                }
                let known = old.iter().position(|entry| entry.expectation == expectation);
                new.push(known.map_or_else(
                    || Entry {
                        expectation,
                        component,
                        source,
                        known: State::default(),
                        since: SystemTime::now(),
                    },
                    |at| old.swap_remove(at),
                ));
            }
            let taken = |entry: &Entry| {
                source == Source::Policy && new.iter().any(|new| new.component == entry.component)
            };
            let others: Vec<Entry> = others.into_iter().filter(|entry| !taken(entry)).collect();
            new.extend(others);
            new.sort_by(|one, other| one.component.cmp(&other.component));
            *entries = new;
        }
        self.changed.notify_one();
    }

    /// Records what is known of an expectation, if it still exists.
    pub fn know(&self, component: &str, known: State) {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.iter_mut().find(|entry| entry.component == component) {
            if entry.known.state != known.state {
                entry.since = SystemTime::now();
            }
            entry.known = known;
        }
    }

    /// Some of them, as shown.
    pub fn report_of(&self, of: impl Fn(&str) -> bool) -> Vec<ExpectationStatus> {
        let entries = self.entries.lock();
        entries.iter().filter(|entry| of(&entry.component)).map(Entry::report).collect()
    }

    /// All of them, as shown.
    pub fn report(&self) -> Vec<ExpectationStatus> {
        self.entries.lock().iter().map(Entry::report).collect()
    }
}

impl Entry {
    fn report(&self) -> ExpectationStatus {
        let Self { expectation, component, source, known, since } = self;
        ExpectationStatus {
            component: component.clone(),
            bus: expectation.bus.clone(),
            network: known.network.clone(),
            id: expectation.id.to_string(),
            from: expectation.from.clone(),
            every: Cycle(expectation.every).to_string(),
            within: format!("{}%", expectation.within),
            source: *source,
            state: known.state,
            reason: known.reason.clone(),
            since: rfc3339(*since),
            last_seen: known.last_seen.map(rfc3339),
            cycle_ms: known.cycle.map(|cycle| (cycle.as_secs_f64() * 1e5).round() / 100.0),
        }
    }
}

impl ExpectationStatus {
    /// `1A0 on body from door`.
    pub fn name(&self) -> String {
        let from = self.from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
        format!("{} on {}{from}", self.id, self.bus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expectation(id: &str, every: &str) -> Expectation {
        let wish = super::super::Wish {
            bus: "body".into(),
            id: id.into(),
            every: every.into(),
            from: None,
            within: None,
        };
        wish.try_into().unwrap()
    }

    #[test]
    fn what_is_known_stays_when_others_are_added_and_goes_with_its_expectation() {
        let all = Expectations::default();
        all.set(Source::Added, vec![expectation("1A0", "20ms")]);
        let up = State { state: ExpectationState::Up, ..State::default() };
        all.know("expect:body:1A0", up);
        all.know("expect:body:777", State::default());
        all.set(Source::Added, vec![expectation("100", "20ms"), expectation("1A0", "20ms")]);
        let states: Vec<_> = all.report().into_iter().map(|one| (one.id, one.state)).collect();
        assert_eq!(states, [("100".into(), ExpectationState::Unknown), ("1A0".into(), ExpectationState::Up)]);
        // Another cycle is another expectation.
        all.set(Source::Added, vec![expectation("1A0", "30ms")]);
        assert_eq!(all.report()[0].state, ExpectationState::Unknown);
    }

    #[test]
    fn the_policy_wins_over_what_was_added() {
        let all = Expectations::default();
        all.set(Source::Added, vec![expectation("1A0", "20ms"), expectation("1A1", "20ms")]);
        all.set(Source::Policy, vec![expectation("1A0", "50ms")]);
        assert_eq!(all.of(Source::Policy), [expectation("1A0", "50ms")]);
        assert_eq!(all.of(Source::Added), [expectation("1A1", "20ms")]);
        all.set(Source::Added, vec![expectation("1A0", "20ms")]);
        assert_eq!(all.all(), [expectation("1A0", "50ms")]);
        assert_eq!(all.source("expect:body:1A0"), Some(Source::Policy));
    }
}
