//! Each heal is one event and one count, and listeners cannot hold anything up.

use std::time::{Duration, Instant};

use canhub::{
    events::{Event, Kind},
    kernel::Kernel,
    reconcile::Memory,
};
use serde_json::{Value, json};

use super::{
    ask::{Listener, get},
    bodies,
    rig::Rig,
};

fn heal_the_hub(rig: &Rig, hub: &str) {
    let index = rig.link(hub).unwrap().index;
    rig.kernel.delete_link(None, index).unwrap();
    rig.manager.reconcile(&Memory::default()).unwrap();
}

#[test]
fn a_heal_is_one_event_and_one_count() {
    let rig = Rig::new();
    rig.network(1, json!({ "hub": "vcan-body" }));
    let mut listener = Listener::start(&rig.admin(), 0);
    let heals = r#"canhub_heals_total{reason="the hub was missing"}"#;
    for time in 1..=3 {
        heal_the_hub(&rig, "vcan-body");
        let event = listener.next().unwrap();
        assert_eq!(event["event"], "healed");
        assert_eq!(event["network"], bodies::network(1));
        assert_eq!(event["interface"], "vcan-body");
        assert_eq!(event["reason"], "the hub was missing");
        assert_eq!(event["did"], "create the vcan vcan-body");
        assert!(event["took_us"].is_u64() && event["time"].as_str().unwrap().ends_with('Z'), "{event}");
        assert_eq!(rig.sample(heals), f64::from(time));
        assert_eq!(rig.status()["buses"][0]["heals"], time);
    }
    assert!(listener.is_silent(), "a heal was reported twice");
}

#[test]
fn events_of_a_bus_come_in_order() {
    let rig = Rig::new();
    let network = rig.network(1, json!({}));
    let endpoint = rig.member(&network, 1);
    rig.part(&network, &endpoint);
    rig.call("DeleteNetwork", &bodies::delete_network(&network)).ok();
    let mut listener = Listener::start(&rig.admin(), 256);
    let told: Vec<Value> = (0..4).map(|_| listener.next().unwrap()).collect();
    let kinds: Vec<&str> = told.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["network-created", "joined", "left", "network-deleted"]);
    let numbers: Vec<u64> = told.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    assert_eq!(rig.sample("canhub_join_duration_seconds_count"), 1.0);
    assert_eq!(rig.sample("canhub_leaves_total"), 1.0);
}

#[test]
fn kept_events_can_be_read_without_following() {
    let rig = Rig::new();
    rig.network(1, json!({}));
    rig.network(2, json!({}));
    let mut listener = Listener::start(&rig.admin(), 0);
    rig.network(3, json!({}));
    assert_eq!(listener.next().unwrap()["seq"], 3, "without `last`, only new events");

    let asked = |query: &str| get(&rig.admin(), &format!("/v1/events?{query}"));
    assert_eq!(asked("last=x").status, 400);
    assert!(asked("since=3").body.contains("last=NUMBER"));
}

/// A slow reader is told what it missed.
#[test]
fn a_slow_client_is_told_how_much_it_missed() {
    const MANY: u64 = 20_000;
    let rig = Rig::new();
    let mut slow = Listener::start(&rig.admin(), 0);
    for _ in 0..MANY {
        rig.manager.events().tell(Event::new(Kind::Adopted));
    }
    let (mut heard, mut missed, mut last) = (0, 0, 0);
    while last < MANY {
        let told = slow.next().unwrap();
        match told["seq"].as_u64() {
            Some(seq) => {
                assert!(seq > last, "{seq} came after {last}");
                (heard, last) = (heard + 1, seq);
            }
            None => missed += told["missed"].as_u64().unwrap(),
        }
    }
    assert!(missed > 0, "all {heard} were kept for a client that did not read");
    assert_eq!(heard + missed, MANY);
}

#[test]
fn two_hundred_listeners_half_of_them_stuck_do_not_delay_joins() {
    let rig = Rig::new();
    let network = rig.network(1, json!({}));
    let join = |number| {
        let started = Instant::now();
        let endpoint = rig.member(&network, number);
        let took = started.elapsed();
        rig.part(&network, &endpoint);
        took
    };
    // The best of many: other load on this machine only ever adds time.
    let best = || (0..50).map(join).min().unwrap();
    let alone = best();
    // Retried if the machine is busy throughout, or the server is still filling socket buffers.
    let joins_within = |limit: Duration, whom: &str| {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let took = best();
            if took < limit {
                break;
            }
            assert!(Instant::now() < deadline, "a join takes {alone:?} alone and {took:?} before {whom}");
        }
    };

    let deaf: Vec<Listener> = (0..100).map(|_| Listener::start(&rig.admin(), 0)).collect();
    for _ in 0..5000 {
        rig.manager.events().tell(Event::new(Kind::Adopted));
    }
    // Listeners with full sockets cost nothing; those that read cost a little, as threads of this very test.
    let slack = Duration::from_millis(1);
    joins_within(alone * 2 + slack, "100 clients that do not read");
    let reading: Vec<_> = (0..100)
        .map(|_| {
            let mut listener = Listener::start(&rig.admin(), 0);
            std::thread::spawn(move || {
                let mut told = Value::Null;
                while told["event"] != "network-deleted" {
                    told = listener.next().unwrap();
                    assert!(told["missed"].is_null(), "a client that reads missed events");
                }
            })
        })
        .collect();
    joins_within(alone * 3 + 5 * slack, "200 clients, half of which do not read");
    rig.call("DeleteNetwork", &bodies::delete_network(&network)).ok();
    for listener in reading {
        listener.join().unwrap();
    }
    drop(deaf);
}

#[test]
fn the_number_of_listeners_is_limited_and_slots_are_reused() {
    let rig = Rig::new();
    let mut listeners: Vec<Listener> = (0..256).map(|_| Listener::start(&rig.admin(), 0)).collect();
    let refused = get(&rig.admin(), "/v1/events");
    assert_eq!(refused.status, 503);
    assert!(refused.body.contains("too many event listeners"), "{refused:?}");
    assert_eq!(get(&rig.admin(), "/v1/ready").status, 503, "other requests are answered");
    listeners.pop();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mut one_more = super::client::Client::connect(&rig.admin());
        one_more.send(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
        if one_more.reply_head().unwrap().contains(" 200 ") {
            break;
        }
        assert!(Instant::now() < deadline, "the slot of a disconnected client is not reused");
    }
}
