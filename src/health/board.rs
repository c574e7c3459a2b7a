//! The results of all checks, combined by the policy. Pure state: it queries nothing, not even the clock.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use super::{
    component::{Component, HealthReport},
    facts::Facts,
    policy::{Need, Policy},
};
use crate::{
    checks::{ADAPTER_AWAY, Finding, Level},
    clock::{micros, rfc3339},
    names::NetworkId,
    status::HealthStatus,
};

/// The identity of a component, independent of its current name. In the order of the report.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The kernel, and canhub's own check of all buses.
    Kernel,
    /// Docker's API.
    Docker,
    /// canhub's records.
    State,
    /// The health policy, if its file has an error.
    Policy,
    /// A network.
    Bus(NetworkId),
    /// The adapter of a network.
    Adapter(NetworkId),
    /// The span of a network.
    Span(NetworkId),
    /// Another host, by its name.
    Host(String),
    /// A bus, adapter, span, host or expectation that the policy requires by name, but that does not exist.
    Missing(String),
    /// A frame that should be on a bus, by the name of its component.
    Expectation(String),
}

impl Key {
    /// The kind, for metrics; one of a fixed set.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Docker => "docker",
            Self::State => "state",
            Self::Policy => "policy",
            Self::Bus(_) | Self::Missing(_) => "bus",
            Self::Adapter(_) => "adapter",
            Self::Span(_) => "span",
            Self::Host(_) => "host",
            Self::Expectation(_) => "expect",
        }
    }

    fn is_of_a_survey(&self) -> bool {
        matches!(self, Self::Bus(_) | Self::Adapter(_) | Self::Span(_) | Self::Host(_) | Self::Missing(_))
    }
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckResult {
    /// A finding.
    Found(Finding),
    /// Too early to tell, for this reason.
    TooEarly(String),
    /// Cannot be checked from here, for this reason.
    Unwatched(String),
}

/// A change of the health of a component, or of the overall health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The component; `None` for the overall health.
    pub key: Option<Key>,
    /// Its name.
    pub component: String,
    /// The previous status.
    pub from: HealthStatus,
    /// The new status.
    pub to: HealthStatus,
    /// The reason.
    pub reason: String,
}

/// The state of one component.
#[derive(Debug, Clone)]
struct Entry {
    name: String,
    need: Need,
    status: HealthStatus,
    since: SystemTime,
    reason: String,
    fix: Option<String>,
    hint: Option<String>,
    last_check: Option<SystemTime>,
    took: Option<Duration>,
    /// Consecutive checks that found it not healthy.
    failures: u32,
    /// Consecutive checks that found it worse than its current status.
    worse: u32,
}

/// The state of all components.
#[derive(Debug)]
pub struct Board {
    policy: Policy,
    entries: BTreeMap<Key, Entry>,
    overall: HealthStatus,
    since: SystemTime,
    /// The overall status that was reported last.
    told: HealthStatus,
}

impl Board {
    /// A board on which nothing is known yet.
    pub fn new(policy: Policy, now: SystemTime) -> Self {
        let mut board = Self {
            policy,
            entries: BTreeMap::new(),
            overall: HealthStatus::Unhealthy,
            since: now,
            told: HealthStatus::Unknown,
        };
        for (key, name) in [(Key::Kernel, "kernel"), (Key::Docker, "docker"), (Key::State, "state")] {
            board.entry(key, name, now);
        }
        board.overall = board.fold();
        board
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    fn entry(&mut self, key: Key, name: &str, now: SystemTime) -> &mut Entry {
        let need = self.policy.need(name);
        let entry = self.entries.entry(key).or_insert_with(|| Entry {
            name: String::new(),
            need,
            status: HealthStatus::Unknown,
            since: now,
            reason: "not checked yet".to_owned(),
            fix: None,
            hint: None,
            last_check: None,
            took: None,
            failures: 0,
            worse: 0,
        });
        // Docker's API provides a network's name some time after its ID.
        if entry.name != name {
            name.clone_into(&mut entry.name);
        }
        entry.need = need;
        entry
    }

    /// Records the result of a check. Returns the change, if there is one.
    pub fn record(
        &mut self,
        key: Key,
        name: &str,
        outcome: CheckResult,
        took: Option<Duration>,
        now: SystemTime,
    ) -> Option<Change> {
        let threshold = match key {
            // Its judge has decided.
            Key::Expectation(_) => 1,
            _ => self.policy.threshold,
        };
        let entry = self.entry(key.clone(), name, now);
        (entry.last_check, entry.took) = (Some(now), took.or(entry.took));
        let Observed { status, reason, fix, hint } = observed(outcome, entry.need);
        entry.failures = if status.is_well() { 0 } else { entry.failures.saturating_add(1) };
        if status == HealthStatus::Unknown && entry.status != HealthStatus::Unknown {
            // A check that ran too early does not override what is already known.
            return None;
        }
        entry.worse = if status > entry.status { entry.worse.saturating_add(1) } else { 0 };
        if status > entry.status && entry.worse < threshold && entry.status != HealthStatus::Unwatched {
            if entry.status == HealthStatus::Unknown {
                (entry.reason, entry.fix, entry.hint) = (reason, fix, hint);
            }
            return None;
        }
        (entry.reason, entry.fix, entry.hint) = (reason, fix, hint);
        if status == entry.status {
            return None;
        }
        let from = std::mem::replace(&mut entry.status, status);
        (entry.since, entry.worse) = (now, 0);
        // The first good result is not reported.
        let news = !(from == HealthStatus::Unknown && status.is_well());
        let change = || Change {
            key: Some(key),
            component: entry.name.clone(),
            from,
            to: status,
            reason: entry.reason.clone(),
        };
        news.then(change)
    }

    /// Drops the expectations that do not exist any more.
    pub fn retain_expectations(&mut self, exists: impl Fn(&str) -> bool) {
        self.entries.retain(|key, _| !matches!(key, Key::Expectation(name) if !exists(name)));
    }

    /// Whether there is an expectation of this name.
    pub fn expects(&self, component: &str) -> bool {
        self.entries.contains_key(&Key::Expectation(component.to_owned()))
    }

    /// Drops the buses and adapters that the survey did not find.
    pub fn retain(&mut self, met: impl Fn(&Key) -> bool) {
        self.entries.retain(|key, _| !key.is_of_a_survey() || met(key));
    }

    /// The known buses and adapters, with their names.
    pub fn surveyed(&self) -> Vec<(Key, String)> {
        let of_a_survey = self.entries.iter().filter(|(key, _)| key.is_of_a_survey());
        of_a_survey.map(|(key, entry)| (key.clone(), entry.name.clone())).collect()
    }

    /// Whether one of these has failed, but not often enough yet.
    pub fn suspects(&self, of: impl Fn(&Key) -> bool) -> bool {
        self.entries.iter().any(|(key, entry)| of(key) && entry.worse > 0)
    }

    /// Whether it is too early to tell for one of these.
    pub fn is_early(&self, of: impl Fn(&Key) -> bool) -> bool {
        self.entries.iter().any(|(key, entry)| of(key) && entry.status == HealthStatus::Unknown)
    }

    /// Whether there is a component with such a key.
    pub fn has(&self, of: impl Fn(&Key) -> bool) -> bool {
        self.entries.keys().any(of)
    }

    /// Whether this component has been checked.
    pub fn is_settled(&self, key: &Key) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.status != HealthStatus::Unknown)
    }

    /// Whether nothing is wrong.
    pub fn is_well(&self) -> bool {
        self.overall.is_well()
    }

    /// Computes the overall status. Returns the change, if there is one.
    pub fn conclude(&mut self, now: SystemTime) -> Option<Change> {
        let status = self.fold();
        if status != self.overall {
            (self.overall, self.since) = (status, now);
        }
        // Nothing to report until all required components have been checked.
        let early = |entry: &Entry| entry.need == Need::Required && entry.status == HealthStatus::Unknown;
        if status == self.told || self.entries.values().any(early) {
            return None;
        }
        let from = std::mem::replace(&mut self.told, status);
        Some(Change { key: None, component: "overall".to_owned(), from, to: status, reason: self.summary() })
    }

    fn fold(&self) -> HealthStatus {
        let counting = || self.entries.values().filter(|entry| entry.need != Need::Ignored);
        let fails = |entry: &Entry| entry.need == Need::Required && entry.status >= HealthStatus::Unknown;
        if counting().any(fails) {
            HealthStatus::Unhealthy
        } else if counting().any(|entry| !entry.status.is_well()) {
            HealthStatus::Degraded
        } else {
            HealthStatus::Healthy
        }
    }

    fn summary(&self) -> String {
        let unwell = self.entries.values().filter(|entry| !entry.status.is_well());
        let unwell: Vec<String> =
            unwell.map(|entry| format!("{} is {}", entry.name, entry.status.as_str())).collect();
        match &unwell[..] {
            [] => "all is well".to_owned(),
            // Keeps the log line short, however many components there are.
            [first @ .., last] if first.len() < 8 && !first.is_empty() => {
                format!("{} and {last}", first.join(", "))
            }
            [one] => one.clone(),
            many => format!("{} and {} more", many[..8].join(", "), many.len() - 8),
        }
    }

    /// The report for `/v1/health`, without the facts, which the board does not know.
    pub fn report(&self) -> HealthReport {
        let mut components: Vec<(&Key, Component)> =
            self.entries.iter().map(|(key, entry)| (key, entry.component())).collect();
        components.sort_by(|(one_key, one), (other_key, other)| {
            (one_key.kind_order(), &one.component).cmp(&(other_key.kind_order(), &other.component))
        });
        HealthReport {
            status: self.overall,
            since: rfc3339(self.since),
            reason: self.summary(),
            components: components.into_iter().map(|(_, component)| component).collect(),
            facts: Facts::default(),
        }
    }
}

impl Key {
    fn kind_order(&self) -> u8 {
        match self {
            Self::Kernel => 0,
            Self::Docker => 1,
            Self::State => 2,
            Self::Policy => 3,
            Self::Bus(_) => 4,
            Self::Adapter(_) => 5,
            Self::Span(_) => 6,
            Self::Host(_) => 7,
            Self::Missing(_) => 8,
            Self::Expectation(_) => 9,
        }
    }
}

impl Entry {
    fn component(&self) -> Component {
        Component {
            component: self.name.clone(),
            status: self.status,
            required: self.need == Need::Required,
            reason: self.reason.clone(),
            fix: self.fix.clone(),
            hint: self.hint.clone(),
            last_check: self.last_check.map(rfc3339),
            since: rfc3339(self.since),
            took_us: self.took.map(micros),
            failures: self.failures,
        }
    }
}

/// The status of a component according to one check.
struct Observed {
    status: HealthStatus,
    reason: String,
    fix: Option<String>,
    hint: Option<String>,
}

fn observed(outcome: CheckResult, need: Need) -> Observed {
    let plain = |status, reason| Observed { status, reason, fix: None, hint: None };
    match (outcome, need) {
        (_, Need::Ignored) => plain(HealthStatus::Unwatched, "ignored by the health policy".to_owned()),
        (CheckResult::Found(finding), need) => {
            let has_to_be_there = need == Need::Required && finding.check == ADAPTER_AWAY;
            let status = match finding.level {
                Level::Pass => HealthStatus::Healthy,
                Level::Warning if !has_to_be_there => HealthStatus::Degraded,
                Level::Warning | Level::Error => HealthStatus::Unhealthy,
            };
            Observed { status, reason: finding.sentence, fix: finding.fix, hint: finding.hint }
        }
        (CheckResult::TooEarly(reason), _) => plain(HealthStatus::Unknown, reason),
        (CheckResult::Unwatched(reason), Need::Required) => plain(
            HealthStatus::Unhealthy,
            format!("required by the health policy, but cannot be checked: {reason}"),
        ),
        (CheckResult::Unwatched(reason), _) => plain(HealthStatus::Unwatched, reason),
    }
}

#[cfg(test)]
mod tests;
