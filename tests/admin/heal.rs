//! `POST /v1/heal`: what a person asked for is done, also where nobody would do it unasked.

use std::fs;

use canhub::{kernel::Kernel, reconcile::Memory};
use serde_json::{Value, json};

use super::{
    ask::{get, request},
    rig::Rig,
};

fn heal(rig: &Rig) -> Vec<Value> {
    let answer = request(&rig.admin(), "POST", "/v1/heal");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["done"].as_array().unwrap().clone()
}

#[test]
fn a_bus_with_healing_off_is_healed_when_a_person_asks() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-asked", "heal": "off" }));
    rig.member(&network, 1);
    assert_eq!(heal(&rig), Vec::<Value>::new(), "nothing is missing");
    let hub = rig.link("vcan-asked").unwrap().index;
    rig.kernel.delete_link(None, hub).unwrap();
    rig.manager.reconcile(&Memory::default()).unwrap();
    assert!(rig.link("vcan-asked").is_none(), "healing is off");

    let done = heal(&rig);
    assert_eq!(done[0]["reason"], "the hub was missing");
    assert_eq!((&done[0]["interface"], &done[0]["err"]), (&json!("vcan-asked"), &Value::Null));
    assert!(done[0]["did"].as_str().unwrap().contains("make the vcan vcan-asked"));
    assert_eq!(rig.status()["buses"][0]["steps"], json!([]));
    assert_eq!(heal(&rig), Vec::<Value>::new(), "once is enough");
    // It is told like every other heal.
    assert_eq!(rig.sample("canhub_heals_total{reason=\"the hub was missing\"}"), 1.0);
}

#[test]
fn unreadable_records_are_kept_aside_and_written_anew() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-asked" }));
    let file = rig.state().join("state.json");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, "rubbish").unwrap();
    let done = heal(&rig);
    assert!(done[0]["reason"].as_str().unwrap().contains("cannot be read"), "{done:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), good);
    let aside = fs::read_dir(rig.state()).unwrap().flatten();
    assert_eq!(aside.filter(|entry| entry.file_name().to_string_lossy().contains("unreadable")).count(), 1);

    // A network that somebody has added to the file is taken in.
    let other = good.replace(&network, &"e5".repeat(32)).replace("vcan-asked", "vcan-imported");
    fs::write(&file, other).unwrap();
    assert!(heal(&rig)[0]["did"].as_str().unwrap().starts_with("take in the network e5"));
    assert!(rig.link("vcan-imported").is_some());
    assert_eq!(rig.status()["buses"].as_array().unwrap().len(), 2);
}

#[test]
fn a_get_heals_nothing() {
    let rig = Rig::new();
    assert_eq!(get(&rig.admin(), "/v1/heal").status, 404);
}
