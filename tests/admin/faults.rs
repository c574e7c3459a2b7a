//! `/v1/faults` and `canhub fault`, on the kernel in memory: what is asked for is in place when the answer comes, and gone
//! afterwards. Real frames: `tests/e2e/fault.rs`.

use std::{
    fs,
    time::{Duration, Instant},
};

use canhub::{
    driver::server,
    health::Health,
    kernel::{Kernel as _, LinkChange, fake::Frame},
    reconcile::Memory,
};
use serde_json::{Value, json};

use super::{
    ask::{self, Listener, get},
    bodies,
    bus::host_end,
    client::Reply,
    commands::canhub,
    rig::Rig,
};

mod sent;
mod undone;

fn send(rig: &Rig, method: &str, body: &Value) -> Reply {
    ask::send(&rig.admin(), method, "/v1/faults", &body.to_string())
}

/// Cuts off all members of a bus.
pub fn cut_off(rig: &Rig, bus: &str) {
    let reply = send(rig, "POST", &json!({ "bus": bus, "effects": ["cut"], "for": "1h" }));
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// How many others hear this member.
fn heard(rig: &Rig, endpoint: &str) -> usize {
    let index = rig.link(&host_end(endpoint)).unwrap().index;
    rig.kernel.deliveries(index, Frame::CLASSIC).heard.keys().filter(|other| **other != index).count()
}

fn is_up(rig: &Rig, number: u32) -> bool {
    rig.links_inside(&bodies::sandbox(number))[0].up
}

#[test]
fn a_fault_is_in_place_when_it_is_answered_and_gone_when_it_is_cleared() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    let [door, lock] = [1, 2].map(|number| rig.member(&network, number));
    assert_eq!(heard(&rig, &door), 2);
    let begun =
        send(&rig, "POST", &json!({ "bus": "vcan-body", "member": &door[..12], "effects": ["down"] }));
    let fault = &begun.json()["fault"];
    assert_eq!(
        (&fault["id"], &fault["member"], &fault["effects"]),
        (&json!(1), &json!(door), &json!(["down"]))
    );
    assert!(!is_up(&rig, 1) && is_up(&rig, 2) && heard(&rig, &lock) == 1);
    // Neither the loop nor a heal on request takes it for a defect.
    rig.manager.reconcile(&Memory::default()).unwrap();
    assert_eq!(rig.manager.heal().unwrap(), []);
    assert!(!is_up(&rig, 1));
    let status = rig.status();
    assert_eq!((&status["faults"][0], &status["buses"][0]["steps"]), (fault, &json!([])));
    let sample = "fault=\"down\"} 1";
    let metrics = get(&rig.admin(), "/metrics").body;
    assert!(
        metrics.lines().any(|line| line.starts_with("canhub_faults{") && line.ends_with(sample)),
        "{metrics}"
    );
    let (shown, _, code) = canhub(&rig.admin(), &["status"]);
    assert!(code == 0 && shown.contains("is down on purpose until"), "{shown}");
    let cleared = send(&rig, "DELETE", &json!({ "bus": "vcan-body" })).json();
    assert_eq!(cleared["cleared"][0]["id"], 1);
    assert!(is_up(&rig, 1));
    rig.assert_bus("vcan-body", &[&door, &lock]);
    assert_eq!(get(&rig.admin(), "/v1/faults").json(), json!({ "faults": [] }));
    // All of it was told, and nothing was told as a heal.
    let mut events = Listener::start(&rig.admin(), 100);
    let mut told = Vec::new();
    while told.last().map(String::as_str) != Some("fault-ended") {
        told.push(events.next().unwrap()["event"].as_str().unwrap().to_owned());
    }
    assert_eq!(told, ["network-created", "joined", "joined", "fault-began", "fault-ended"]);
}

#[test]
fn a_fault_ends_on_time_also_when_canhub_was_away() {
    let mut rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    let [door, lock] = [1, 2].map(|number| rig.member(&network, number));
    let cut = json!({ "bus": "vcan-body", "member": door, "effects": ["bus-off"], "for": "300ms" });
    assert_eq!(send(&rig, "POST", &cut).status, 200);
    let cut = json!({ "bus": "vcan-body", "member": lock, "effects": ["cut"], "until_cleared": true });
    assert_eq!(send(&rig, "POST", &cut).status, 200);
    rig.restart();
    assert_eq!((heard(&rig, &door), heard(&rig, &lock)), (0, 0), "a restart ends nothing");
    assert_eq!(rig.status()["faults"].as_array().unwrap().len(), 2);
    rig.stop();
    std::thread::sleep(Duration::from_millis(300));
    rig.restart();
    rig.manager.reconcile(&Memory::default()).unwrap();
    assert_eq!((heard(&rig, &door), heard(&rig, &lock)), (1, 0));
    // The member heard both error frames, out of its own host end and not looped back to the rules.
    let index = rig.link(&host_end(&door)).unwrap().index;
    let heard: Vec<_> = rig
        .kernel
        .written()
        .into_iter()
        .map(|written| {
            assert_eq!((written.sandbox, written.index, written.looped), (None, index, false));
            format!("{:X}", socketcan_id(&written.frame))
        })
        .collect();
    assert_eq!(heard, ["20000040", "20000100"]);
    // With the boot they are gone.
    rig.restart_after(|state| {
        let file = state.join("faults.json");
        let text = fs::read_to_string(&file).unwrap();
        let mut record: Value = serde_json::from_str(&text).unwrap();
        record["boot"] = json!("another");
        fs::write(&file, record.to_string()).unwrap();
    });
    rig.manager.reconcile(&Memory::default()).unwrap();
    rig.assert_bus("vcan-body", &[&door, &lock]);
}

fn socketcan_id(frame: &socketcan::CanAnyFrame) -> u32 {
    match frame {
        socketcan::CanAnyFrame::Error(frame) => frame.as_ref().can_id,
        socketcan::CanAnyFrame::Normal(frame) => frame.as_ref().can_id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_cannot_be_done_is_said_in_one_sentence_and_changes_nothing() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    let door = rig.member(&network, 1);
    for (body, words) in [
        (json!({ "bus": "seat", "effects": ["cut"] }), "there is no bus seat"),
        (json!({ "bus": "vcan-body", "member": "lock", "effects": ["cut"] }), "has no member lock; it has "),
        (json!({ "bus": "vcan-body", "effects": ["cutt"] }), "did you mean cut?"),
        (json!({ "bus": "vcan-body", "effects": [] }), "write at least one"),
        (json!({ "bus": "vcan-body", "effects": ["cut"], "for": "25h" }), "needs --until-cleared"),
        (json!({ "bus": "vcan-body", "effects": ["cut"], "fro": "25h" }), "unknown field `fro`"),
        (json!({ "bus": "vcan-body", "effects": ["flood=7DF@30000"] }), "from 1 to 20000"),
    ] {
        let reply = send(&rig, "POST", &body);
        let answer: Value = serde_json::from_str(&reply.body).unwrap();
        let why = answer["error"].as_str().unwrap();
        assert!(reply.status == 400 && why.contains(words), "{words:?} is not in {why:?}");
    }
    for body in [json!({ "id": 3 }), json!({ "bus": "vcan-body" }), json!({ "bus": "seat" })] {
        assert_eq!(send(&rig, "DELETE", &body).status, 400, "{body}");
    }
    assert_eq!(send(&rig, "PUT", &json!({})).status, 405);
    assert_eq!(get(&rig.admin(), "/v1/faults").json(), json!({ "faults": [] }));
    rig.assert_bus("vcan-body", &[&door]);
}

#[test]
fn the_command_says_what_it_did() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    let door = rig.member(&network, 1);
    let fault = |args: &[&str]| canhub(&rig.admin(), &[&["fault"], args].concat());
    let (shown, complaint, code) =
        fault(&["vcan-body", &door[..12], "cut", "flood=7DF@10", "--for", "2min", "--label", "phase 2"]);
    assert_eq!((code, complaint.as_str()), (0, ""));
    for words in ["fault 1: ", "is cut off and sends 7DF 10 times per second", "(phase 2)"] {
        assert!(shown.replace("\n", " ").replace("  ", " ").contains(words), "{words:?} is not in {shown}");
    }
    let (shown, _, code) = fault(&["list"]);
    assert!(code == 0 && shown.contains(" cut flood=7DF@10"), "{shown}");
    let (shown, _, code) = fault(&["list", "--json"]);
    assert_eq!(
        (code, &serde_json::from_str::<Value>(&shown).unwrap()["faults"][0]["label"]),
        (0, &json!("phase 2"))
    );
    let (_, complaint, code) = fault(&["vcan-body", "cutt"]);
    assert!(code == 1 && complaint.contains("did you mean cut?"), "{complaint}");
    let (_, complaint, code) = fault(&["vcan-body", "cut", "flood=7DF@10", "door"]);
    assert!(code == 1 && complaint.contains("canhub fault vcan-body door cut flood=7DF@10"), "{complaint}");
    let (_, complaint, code) = fault(&["clear", "9"]);
    assert!(code == 1 && complaint.contains("canhub fault list"), "{complaint}");
    let (shown, _, code) = fault(&["clear", "1"]);
    assert!(code == 0 && shown.starts_with("fault 1: cut flood=7DF@10 cleared on "), "{shown}");
    let (shown, _, code) = fault(&["clear"]);
    assert_eq!((code, shown.as_str()), (0, "No faults are in effect.\n"));
}

#[test]
fn a_deleted_network_takes_its_faults_with_it_and_health_says_that_it_is_on_purpose() {
    let rig = Rig::watched(
        server::TIME_LIMIT,
        Health::new(super::health::eager(), None),
        Some(super::health::no_docker()),
        |kernel| kernel,
    );
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    rig.member(&network, 1);
    cut_off(&rig, "vcan-body");
    rig.manager.reconcile(&Memory::default()).unwrap();
    let component = format!("bus:{}", &network[..12]);
    let reason = || {
        let health: Value = serde_json::from_str(&get(&rig.admin(), "/v1/health").body).unwrap();
        let components = health["components"].as_array().cloned().unwrap_or_default();
        let of_bus =
            components.into_iter().find(|one| one["component"] == component && one["status"] == "healthy");
        of_bus.map(|one| one["reason"].as_str().unwrap().to_owned()).unwrap_or_default()
    };
    let begun = Instant::now();
    while !reason().contains("is cut off on purpose until") {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", reason());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(reason().contains("is healthy: ") && reason().contains("by `canhub fault`"), "{}", reason());
    rig.part(&network, &bodies::endpoint(1));
    rig.call("DeleteNetwork", &bodies::delete_network(&network)).ok();
    assert_eq!(get(&rig.admin(), "/v1/faults").json(), json!({ "faults": [] }));
}

#[test]
fn only_the_faults_that_are_meant_are_cleared() {
    for number in 0..7 {
        let rig = Rig::new();
        let body = rig.network(1, json!({ "hub": "vcan-body" }));
        let seat = rig.network(2, json!({ "hub": "vcan-seat" }));
        let [door, lock] = [1, 2].map(|number| rig.member(&body, number));
        let gate = rig.member(&seat, 3);
        for (bus, member, effect) in [
            ("vcan-body", Some(&door), "cut"),
            ("vcan-body", Some(&lock), "cut"),
            ("vcan-body", None, "loss=1%"),
            ("vcan-seat", Some(&gate), "cut"),
        ] {
            let wish = json!({ "bus": bus, "member": member, "effects": [effect] });
            assert_eq!(send(&rig, "POST", &wish).status, 200, "{wish}");
        }
        let cases: [(Value, &[u64]); 7] = [
            (json!({}), &[]),
            (json!({ "id": 2 }), &[1, 3, 4]),
            (json!({ "bus": "vcan-body" }), &[4]),
            (json!({ "bus": "vcan-body", "member": &door[..12] }), &[2, 3, 4]),
            (json!({ "member": &gate[..12] }), &[1, 2, 3]),
            (json!({ "id": 1, "bus": "vcan-seat" }), &[1, 2, 3, 4]),
            (json!({ "id": 1, "member": &lock[..12] }), &[1, 2, 3, 4]),
        ];
        let (which, left) = &cases[number];
        let status = if left.len() == 4 { 400 } else { 200 };
        assert_eq!(send(&rig, "DELETE", which).status, status, "{which}");
        let faults = get(&rig.admin(), "/v1/faults").json();
        let ids: Vec<u64> =
            faults["faults"].as_array().unwrap().iter().map(|one| one["id"].as_u64().unwrap()).collect();
        assert_eq!(ids, *left, "{which}");
    }
}

#[test]
fn shapes_that_do_not_fit_what_a_member_has_are_refused_and_nothing_is_left_of_them() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-body", "delay": "2ms" }));
    let door = rig.member(&network, 1);
    let shape = |effects: &[&str]| send(&rig, "POST", &json!({ "bus": "vcan-body", "effects": effects }));
    let refused = shape(&["jitter=5ms"]);
    assert!(
        refused.status == 400 && refused.body.contains("must not be longer than the delay"),
        "{refused:?}"
    );
    assert_eq!(get(&rig.admin(), "/v1/faults").json(), json!({ "faults": [] }));
    rig.assert_bus("vcan-body", &[&door]);
    assert_eq!(shape(&["loss=1%"]).status, 200, "it is not checked together with the refused one");
    assert_eq!(shape(&["jitter=2ms"]).status, 200, "the delay of the network is long enough");
    assert_eq!(shape(&["jitter=5ms", "delay=5ms"]).status, 200);
}

#[test]
fn a_deleted_network_takes_no_faults_of_others_with_it_and_a_fault_heals_nothing() {
    let rig = Rig::new();
    let body = rig.network(1, json!({ "hub": "vcan-body" }));
    let seat = rig.network(2, json!({ "hub": "vcan-seat" }));
    let [door, lock] = [1, 2].map(|number| rig.member(&body, number));
    let end = rig.link(&host_end(&lock)).unwrap().index;
    let down = LinkChange { up: Some(false), ..LinkChange::default() };
    rig.kernel.change_link(None, end, &down).unwrap();
    let cut = json!({ "bus": "vcan-body", "member": door, "effects": ["cut"] });
    assert_eq!(send(&rig, "POST", &cut).status, 200);
    assert!(!rig.link(&host_end(&lock)).unwrap().up, "that is left to the reconcile loop");
    cut_off(&rig, "vcan-seat");
    rig.call("DeleteNetwork", &bodies::delete_network(&seat)).ok();
    let faults = get(&rig.admin(), "/v1/faults").json();
    assert_eq!((faults["faults"].as_array().unwrap().len(), &faults["faults"][0]["id"]), (1, &json!(1)));
}
