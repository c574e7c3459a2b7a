//! `/metrics`: canhub's own counters, and current values from the kernel.

mod span;

use std::collections::BTreeMap;

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet, text::encode},
    metrics::{MetricType, gauge::ConstGauge, info::Info},
    registry::{Registry, Unit},
};

use crate::{
    error::Error,
    health::{Component, HealthReport},
    manager::{Depth, Manager},
    network::Ownership,
    status::{
        BusStatus, Count, Direction, ExpectationState, ExpectationStatus, FaultStatus, LossCause, Traffic,
    },
};

/// All metrics as text. May block for as long as the kernel does.
///
/// # Errors
/// When the kernel cannot be read.
pub(super) fn text(manager: &Manager, health: &HealthReport) -> Result<String, Error> {
    let (buses, _) = manager.survey(Depth::Frames)?;
    let mut registry = Registry::with_prefix("canhub");
    registry.register("build", "canhub version", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    manager.events().counters().register(&mut registry);
    if let Some(age) = manager.signals().audit_age() {
        let help = "Time since the last audit of all buses";
        registry.register_with_unit("audit_age", help, Unit::Seconds, ConstGauge::new(age.as_secs_f64()));
    }
    let late = "Containers that Docker failed to start because canhub was not running";
    registry.register("late_containers", late, gauge(manager.late().len()));
    registry.register("buses", "Buses, one per Docker network", gauge(buses.len()));
    registry.register(
        "members",
        "Containers on each bus",
        Series { kind: MetricType::Gauge, samples: members(&buses) },
    );
    registry.register(
        "frames_handled",
        "Frames that can-gw forwarded: from a member (out), each counted once, and to a member (in)",
        frames(&buses, |count| count.handled),
    );
    registry.register(
        "frames_dropped",
        "Frames that can-gw could not deliver because the destination was down or refused them",
        frames(&buses, |count| count.dropped),
    );
    registry.register(
        "frames_lost",
        "Frames that were lost on their way to a member (in) or from it (out), by cause. What a program's own socket loses is not among them",
        losses(&buses),
    );
    registry.register(
        "frames_dropped_on_purpose",
        "Frames from a container (out) or to it (in) that its shape dropped; they are neither lost nor dropped otherwise",
        dropped_on_purpose(&buses),
    );
    for (name, help, series) in adapters(&buses) {
        registry.register(name, help, series);
    }
    let expected = manager.expectations().report();
    registry.register(
        "expectation_up",
        "1 if the expected frame comes as it should, 0 if not or not yet",
        Series { kind: MetricType::Gauge, samples: expectations(&expected) },
    );
    let cycle = "Real cycle of the expected frame, averaged over the last ones";
    registry.register_with_unit("expectation_cycle", cycle, Unit::Seconds, cycles(&expected));
    registry.register(
        "faults",
        "Faults on purpose in effect, by what they do to whom; container is empty for those of all members",
        Series { kind: MetricType::Gauge, samples: faults(&manager.faults()) },
    );
    span::register(&mut registry, manager.spans().program().as_ref(), &buses);
    let levels = "0 healthy, 1 degraded, 2 unhealthy or unknown";
    registry.register(
        "health",
        format!("Overall health: {levels}"),
        ConstGauge::new(health.status.as_number()),
    );
    registry.register(
        "health_component",
        format!("Health of each component: {levels}"),
        Series { kind: MetricType::Gauge, samples: components(health) },
    );
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = encode(&mut text, &registry);
    Ok(text)
}

fn gauge(count: usize) -> ConstGauge<u64> {
    ConstGauge::new(count as u64)
}

type Labels = Vec<(&'static str, String)>;

/// Samples of a metric whose values are read at scrape time.
#[derive(Debug)]
struct Series {
    kind: MetricType,
    samples: Vec<(Labels, u64)>,
}

impl EncodeMetric for Series {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (labels, value) in &self.samples {
            let mut encoder = encoder.encode_family(labels)?;
            match self.kind {
                MetricType::Counter => encoder.encode_counter::<NoLabelSet, _, u64>(value, None)?,
                _ => encoder.encode_gauge(value)?,
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        self.kind
    }
}

/// Samples that are no whole numbers.
#[derive(Debug)]
struct Measures(Vec<(Labels, f64)>);

impl EncodeMetric for Measures {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.iter().try_for_each(|(labels, value)| encoder.encode_family(labels)?.encode_gauge(value))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

fn labels_of_expectation(one: &ExpectationStatus) -> Labels {
    let from = one.from.clone().unwrap_or_default();
    vec![("network_name", one.bus.clone()), ("id", one.id.clone()), ("from", from)]
}

/// Of those that have a bus.
fn expectations(all: &[ExpectationStatus]) -> Vec<(Labels, u64)> {
    let with_bus = all.iter().filter(|one| one.state != ExpectationState::NoBus);
    with_bus.map(|one| (labels_of_expectation(one), u64::from(one.state == ExpectationState::Up))).collect()
}

fn cycles(all: &[ExpectationStatus]) -> Measures {
    let cycle = |one: &ExpectationStatus| Some((labels_of_expectation(one), one.cycle_ms? / 1e3));
    Measures(all.iter().filter_map(cycle).collect())
}

/// Two faults may do the same to the same member.
fn faults(all: &[FaultStatus]) -> Vec<(Labels, u64)> {
    let mut counts: BTreeMap<Labels, u64> = BTreeMap::new();
    for (fault, effect) in
        all.iter().flat_map(|fault| fault.effects.iter().map(move |effect| (fault, effect)))
    {
        let kind = effect.split('=').next().unwrap_or_default();
        let labels = vec![
            ("network", fault.network.short().to_owned()),
            ("network_name", fault.network_name.clone()),
            ("container", fault.member.clone().unwrap_or_default()),
            ("fault", kind.to_owned()),
        ];
        *counts.entry(labels).or_default() += 1;
    }
    counts.into_iter().collect()
}

fn labels_of(bus: &BusStatus) -> Labels {
    vec![("network", bus.network.short().to_owned()), ("network_name", bus.network_name.clone())]
}

fn components(health: &HealthReport) -> Vec<(Labels, u64)> {
    let sample = |one: &Component| {
        let labels = vec![("component", one.component.clone()), ("required", one.required.to_string())];
        (labels, one.status.as_number())
    };
    health.components.iter().map(sample).collect()
}

fn members(buses: &[BusStatus]) -> Vec<(Labels, u64)> {
    buses.iter().map(|bus| (labels_of(bus), bus.joined().count() as u64)).collect()
}

/// All states of an adapter, so that each has a series from the start.
const STATES: [&str; 7] =
    ["waiting", "error-active", "error-warning", "error-passive", "bus-off", "stopped", "sleeping"];

/// Metrics of the adapters' controllers. A missing adapter has the state "waiting" and no other series.
fn adapters(buses: &[BusStatus]) -> [(&'static str, &'static str, Series); 4] {
    let [mut states, mut errors, mut bus_offs, mut restarts] = [const { Vec::new() }; 4];
    for bus in buses.iter().filter(|bus| bus.waiting || bus.adapter.is_some()) {
        let labels = with(&labels_of(bus), "interface", bus.interface());
        let now = bus.adapter.as_ref().map_or("waiting", |adapter| &adapter.state);
        for state in STATES {
            states.push((with(&labels, "state", state), u64::from(state == now)));
        }
        let Some(adapter) = &bus.adapter else { continue };
        for (direction, count) in [("tx", adapter.tx_errors), ("rx", adapter.rx_errors)] {
            errors.extend(count.map(|count| (with(&labels, "direction", direction), count.into())));
        }
        bus_offs.push((labels.clone(), adapter.bus_offs));
        restarts.push((labels, adapter.restarts));
    }
    let gauge = |samples| Series { kind: MetricType::Gauge, samples };
    let counter = |samples| Series { kind: MetricType::Counter, samples };
    [
        ("adapter_state", "1 for the current state of the adapter, 0 for the others", gauge(states)),
        ("adapter_errors", "Error counters of the controller, if its driver reports them", gauge(errors)),
        ("adapter_bus_offs", "Times that the controller went bus-off", counter(bus_offs)),
        ("adapter_restarts", "Times that the controller was restarted", counter(restarts)),
    ]
}

fn with(labels: &Labels, name: &'static str, value: &str) -> Labels {
    [labels.as_slice(), &[(name, value.to_owned())]].concat()
}

/// Two series per end.
fn frames(buses: &[BusStatus], pick: impl Fn(Count) -> u64) -> Series {
    let series = |(labels, traffic, _): (Labels, Traffic, Possible)| {
        [("in", traffic.frames_in), ("out", traffic.frames_out)]
            .map(|(direction, count)| (with(&labels, "direction", direction), pick(count)))
    };
    Series { kind: MetricType::Counter, samples: ends(buses).flat_map(series).collect() }
}

/// Two series per container.
fn dropped_on_purpose(buses: &[BusStatus]) -> Series {
    let series = |(labels, traffic, _): (Labels, Traffic, Possible)| {
        let counts = [("in", traffic.dropped_on_purpose_in), ("out", traffic.dropped_on_purpose_out)];
        counts.map(|(direction, count)| (with(&labels, "direction", direction), count))
    };
    let is_container =
        |(labels, ..): &(Labels, Traffic, Possible)| labels.iter().any(|(name, _)| *name == "endpoint");
    Series { kind: MetricType::Counter, samples: ends(buses).filter(is_container).flat_map(series).collect() }
}

/// One series per end, direction and cause that is possible there.
fn losses(buses: &[BusStatus]) -> Series {
    let series = |(labels, traffic, possible): (Labels, Traffic, Possible)| {
        possible.iter().map(move |(direction, cause)| {
            let lost = match direction {
                Direction::In => traffic.lost_in,
                Direction::Out => traffic.lost_out,
            };
            let labels = with(&with(&labels, "direction", direction.as_str()), "cause", cause.as_str());
            (labels, lost.of(*cause))
        })
    };
    Series { kind: MetricType::Counter, samples: ends(buses).flat_map(series).collect() }
}

type Possible = &'static [(Direction, LossCause)];
const OF_MEMBERS: Possible = &[
    (Direction::In, LossCause::Rule),
    (Direction::In, LossCause::Down),
    (Direction::In, LossCause::Backlog),
    (Direction::Out, LossCause::Down),
    (Direction::Out, LossCause::Qdisc),
    (Direction::Out, LossCause::Backlog),
];
const OF_HUBS: Possible = &[(Direction::In, LossCause::Rule), (Direction::In, LossCause::Backlog)];
const OF_ADAPTERS: Possible = &[
    (Direction::In, LossCause::Rule),
    (Direction::In, LossCause::Backlog),
    (Direction::In, LossCause::Adapter),
    (Direction::In, LossCause::Away),
    (Direction::Out, LossCause::Adapter),
];

/// The ends of all buses with how frames can be lost there. A hub and a span port have no endpoint.
fn ends(buses: &[BusStatus]) -> impl Iterator<Item = (Labels, Traffic, Possible)> {
    buses.iter().flat_map(|bus| {
        let of_bus = labels_of(bus);
        let possible = if bus.owner == Ownership::Owned { OF_HUBS } else { OF_ADAPTERS };
        let hub = (with(&of_bus, "interface", &bus.hub), bus.traffic, possible);
        let members = bus.members.iter().map(move |member| {
            let of_member = [
                ("endpoint", member.endpoint.short().to_owned()),
                ("container", member.container.clone().unwrap_or_default()),
                ("interface", member.interface.clone()),
            ];
            ([of_bus.as_slice(), &of_member].concat(), member.traffic, OF_MEMBERS)
        });
        let span = bus.span.iter().map(move |span| {
            let of_span = [("container", span.name.member()), ("interface", span.interface.clone())];
            ([labels_of(bus).as_slice(), &of_span].concat(), span.traffic, OF_MEMBERS)
        });
        std::iter::once(hub).chain(members).chain(span)
    })
}
