//! canhub's own counters, in OpenMetrics terms.
//!
//! Only counts what cannot be read later; can-gw counts frames, and these are read at scrape time.

use std::time::Duration;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// Counters by reason. The reasons are a fixed set.
type ByReason = Family<[(&'static str, &'static str); 1], Counter>;

/// A Join takes about a millisecond; dockerd gives up after 30 s.
const JOIN_SECONDS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];

/// A check takes milliseconds or, if it hangs, the time limit of the policy.
const CHECK_SECONDS: [f64; 8] = [0.001, 0.0025, 0.01, 0.05, 0.25, 1.0, 5.0, 30.0];

/// Histograms by kind of component: kernel, docker, state, bus, adapter.
type ByKind = Family<[(&'static str, &'static str); 1], Histogram, fn() -> Histogram>;

/// The counters since the start.
pub struct Counters {
    heals: ByReason,
    heal_failures: ByReason,
    joins: Histogram,
    join_failures: Counter,
    leaves: Counter,
    problems: Gauge,
    audits: Counter,
    overruns: Counter,
    checks: ByKind,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            heals: Family::default(),
            heal_failures: Family::default(),
            joins: Histogram::new(JOIN_SECONDS),
            join_failures: Counter::default(),
            leaves: Counter::default(),
            problems: Gauge::default(),
            audits: Counter::default(),
            overruns: Counter::default(),
            checks: Family::new_with_constructor(|| Histogram::new(CHECK_SECONDS)),
        }
    }
}

impl Counters {
    /// A fault was healed.
    pub(crate) fn healed(&self, reason: &'static str) {
        self.heals.get_or_create(&[("reason", reason)]).inc();
    }

    /// A fault could not be healed.
    pub(crate) fn heal_failed(&self, reason: &'static str) {
        self.heal_failures.get_or_create(&[("reason", reason)]).inc();
    }

    /// A Join succeeded.
    pub(crate) fn joined(&self, took: Duration) {
        self.joins.observe(took.as_secs_f64());
    }

    /// An endpoint was deleted.
    pub(crate) fn left(&self) {
        self.leaves.inc();
    }

    /// A problem was found.
    pub(crate) fn problem(&self) {
        self.problems.inc();
    }

    /// A problem is gone.
    pub(crate) fn problem_over(&self) {
        self.problems.dec();
    }

    /// A Join failed.
    pub(crate) fn join_failed(&self) {
        self.join_failures.inc();
    }

    /// An audit has finished.
    pub(crate) fn audited(&self) {
        self.audits.inc();
    }

    /// A health check has finished. `kind` is one of a fixed set.
    pub(crate) fn checked(&self, kind: &'static str, took: Duration) {
        self.checks.get_or_create(&[("kind", kind)]).observe(took.as_secs_f64());
    }

    /// The kernel dropped link events.
    pub(crate) fn overrun(&self) {
        self.overruns.inc();
    }

    /// The number of heals for this reason.
    pub fn heals(&self, reason: &'static str) -> u64 {
        self.heals.get(&[("reason", reason)]).map_or(0, |counter| counter.get())
    }

    /// Registers the counters.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("heals", "Repairs by reason", self.heals.clone());
        registry.register("heal_failures", "Failed repairs by reason", self.heal_failures.clone());
        let joins = "Duration of successful Joins";
        registry.register_with_unit("join_duration", joins, Unit::Seconds, self.joins.clone());
        registry.register("join_failures", "Joins that failed", self.join_failures.clone());
        registry.register("leaves", "Endpoints deleted", self.leaves.clone());
        registry.register(
            "problems",
            "Current problems that canhub cannot fix by itself",
            self.problems.clone(),
        );
        registry.register("audits", "Completed audits of all buses", self.audits.clone());
        let overruns = "Times that the kernel dropped link events because canhub read them too slowly";
        registry.register("link_event_overruns", overruns, self.overruns.clone());
        let checks = "Duration of health checks; one check covers all buses";
        registry.register_with_unit("health_check_duration", checks, Unit::Seconds, self.checks.clone());
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn a_join_is_observed_in_seconds() {
        let counters = Counters::default();
        counters.joined(Duration::from_micros(1500));
        let mut registry = Registry::default();
        counters.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for sample in ["join_duration_seconds_sum 0.0015", "join_duration_seconds_count 1"] {
            assert!(text.lines().any(|line| line == sample), "{sample} is not in\n{text}");
        }
    }
}
