//! Frames that the kernel lost are in status, metrics, events and health, with whose they were and why.

use std::path::Path;

use canhub::{
    driver::server,
    events::KEPT,
    health::Health,
    kernel::{Controller, Identity, Kernel, LinkChange, LinkCounters, fake::Frame},
    reconcile::Memory,
};
use serde_json::{Value, json};

use super::{
    ask::get,
    bodies,
    health::{eager, no_docker, until},
    rig::Rig,
};

fn dropped(rx_dropped: u64, tx_dropped: u64) -> LinkCounters {
    LinkCounters { rx_dropped, tx_dropped, ..LinkCounters::default() }
}

fn end(rig: &Rig, endpoint: &str) -> u32 {
    rig.link(&format!("ch{}", &endpoint[..10])).unwrap().index
}

fn member(rig: &Rig, endpoint: &str) -> Value {
    let members = rig.status()["buses"][0]["members"].as_array().unwrap().clone();
    members.into_iter().find(|member| member["endpoint"] == endpoint).unwrap()
}

fn lost(rule: u64, down: u64, backlog: u64) -> Value {
    json!({ "rule": rule, "down": down, "qdisc": 0, "backlog": backlog, "adapter": 0, "away": 0 })
}

/// The events of lost frames: the endpoint and the number.
fn told(rig: &Rig) -> Vec<(Value, Value)> {
    let mut reader = rig.manager.events().listen(KEPT);
    let told = std::iter::from_fn(|| reader.next_of_backlog());
    let events = told.map(|item| serde_json::to_value(&item).unwrap());
    let lost = events.filter(|event| event["event"] == "frames-lost");
    lost.map(|event| (event["endpoint"].clone(), event["frames"].clone())).collect()
}

#[test]
fn each_counter_is_a_direction_and_a_cause() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    let [one, two] = [1, 2].map(|number| rig.member(&network, number));
    rig.manager.reconcile(&Memory::default()).unwrap();

    rig.kernel.count(None, end(&rig, &one), dropped(77, 3));
    let sandbox = bodies::sandbox(1);
    let inside = rig.kernel.sandbox_links(Path::new(&sandbox)).unwrap().unwrap()[0].index;
    rig.kernel.count(Some(Path::new(&sandbox)), inside, dropped(39, 50));
    rig.kernel.count(None, rig.link("vcan-body").unwrap().index, dropped(4, 0));
    let down = LinkChange { up: Some(false), ..LinkChange::default() };
    rig.kernel.change_link(None, end(&rig, &two), &down).unwrap();
    rig.kernel.send(end(&rig, &one), Frame::CLASSIC, 6);

    let of_one = member(&rig, &one);
    assert_eq!((&of_one["lost_in"], &of_one["lost_out"]), (&lost(0, 3, 39), &lost(0, 50, 77)));
    assert_eq!(member(&rig, &two)["lost_in"], lost(6, 0, 0));
    let bus = rig.status()["buses"][0].clone();
    assert_eq!((&bus["lost_in"], &bus["lost_out"]), (&lost(0, 0, 4), &lost(0, 0, 0)));
    let most = &bus["losses"][0];
    assert_eq!(
        (&most["endpoint"], &most["interface"], &most["direction"], &most["cause"], &most["frames"]),
        (&json!(one), &json!("can0"), &json!("out"), &json!("backlog"), &json!(77))
    );
    assert_eq!((bus["losses"].as_array().unwrap().len(), most["last_seen_s"].as_u64()), (6, Some(0)));

    let text = get(&rig.admin(), "/metrics").body;
    for (endpoint, direction, cause, frames) in [
        (&one, "out", "backlog", 77),
        (&one, "in", "backlog", 39),
        (&one, "out", "down", 50),
        (&two, "in", "rule", 6),
    ] {
        let is_it = |line: &&str| {
            line.starts_with("canhub_frames_lost_total{")
                && [&endpoint[..12], direction, cause]
                    .iter()
                    .all(|word| line.contains(&format!("\"{word}\"")))
        };
        let line = text.lines().find(is_it).unwrap_or_else(|| panic!("{text}"));
        assert!(line.ends_with(&format!(" {frames}")), "{line}");
    }
}

#[test]
fn losses_are_told_once_a_minute_and_not_those_from_before_the_start() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    let one = rig.member(&network, 1);
    rig.kernel.count(None, end(&rig, &one), dropped(5, 0));
    rig.manager.reconcile(&Memory::default()).unwrap();
    assert_eq!(told(&rig), [], "it was lost before the first look");
    assert_eq!(rig.status()["buses"][0]["losses"][0]["last_seen"], Value::Null);

    rig.kernel.count(None, end(&rig, &one), dropped(12, 0));
    rig.manager.reconcile(&Memory::default()).unwrap();
    rig.kernel.count(None, end(&rig, &one), dropped(20, 0));
    rig.manager.reconcile(&Memory::default()).unwrap();
    assert_eq!(told(&rig), [(json!(one), json!(7))], "the rest is told in a minute");
    assert_eq!(member(&rig, &one)["lost_out"], lost(0, 0, 20));

    // A pair made anew counts from zero, and what was lost stays so; also when the member has left.
    rig.kernel.delete_link(None, end(&rig, &one)).unwrap();
    rig.manager.reconcile(&Memory::default()).unwrap();
    rig.kernel.count(None, end(&rig, &one), dropped(1, 0));
    assert_eq!(member(&rig, &one)["lost_out"], lost(0, 0, 21));
    rig.call("DeleteEndpoint", &json!({ "NetworkID": network, "EndpointID": one })).ok();
    rig.manager.reconcile(&Memory::default()).unwrap();
    let left = &rig.status()["buses"][0]["losses"][0];
    assert_eq!(
        (&left["endpoint"], &left["interface"], &left["frames"]),
        (&json!(one), &json!("can0"), &json!(21))
    );
}

#[test]
fn a_bus_that_loses_frames_is_degraded_and_says_how_many() {
    let health = Health::new(eager(), None);
    let rig = Rig::watched(server::TIME_LIMIT, health, Some(no_docker()), |kernel| kernel);
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    let one = rig.member(&network, 1);
    rig.manager.reconcile(&Memory::default()).unwrap();
    let bus = format!("bus:{}", &network[..12]);
    until(&rig, &bus, "healthy");
    rig.kernel.count(None, end(&rig, &one), dropped(349, 0));
    until(&rig, &bus, "degraded");
    let report = get(&rig.admin(), "/v1/health").json();
    let components = report["components"].as_array().unwrap();
    let bus = components.iter().find(|component| component["component"] == bus.as_str()).unwrap();
    assert!(bus["reason"].as_str().unwrap().contains(&format!("349 from {}", &one[..12])), "{bus}");
    assert!(bus["hint"].as_str().unwrap().contains("netdev_max_backlog"), "{bus}");
}

#[test]
fn frames_for_an_adapter_that_is_unplugged_are_lost_unless_it_had_sent_them() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "adapter": "can0" }));
    let one = rig.member(&network, 1);
    let plug = || rig.kernel.plug(Identity::default(), Controller::default());
    let adapter = plug();
    let sent = |rx_packets: u64| {
        let counters = LinkCounters { rx_packets, ..LinkCounters::default() };
        rig.kernel.count(None, end(&rig, &one), counters);
    };
    let away = || rig.status()["buses"][0]["lost_in"]["away"].clone();
    sent(100);
    rig.kernel.count(None, adapter, LinkCounters { tx_packets: 80, ..LinkCounters::default() });
    assert_eq!(away(), 0);

    // It sends 30 more before it is gone; the container sends 50.
    sent(150);
    rig.kernel.delete_link(None, adapter).unwrap();
    assert_eq!(away(), 0, "how many it had sent is not known yet");
    rig.manager.link_removed(adapter, 110);
    assert_eq!(away(), 20);
    sent(157);
    assert_eq!(away(), 27);
    let bus = rig.status()["buses"][0].clone();
    assert_eq!((&bus["losses"][0]["endpoint"], &bus["losses"][0]["cause"]), (&Value::Null, &json!("away")));

    plug();
    sent(200);
    assert_eq!(away(), 27, "it carries them again");
}

#[test]
fn frames_from_before_canhub_started_are_not_lost_because_an_adapter_is_away() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "adapter": "can0" }));
    let one = rig.member(&network, 1);
    rig.kernel.count(None, end(&rig, &one), LinkCounters { rx_packets: 9, ..LinkCounters::default() });
    let away = || rig.status()["buses"][0]["lost_in"]["away"].clone();
    assert_eq!(away(), 0);
    rig.kernel.count(None, end(&rig, &one), LinkCounters { rx_packets: 12, ..LinkCounters::default() });
    assert_eq!(away(), 3);
}
