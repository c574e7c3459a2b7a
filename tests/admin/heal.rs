//! `POST /v1/heal`: heals on request, even where canhub would not.

use std::{fs, thread, time::Duration};

use canhub::{
    kernel::{Kernel, RuleStatus},
    reconcile::Memory,
};
use serde_json::{Value, json};

use super::{
    ask::{get, request},
    hanging::{self, Held},
    rig::Rig,
};

fn heal(rig: &Rig) -> Vec<Value> {
    let answer = request(&rig.admin(), "POST", "/v1/heal");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["done"].as_array().unwrap().clone()
}

#[test]
fn a_bus_with_healing_off_is_healed_on_request() {
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
    assert!(done[0]["did"].as_str().unwrap().contains("create the vcan vcan-asked"));
    assert_eq!(rig.status()["buses"][0]["steps"], json!([]));
    assert_eq!(heal(&rig), Vec::<Value>::new(), "once is enough");
    // Reported like any other heal.
    assert_eq!(rig.sample("canhub_heals_total{reason=\"the hub was missing\"}"), 1.0);
}

#[test]
fn unreadable_records_are_renamed_and_rewritten() {
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

    // A network that someone added to the file is loaded.
    let other = good.replace(&network, &"e5".repeat(32)).replace("vcan-asked", "vcan-imported");
    fs::write(&file, other).unwrap();
    assert!(heal(&rig)[0]["did"].as_str().unwrap().starts_with("load the network e5"));
    assert!(rig.link("vcan-imported").is_some());
    assert_eq!(rig.status()["buses"].as_array().unwrap().len(), 2);
}

#[test]
fn a_get_heals_nothing() {
    let rig = Rig::new();
    assert_eq!(get(&rig.admin(), "/v1/heal").status, 404);
}

/// Two members and the hub: six ways, each with a rule for classic, for FD and for error frames.
const RULES: usize = 18;

/// Both have read the rules before either acts: the second one's reading is outdated when its turn comes.
#[test]
fn two_heals_at_once_add_each_rule_once() {
    let (rig, kernel) = hanging::rig(Duration::from_secs(20));
    let network = rig.network(1, json!({ "hub": "vcan-asked" }));
    rig.member(&network, 1);
    rig.member(&network, 2);
    let rules: Vec<_> = rig.kernel.rules().unwrap().iter().map(|status: &RuleStatus| status.rule).collect();
    assert_eq!(rules.len(), RULES);
    rig.kernel.delete_rules(&rules).unwrap();

    kernel.hold(Held::Rules);
    thread::scope(|scope| {
        let by_loop = scope.spawn(|| rig.manager.reconcile(&Memory::default()).unwrap().healed);
        let asked_for = scope.spawn(|| heal(&rig).len());
        kernel.until_waiting(2);
        kernel.hold(Held::None);
        let (by_loop, asked_for) = (by_loop.join().unwrap(), asked_for.join().unwrap());
        assert_eq!((by_loop > 0) as usize + (asked_for > 0) as usize, 1, "{by_loop} and {asked_for} steps");
    });
    assert_eq!(rig.kernel.rules().unwrap().len(), RULES);
}

/// A container starts between the reading and the turn, which makes the reading outdated.
#[test]
fn a_heal_overtaken_by_a_join_starts_over() {
    let (rig, kernel) = hanging::rig(Duration::from_secs(20));
    let network = rig.network(1, json!({ "hub": "vcan-asked" }));
    rig.member(&network, 1);
    kernel.hold(Held::Rules);
    thread::scope(|scope| {
        let asked_for = scope.spawn(|| heal(&rig));
        kernel.until_waiting(1);
        let joined = scope.spawn(|| rig.member(&network, 2));
        let endpoint = joined.join().unwrap();
        kernel.hold(Held::None);
        assert_eq!(asked_for.join().unwrap(), Vec::<Value>::new(), "of {endpoint}");
    });
    assert_eq!(rig.kernel.rules().unwrap().len(), RULES);
}

/// Reading the host takes longer than other requests are allowed to, and a second heal takes its turn afterwards.
#[test]
fn slow_heals_run_one_at_a_time_and_are_answered() {
    let (rig, kernel) = hanging::rig(Duration::from_secs(20));
    rig.network(1, json!({ "hub": "vcan-asked" }));
    rig.kernel.delete_link(None, rig.link("vcan-asked").unwrap().index).unwrap();
    kernel.hold(Held::Links);
    thread::scope(|scope| {
        let first = scope.spawn(|| heal(&rig));
        kernel.until_waiting(1);
        let second = scope.spawn(|| heal(&rig));
        // Longer than the time limit of read-only requests.
        thread::sleep(Duration::from_millis(5500));
        assert_eq!(kernel.waiting(), 1, "the second one waits for its turn");
        kernel.hold(Held::None);
        assert_eq!(first.join().unwrap().len(), 1);
        assert_eq!(second.join().unwrap().len(), 0);
    });
}
