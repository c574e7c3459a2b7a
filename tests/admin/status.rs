//! `/v1/status` and `/v1/ready`.

use std::{
    thread,
    time::{Duration, Instant},
};

use canhub::{
    checks::{self, Level, Remedy},
    kernel::{Kernel, fake::Frame},
    reconcile::Memory,
};
use serde_json::{Value, json};

use super::{
    ask::{Listener, get, request},
    bodies, hanging,
    rig::Rig,
};

#[test]
fn canhub_is_ready_after_the_first_audit() {
    let rig = Rig::new();
    let before = get(&rig.admin(), "/v1/ready");
    assert_eq!(before.status, 503);
    assert!(before.body.contains("error"), "{before:?}");
    assert_eq!(
        (rig.status()["ready"].clone(), rig.status()["audit_age_s"].clone()),
        (json!(false), Value::Null)
    );
    rig.manager.reconcile(&Memory::default()).unwrap();
    assert_eq!(get(&rig.admin(), "/v1/ready").json(), json!({ "ready": true }));
    assert_eq!(rig.status()["ready"], true);
    assert!(rig.status()["audit_age_s"].as_f64().unwrap() < 60.0);
    assert_eq!(rig.sample("canhub_audits_total"), 1.0);
}

#[test]
fn a_bus_is_shown_with_its_members_and_their_frames() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-body", "ifname": "can3" }));
    let [one, two] = [1, 2].map(|number| rig.member(&network, number));
    let end = |endpoint: &str| rig.link(&format!("ch{}", &endpoint[..10])).unwrap().index;
    rig.kernel.send(end(&one), Frame::CLASSIC, 30);
    rig.kernel.send(end(&one), Frame::FD, 7);
    rig.kernel.send(rig.link("vcan-body").unwrap().index, Frame::CLASSIC, 5);

    let status = rig.status();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["buses"].as_array().unwrap().len(), 1);
    let bus = &status["buses"][0];
    assert_eq!(
        (&bus["network"], &bus["hub"], &bus["owner"], &bus["frames"], &bus["heal"]),
        (&json!(network), &json!("vcan-body"), &json!("owned"), &json!("fd"), &json!(true))
    );
    assert_eq!((&bus["steps"], &bus["problems"]), (&json!([]), &json!([])));
    assert_eq!(
        bus["frames_in"],
        json!({ "handled": 37, "dropped": 0 }),
        "the host receives everything, once"
    );
    let member = |endpoint: &str| {
        let members = bus["members"].as_array().unwrap();
        members.iter().find(|member| member["endpoint"] == endpoint).unwrap().clone()
    };
    assert_eq!(member(&one)["interface"], "can3");
    assert_eq!(member(&one)["stage"], "joined");
    assert_eq!(member(&one)["sandbox"], bodies::sandbox(1));
    assert_eq!(member(&one)["frames_out"]["handled"], 37, "counted once, although two others receive it");
    assert_eq!(member(&one)["frames_in"]["handled"], 5);
    assert_eq!(member(&two)["frames_in"]["handled"], 42);
}

#[test]
fn faults_are_listed_until_they_are_fixed() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    rig.member(&network, 1);
    let hub = rig.link("vcan-body").unwrap().index;
    rig.kernel.delete_link(None, hub).unwrap();
    let steps = rig.status()["buses"][0]["steps"].clone();
    assert_eq!(steps, json!(["the hub was missing (vcan-body)", "rules were missing (ch583e000158)"]));
    rig.manager.reconcile(&Memory::default()).unwrap();
    assert_eq!(rig.status()["buses"][0]["steps"], json!([]));
}

#[test]
fn leftovers_of_a_bus_are_separate_from_missing_parts() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    let hub = rig.link("vcan-body").unwrap();
    rig.kernel.create_vcan(&"vcan-copy".parse().unwrap(), hub.mtu, hub.alias.as_deref().unwrap()).unwrap();
    let status = rig.manager.status().unwrap();
    let bus = &status.buses[0];
    assert!(matches!(&bus.leftovers[..], [one] if one.ends_with("(vcan-copy)")), "{bus:?}");
    assert_eq!(bus.leftovers, bus.steps);
    assert_eq!(checks::bus(bus).level, Level::Pass, "it affects no member");
    let found = checks::leftovers::links(&status);
    assert_eq!((found.level, found.remedy), (Level::Warning, Some(Remedy::Heal)), "{}", found.sentence);

    let member = rig.member(&network, 1);
    rig.kernel.delete_link(None, rig.link(&format!("ch{}", &member[..10])).unwrap().index).unwrap();
    let status = rig.manager.status().unwrap();
    // The pair, its rules, and the leftover.
    assert_eq!((status.buses[0].steps.len(), status.buses[0].leftovers.len()), (3, 1), "{status:?}");
    let found = checks::bus(&status.buses[0]);
    assert!(found.sentence.contains("needs repair") && !found.sentence.contains("vcan-copy"), "{found:?}");
}

#[test]
fn a_missing_adapter_is_a_problem_and_not_a_step() {
    let rig = Rig::new();
    rig.network(1, json!({ "adapter": "can7" }));
    let bus = rig.status()["buses"][0].clone();
    assert_eq!((&bus["owner"], &bus["steps"]), (&json!("adapter"), &json!([])));
    assert!(bus["problems"][0].as_str().unwrap().contains("waiting for adapter can7"), "{bus}");
}

#[test]
fn an_unknown_path_is_answered_with_the_valid_ones() {
    let rig = Rig::new();
    let reply = get(&rig.admin(), "/v1/nothing");
    assert_eq!(reply.status, 404);
    assert!(reply.head.contains("application/json"), "{reply:?}");
    let why = serde_json::from_str::<Value>(&reply.body).unwrap()["error"].as_str().unwrap().to_owned();
    for path in ["/v1/nothing", "/v1/ready", "/v1/status", "/v1/events", "/metrics"] {
        assert!(why.contains(path), "{why}");
    }
    assert_eq!(request(&rig.admin(), "POST", "/v1/status").status, 405);
}

/// A hanging kernel blocks two threads of those who query it, and nothing else.
#[test]
fn while_the_kernel_hangs_everything_else_works_and_status_reports_it() {
    let (rig, kernel) = hanging::rig(Duration::from_secs(20));
    rig.network(1, json!({}));
    kernel.set(true);
    let started = Instant::now();
    let asking: Vec<_> = (0..40)
        .map(|number| {
            let (admin, path) = (rig.admin(), if number % 2 == 0 { "/v1/status" } else { "/metrics" });
            thread::spawn(move || get(&admin, path))
        })
        .collect();
    thread::sleep(Duration::from_millis(200));
    assert_eq!(get(&rig.admin(), "/v1/ready").status, 503);
    drop(Listener::start(&rig.admin(), 1));
    rig.client().call_raw("NetworkDriver.GetCapabilities", b"").ok();
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    for asked in asking {
        let reply = asked.join().unwrap();
        assert_eq!(reply.status, 503);
        assert!(reply.body.contains("could not read the kernel within 5 s"), "{reply:?}");
    }
    kernel.set(false);
    let deadline = Instant::now() + Duration::from_secs(10);
    while get(&rig.admin(), "/v1/status").status != 200 {
        assert!(Instant::now() < deadline, "the status does not recover");
    }
}
