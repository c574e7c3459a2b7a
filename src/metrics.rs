//! What canhub counts of its own doing, in OpenMetrics terms.
//!
//! Only what cannot be read anywhere later is kept here; frames are counted by can-gw, and read when asked for.

use std::{borrow::Cow, time::Duration};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::events::{Event, Kind};

/// Counters by what was wrong. The reasons are a fixed set of words in the code.
type ByReason = Family<[(&'static str, &'static str); 1], Counter>;

/// A Join takes about a millisecond; dockerd gives up after 30 s.
const JOIN_SECONDS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];

/// A check takes milliseconds, and as long as the policy lets it when it hangs.
const CHECK_SECONDS: [f64; 8] = [0.001, 0.0025, 0.01, 0.05, 0.25, 1.0, 5.0, 30.0];

/// Histograms by the kind of component: kernel, docker, state, bus, adapter.
type ByKind = Family<[(&'static str, &'static str); 1], Histogram, fn() -> Histogram>;

/// What was counted since the start.
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
    pub(crate) fn count(&self, event: &Event) {
        match event.kind {
            Kind::Healed => by_reason(&self.heals, event),
            Kind::HealFailed => by_reason(&self.heal_failures, event),
            Kind::Joined => self.joins.observe(event.took_us.unwrap_or(0) as f64 / 1e6),
            Kind::Left => {
                self.leaves.inc();
            }
            Kind::Problem => {
                self.problems.inc();
            }
            Kind::ProblemOver => {
                self.problems.dec();
            }
            _ => {}
        }
    }

    /// A Join was refused.
    pub(crate) fn join_failed(&self) {
        self.join_failures.inc();
    }

    /// Everything was compared with what is wanted.
    pub(crate) fn audited(&self) {
        self.audits.inc();
    }

    /// The health of something was looked at. `kind` is one of a few words.
    pub(crate) fn checked(&self, kind: &'static str, took: Duration) {
        self.checks.get_or_create(&[("kind", kind)]).observe(took.as_secs_f64());
    }

    /// The kernel had to drop link events.
    pub(crate) fn overrun(&self) {
        self.overruns.inc();
    }

    /// How often something was healed for this reason.
    pub fn heals(&self, reason: &'static str) -> u64 {
        self.heals.get(&[("reason", reason)]).map_or(0, |counter| counter.get())
    }

    /// Puts the counters into a registry, which shares them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("heals", "Repairs, by what was wrong", self.heals.clone());
        registry.register(
            "heal_failures",
            "Repairs that failed, by what was wrong",
            self.heal_failures.clone(),
        );
        let joins = "How long Docker waited for each Join that succeeded";
        registry.register_with_unit("join_duration", joins, Unit::Seconds, self.joins.clone());
        registry.register("join_failures", "Joins that were refused", self.join_failures.clone());
        registry.register("leaves", "Endpoints that were deleted", self.leaves.clone());
        registry.register(
            "problems",
            "What is wrong now and only somebody else can mend",
            self.problems.clone(),
        );
        registry.register(
            "audits",
            "Times that everything was compared with what is wanted",
            self.audits.clone(),
        );
        let overruns = "Times that the kernel dropped link events because they came too fast";
        registry.register("link_event_overruns", overruns, self.overruns.clone());
        let checks = "How long the checks of health took; those of all buses are one look";
        registry.register_with_unit("health_check_duration", checks, Unit::Seconds, self.checks.clone());
    }
}

fn by_reason(counters: &ByReason, event: &Event) {
    // A reason that is not a word of the code would make a series of its own, and who knows how many.
    if let Some(Cow::Borrowed(reason)) = event.reason {
        counters.get_or_create(&[("reason", reason)]).inc();
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    /// The samples of one name, as Prometheus reads them.
    fn samples(counters: &Counters, name: &str) -> Vec<String> {
        let mut registry = Registry::default();
        counters.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
    }

    #[test]
    fn only_reasons_from_the_code_make_a_series() {
        let counters = Counters::default();
        let healed = |reason| Event { reason: Some(reason), ..Event::new(Kind::Healed) };
        counters.count(&healed("the hub was missing".into()));
        counters.count(&healed(String::from("as somebody else puts it").into()));
        assert_eq!(samples(&counters, "heals_total"), [r#"heals_total{reason="the hub was missing"} 1"#]);
    }

    #[test]
    fn a_join_is_observed_in_seconds() {
        let counters = Counters::default();
        counters.count(&Event { took_us: Some(1500), ..Event::new(Kind::Joined) });
        assert_eq!(samples(&counters, "join_duration_seconds_sum"), ["join_duration_seconds_sum 0.0015"]);
        assert_eq!(samples(&counters, "join_duration_seconds_count"), ["join_duration_seconds_count 1"]);
    }
}
