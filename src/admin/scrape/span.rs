//! Metrics of spans and of the other hosts. Without a span there are none.

use prometheus_client::{
    metrics::{MetricType, gauge::ConstGauge},
    registry::{Registry, Unit},
};

use super::{Labels, Measures, Series, with};
use crate::status::{BusStatus, HostStatus, SpanProgram, SpanStatus};

/// Registers all of them.
pub(super) fn register(registry: &mut Registry, own: Option<&SpanProgram>, buses: &[BusStatus]) {
    let Some(own) = own else { return };
    let spans: Vec<(Labels, &SpanStatus)> = buses.iter().filter_map(of_bus).collect();
    let hosts: Vec<(Labels, &HostStatus)> = spans
        .iter()
        .flat_map(|(labels, span)| {
            span.hosts.iter().map(move |host| (with(labels, "host", &host.name), host))
        })
        .collect();
    let gauge = |samples| Series { kind: MetricType::Gauge, samples };
    let counter = |samples| Series { kind: MetricType::Counter, samples };
    let running = "1 if canhub-span, which connects buses with those of other hosts, is running";
    registry.register("span_up", running, ConstGauge::new(u64::from(own.running)));
    registry.register(
        "span_stopped",
        "1 if a span carries nothing: its frames went in circles, or this host has no right for it",
        gauge(spans.iter().map(|(labels, span)| (labels.clone(), u64::from(span.stopped))).collect()),
    );
    registry.register(
        "span_host_up",
        "1 if the other host is online on this span",
        gauge(hosts.iter().map(|(labels, host)| (labels.clone(), u64::from(host.online))).collect()),
    );
    registry.register(
        "span_frames",
        "Frames that came from another host (in) or were sent to it (out)",
        counter(each(&hosts, "direction", |host| vec![("in", host.frames_in), ("out", host.frames_out)])),
    );
    registry.register(
        "span_host_frames_lost",
        "Frames of another host that did not reach this bus, by cause",
        counter(each(&hosts, "cause", |host| {
            vec![
                ("lost", host.lost),
                ("too-old", host.too_old),
                ("refused", host.refused),
                ("looped", host.looped),
            ]
        })),
    );
    registry.register(
        "span_frames_lost",
        "Frames that canhub-span dropped on this host, by cause",
        counter(each(&spans, "cause", |span| {
            vec![
                ("missed", span.missed),
                ("port", span.lost_at_port),
                ("stopped", span.held_back),
                ("write", span.write_errors),
                ("too-old-before-sending", span.too_old.before_sending),
                ("too-old-on-arrival", span.too_old.on_arrival),
                ("too-old-before-wire", span.too_old.before_wire),
            ]
        })),
    );
    let delay = "One-way delay of frames from another host in the last 10 s";
    registry.register_with_unit("span_delay", delay, Unit::Seconds, Measures(delays(&hosts)));
    let offset = "The clock of another host minus this host's";
    registry.register_with_unit("span_clock_offset", offset, Unit::Seconds, Measures(offsets(&hosts)));
    let expiry = "Time until the certificate of a host expires; negative once it has";
    registry.register_with_unit(
        "span_certificate_left",
        expiry,
        Unit::Seconds,
        Measures(certificates(own, &hosts)),
    );
}

fn of_bus(bus: &BusStatus) -> Option<(Labels, &SpanStatus)> {
    let span = bus.span.as_ref()?;
    Some((vec![("span", span.name.to_string()), ("network_name", bus.network_name.clone())], span))
}

fn each<T>(
    all: &[(Labels, &T)],
    label: &'static str,
    counts: impl Fn(&T) -> Vec<(&'static str, u64)>,
) -> Vec<(Labels, u64)> {
    let samples = |(labels, one): &(Labels, &T)| {
        counts(one).into_iter().map(|(value, count)| (with(labels, label, value), count)).collect::<Vec<_>>()
    };
    all.iter().flat_map(samples).collect()
}

fn seconds(us: f64) -> f64 {
    us / 1e6
}

fn delays(hosts: &[(Labels, &HostStatus)]) -> Vec<(Labels, f64)> {
    let known = hosts.iter().filter_map(|(labels, host)| Some((labels, host.delay_us?)));
    known
        .flat_map(|(labels, delay)| {
            [("0.5", delay.p50), ("0.99", delay.p99)]
                .map(|(quantile, us)| (with(labels, "quantile", quantile), seconds(us as f64)))
        })
        .collect()
}

fn offsets(hosts: &[(Labels, &HostStatus)]) -> Vec<(Labels, f64)> {
    let known = hosts.iter().filter_map(|(labels, host)| Some((labels, host.clock_offset_us?)));
    known.map(|(labels, us)| (labels.clone(), seconds(us as f64))).collect()
}

/// Each host once, however many spans it is on.
fn certificates(own: &SpanProgram, hosts: &[(Labels, &HostStatus)]) -> Vec<(Labels, f64)> {
    let mine = own.host.iter().map(|host| (host.as_str(), own.certificate_expires_s));
    let others = hosts.iter().map(|(_, host)| (host.name.as_str(), host.certificate_expires_s));
    let mut all: Vec<(&str, i64)> =
        mine.chain(others).filter_map(|(host, seconds)| Some((host, seconds?))).collect();
    all.sort_unstable();
    all.dedup_by_key(|(host, _)| *host);
    all.into_iter().map(|(host, seconds)| (vec![("host", host.to_owned())], seconds as f64)).collect()
}
