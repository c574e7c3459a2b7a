//! `/metrics`, checked strictly against OpenMetrics.

use std::collections::BTreeMap;

use canhub::{
    kernel::{BusState, Controller, Identity, Kernel, fake::Frame},
    reconcile::Memory,
};
use serde_json::json;

use super::{ask::get, openmetrics::Exposition, rig::Rig};

#[test]
fn metrics_are_strictly_valid_openmetrics() {
    let rig = Rig::new();
    // An empty host, and one with every kind of sample.
    let empty = get(&rig.admin(), "/metrics");
    assert!(
        empty.head.contains("application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{}",
        empty.head
    );
    Exposition::parse(&empty.body).unwrap_or_else(|err| panic!("{err} in\n{}", empty.body));

    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    let endpoint = rig.member(&network, 1);
    super::expectations::expected_and_heard(&rig, "vcan-body", "1A0");
    let _span = super::hosts::spanned(&rig, 2);
    let hub = || rig.link("vcan-body").unwrap().index;
    rig.kernel.delete_link(None, hub()).unwrap();
    rig.manager.reconcile(&Memory::default()).unwrap();
    rig.kernel.send(hub(), Frame::CLASSIC, 11);
    super::faults::cut_off(&rig, "vcan-body");
    let text = get(&rig.admin(), "/metrics").body;
    let metrics = Exposition::parse(&text).unwrap_or_else(|err| panic!("{err} in\n{text}"));
    for (family, kind) in [
        ("canhub_build", "info"),
        ("canhub_heals", "counter"),
        ("canhub_join_duration_seconds", "histogram"),
        ("canhub_join_failures", "counter"),
        ("canhub_leaves", "counter"),
        ("canhub_problems", "gauge"),
        ("canhub_audits", "counter"),
        ("canhub_audit_age_seconds", "gauge"),
        ("canhub_link_event_overruns", "counter"),
        ("canhub_late_containers", "gauge"),
        ("canhub_buses", "gauge"),
        ("canhub_members", "gauge"),
        ("canhub_frames_handled", "counter"),
        ("canhub_frames_dropped", "counter"),
        ("canhub_frames_lost", "counter"),
        ("canhub_expectation_up", "gauge"),
        ("canhub_faults", "gauge"),
        ("canhub_expectation_cycle_seconds", "gauge"),
        ("canhub_span_up", "gauge"),
        ("canhub_span_stopped", "gauge"),
        ("canhub_span_host_up", "gauge"),
        ("canhub_span_frames", "counter"),
        ("canhub_span_host_frames_lost", "counter"),
        ("canhub_span_frames_lost", "counter"),
        ("canhub_span_delay_seconds", "gauge"),
        ("canhub_span_clock_offset_seconds", "gauge"),
        ("canhub_span_certificate_left_seconds", "gauge"),
        ("canhub_health", "gauge"),
        ("canhub_health_component", "gauge"),
    ] {
        assert_eq!(metrics.kinds.get(family).map(String::as_str), Some(kind), "{family} in\n{text}");
    }
    let value = |name: &str, labels: &[(&str, &str)]| {
        let sample = metrics.samples.iter().find(|sample| {
            let has = |(key, value): &(&str, &str)| sample.labels.get(*key).is_some_and(|has| has == value);
            sample.name == name && labels.iter().all(has)
        });
        sample.unwrap_or_else(|| panic!("no {name} {labels:?} in\n{text}")).value
    };
    assert_eq!(value("canhub_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    assert_eq!(value("canhub_buses", &[]), 2.0);
    assert_eq!(
        value("canhub_frames_handled_total", &[("container", "(span power)"), ("direction", "in")]),
        0.0
    );
    let expected = [("network_name", "vcan-body"), ("id", "1A0"), ("from", "")];
    assert_eq!(value("canhub_expectation_up", &expected), 1.0);
    assert_eq!(value("canhub_expectation_cycle_seconds", &expected), 0.02);
    assert_eq!(value("canhub_members", &[("network", &network[..12])]), 1.0);
    let of_member = [("endpoint", &endpoint[..12]), ("interface", "can0"), ("direction", "in")];
    assert_eq!(value("canhub_frames_handled_total", &of_member), 11.0);
    assert_eq!(value("canhub_frames_dropped_total", &of_member), 0.0);
    let of_hub = [("interface", "vcan-body"), ("direction", "out")];
    assert_eq!(value("canhub_frames_handled_total", &of_hub), 11.0);
}

/// All samples of counters, by name and labels.
fn counters(rig: &Rig) -> BTreeMap<String, f64> {
    let metrics = Exposition::parse(&get(&rig.admin(), "/metrics").body).unwrap();
    let is_counter = |name: &str| {
        let family = name.strip_suffix("_total").unwrap_or(name);
        metrics.kinds.get(family).is_some_and(|kind| kind == "counter")
    };
    let samples = metrics.samples.iter().filter(|sample| is_counter(&sample.name));
    samples.map(|sample| (format!("{} {:?}", sample.name, sample.labels), sample.value)).collect()
}

#[test]
fn no_counter_falls_when_members_leave_or_links_are_healed_or_an_adapter_is_replugged() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    let [one, two, three] = [1, 2, 3].map(|number| rig.member(&network, number));
    rig.network(2, json!({ "adapter": "can0" }));
    let plug = || rig.kernel.plug(Identity::default(), Controller::default());
    let index = |name: &str| rig.link(name).unwrap().index;
    let end = |endpoint: &str| format!("ch{}", &endpoint[..10]);

    let adapter = plug();
    rig.manager.reconcile(&Memory::default()).unwrap();
    rig.kernel.send(index(&end(&one)), Frame::CLASSIC, 30);
    rig.kernel.send(index(&end(&three)), Frame::FD, 8);
    rig.kernel.send(index("vcan-body"), Frame::CLASSIC, 5);
    rig.kernel.set_state(adapter, BusState::BusOff);
    let mut before = counters(&rig);
    let received = |counters: &BTreeMap<String, f64>| {
        let of_two = |key: &&String| {
            key.starts_with("canhub_frames_handled_total")
                && key.contains(&two[..12])
                && key.contains("\"in\"")
        };
        counters[counters.keys().find(of_two).unwrap()]
    };
    assert_eq!(received(&before), 43.0);

    type Disturbance<'a> = (&'a str, Box<dyn Fn() + 'a>);
    let disturbances: [Disturbance<'_>; 4] = [
        // Its last frames since the scrape count too: counters are read before its rules are deleted.
        (
            "a member leaves",
            Box::new(|| {
                std::thread::sleep(std::time::Duration::from_millis(1100));
                rig.kernel.send(index(&end(&one)), Frame::CLASSIC, 2);
                rig.call("DeleteEndpoint", &json!({ "NetworkID": network, "EndpointID": one })).ok();
            }),
        ),
        ("a pair is healed", Box::new(|| rig.kernel.delete_link(None, index(&end(&two))).unwrap())),
        ("the hub is healed", Box::new(|| rig.kernel.delete_link(None, index("vcan-body")).unwrap())),
        (
            "the adapter is plugged in again",
            Box::new(|| {
                rig.kernel.delete_link(None, index("can0")).unwrap();
                rig.manager.reconcile(&Memory::default()).unwrap();
                plug();
            }),
        ),
    ];
    for (what, disturb) in disturbances {
        disturb();
        rig.manager.reconcile(&Memory::default()).unwrap();
        let after = counters(&rig);
        for (key, value) in &before {
            let gone = what == "a member leaves" && key.contains(&one[..12]);
            assert!(
                gone || after.get(key).is_some_and(|now| now >= value),
                "{what}: {key}: {value}, then {:?}",
                after.get(key)
            );
        }
        before = after;
    }
    assert_eq!(received(&before), 45.0);
}

/// Prometheus' own text format has no `# EOF` and no OpenMetrics types; the samples must still be the same.
#[test]
fn an_independent_prometheus_parser_agrees() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    rig.member(&network, 1);
    rig.network(2, json!({ "adapter": "can7" }));
    let text = get(&rig.admin(), "/metrics").body;
    let lines = text.lines().map(|line| Ok(line.to_owned()));
    let theirs = prometheus_parse::Scrape::parse(lines).unwrap().samples;
    let ours = Exposition::parse(&text).unwrap().samples;
    let mut compared = 0;
    for sample in ours.iter().filter(|sample| !sample.name.ends_with("_bucket")) {
        let same = |their: &&prometheus_parse::Sample| {
            let labels: BTreeMap<String, String> = (*their.labels).clone().into_iter().collect();
            their.metric == sample.name && labels == sample.labels
        };
        let Some(their) = theirs.iter().find(same) else { panic!("{sample:?} is not in {theirs:#?}") };
        match their.value {
            prometheus_parse::Value::Counter(value)
            | prometheus_parse::Value::Gauge(value)
            | prometheus_parse::Value::Untyped(value) => {
                // Ages and durations change; nothing else is a fraction.
                assert!((value - sample.value).abs() < f64::EPSILON, "{sample:?}: {value}");
                compared += 1;
            }
            ref value => panic!("{sample:?}: {value:?}"),
        }
    }
    let buckets = |sample: &&prometheus_parse::Sample| matches!(&sample.value, prometheus_parse::Value::Histogram(buckets) if !buckets.is_empty());
    assert!(compared > 30, "{compared} samples");
    assert!(theirs.iter().filter(buckets).count() >= 1, "the histogram of Joins");
}

#[test]
fn the_adapter_state_metric_matches_the_state() {
    let rig = Rig::new();
    rig.network(1, json!({ "adapter": "can0", "bitrate": "500000" }));
    let value = |name: &str, label: &str| -> f64 {
        let text = get(&rig.admin(), "/metrics").body;
        let line = text.lines().find(|line| line.starts_with(name) && line.contains(label));
        line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok()).unwrap_or_else(|| panic!("{text}"))
    };
    let sample = |state: &str| value("canhub_adapter_state{", &format!("state=\"{state}\""));
    assert_eq!((sample("waiting"), sample("error-active")), (1.0, 0.0));

    let index =
        rig.kernel.plug(Identity::default(), Controller { clock: 8_000_000, ..Controller::default() });
    rig.manager.reconcile(&Memory::default()).unwrap();
    assert_eq!((sample("waiting"), sample("error-active")), (0.0, 1.0));
    rig.kernel.set_state(index, BusState::BusOff);
    assert_eq!((sample("bus-off"), sample("error-active")), (1.0, 0.0));
    assert_eq!(value("canhub_adapter_bus_offs_total{", "can0"), 1.0);
    assert_eq!(value("canhub_adapter_restarts_total{", "can0"), 0.0);
}

#[test]
fn failed_joins_are_counted_separately() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "adapter": "can7", "adapter-wait": "fail" }));
    let (endpoint, sandbox) = (super::bodies::endpoint(1), super::bodies::sandbox(1));
    rig.kernel.add_sandbox(&sandbox);
    rig.call("CreateEndpoint", &super::bodies::create_endpoint(&network, &endpoint, json!({}))).ok();
    rig.call("Join", &super::bodies::join(&network, &endpoint, &sandbox)).refused();
    assert_eq!(rig.sample("canhub_join_failures_total"), 1.0);
    assert_eq!(rig.sample("canhub_join_duration_seconds_count"), 0.0);
    assert_eq!(rig.sample("canhub_problems"), 0.0, "the loop has not made a pass yet");
    rig.manager.reconcile(&Memory::default()).unwrap();
    assert_eq!(rig.sample("canhub_problems"), 1.0);
}
