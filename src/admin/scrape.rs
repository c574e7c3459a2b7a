//! `/metrics`: what was counted since the start, and what the kernel counts, read now.

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet, text::encode},
    metrics::{MetricType, gauge::ConstGauge, info::Info},
    registry::{Registry, Unit},
};

use crate::{
    error::Error,
    health::{Component, Report},
    manager::{Depth, Manager},
    status::{BusStatus, Count, Traffic},
};

/// All metrics. It may block for as long as the kernel does.
///
/// # Errors
/// When the kernel cannot be read.
pub(super) fn text(manager: &Manager, health: &Report) -> Result<String, Error> {
    let (buses, _) = manager.survey(Depth::Frames)?;
    let mut registry = Registry::with_prefix("canhub");
    registry.register("build", "This canhub", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    manager.events().counters().register(&mut registry);
    if let Some(age) = manager.audit_age() {
        let help = "Time since everything was compared with what is wanted";
        registry.register_with_unit("audit_age", help, Unit::Seconds, ConstGauge::new(age.as_secs_f64()));
    }
    let late = "Containers that Docker gave up on because canhub was not there";
    registry.register("late_containers", late, gauge(manager.late().len()));
    registry.register("buses", "Docker networks", gauge(buses.len()));
    registry.register(
        "members",
        "Containers on each bus",
        Series { kind: MetricType::Gauge, samples: members(&buses) },
    );
    registry.register(
        "frames_handled",
        "Frames that can-gw sent on, from a member (out) once for each frame, to a member (in), as far as the rules that stand have counted",
        frames(&buses, |count| count.handled),
    );
    registry.register(
        "frames_dropped",
        "Frames that a destination did not take, because it was down or full",
        frames(&buses, |count| count.dropped),
    );
    let levels = "0 healthy, 1 degraded, 2 unhealthy or not known yet";
    registry.register("health", format!("How all is: {levels}"), ConstGauge::new(health.status.as_number()));
    registry.register(
        "health_component",
        format!("How each component is: {levels}"),
        Series { kind: MetricType::Gauge, samples: components(health) },
    );
    let mut text = String::new();
    // A text in memory takes all that is written to it.
    let _ = encode(&mut text, &registry);
    Ok(text)
}

fn gauge(count: usize) -> ConstGauge<u64> {
    ConstGauge::new(count as u64)
}

type Labels = Vec<(&'static str, String)>;

/// Samples of one metric that are read when asked for.
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

fn labels_of(bus: &BusStatus) -> Labels {
    vec![("network", bus.network.short().to_owned()), ("network_name", bus.network_name.clone())]
}

fn components(health: &Report) -> Vec<(Labels, u64)> {
    let sample = |one: &Component| {
        let labels = vec![("component", one.component.clone()), ("required", one.required.to_string())];
        (labels, one.status.as_number())
    };
    health.components.iter().map(sample).collect()
}

fn members(buses: &[BusStatus]) -> Vec<(Labels, u64)> {
    let joined =
        |bus: &BusStatus| bus.members.iter().filter(|member| member.stage.sandbox().is_some()).count();
    buses.iter().map(|bus| (labels_of(bus), joined(bus) as u64)).collect()
}

/// Two series for each member, and two for the hub, which has no endpoint.
fn frames(buses: &[BusStatus], pick: impl Fn(Count) -> u64) -> Series {
    let mut samples = Vec::new();
    let mut add = |labels: &Labels, traffic: Traffic| {
        for (direction, count) in [("in", traffic.frames_in), ("out", traffic.frames_out)] {
            let labels = [labels.as_slice(), &[("direction", direction.to_owned())]].concat();
            samples.push((labels, pick(count)));
        }
    };
    for bus in buses {
        let of_bus = labels_of(bus);
        add(&[of_bus.as_slice(), &[("interface", bus.hub.to_string())]].concat(), bus.traffic);
        for member in &bus.members {
            let of_member = [
                ("endpoint", member.endpoint.short().to_owned()),
                ("container", member.container.clone().unwrap_or_default()),
                ("interface", member.interface.clone()),
            ];
            add(&[of_bus.as_slice(), &of_member].concat(), member.traffic);
        }
    }
    Series { kind: MetricType::Counter, samples }
}
