//! Namespaces that end, and paths that become another one.

use std::path::Path;

use serde_json::json;

use super::{ECU, assert_refused, attach, attached, problems, ready, reconcile, remove_bus};
use crate::ask::{Listener, get};

#[test]
fn an_attachment_ends_with_its_namespace_and_a_reused_path_is_another() {
    let rig = ready();
    attached(&rig, json!({ "id": "a" }));
    rig.kernel.remount_sandbox(Path::new(ECU));
    assert_eq!(problems(&rig, "a"), ["its network namespace has ended"]);
    // Its ID and its path are free at once.
    attached(&rig, json!({ "id": "a" }));
    rig.kernel.remount_sandbox(Path::new(ECU));
    attached(&rig, json!({ "id": "b" }));
    reconcile(&rig);
    assert_eq!(get(&rig.admin(), "/v1/attachments?id=a").status, 404);
    assert_eq!((problems(&rig, "b"), rig.inside(ECU)), (vec![], vec!["can0".to_owned()]));
    // A bus is free as soon as the namespaces of all its members have ended, whether that was noticed or not.
    rig.kernel.end_sandbox(Path::new(ECU));
    assert_eq!(remove_bus(&rig, "body").json()["bus"]["members"], json!([]));
    rig.assert_clean();
    let mut events = Listener::start(&rig.admin(), 100);
    let mut left = Vec::new();
    loop {
        let event = events.next().unwrap();
        match event["event"].as_str().unwrap() {
            "network-deleted" => break,
            "left" => left.push(event["reason"].clone()),
            _ => {}
        }
    }
    assert_eq!(left, ["its network namespace has ended"; 2]);
}

#[test]
fn a_path_that_gets_another_namespace_meanwhile_is_refused_and_nothing_is_left_there() {
    let rig = ready();
    let before = rig.ours();
    for bus_options in [None, Some(json!({}))] {
        rig.kernel.remount_before_pair(Path::new(ECU));
        let fields = bus_options.map_or(json!({}), |options| json!({ "bus": "new", "bus_options": options }));
        assert_refused(&attach(&rig, fields), 400, None, "ended while it was being attached");
        assert_eq!((rig.ours(), rig.inside(ECU)), (before.clone(), vec![]));
    }
    assert_eq!(rig.sample("canhub_join_failures_total"), 2.0);
    attached(&rig, json!({}));
}

#[test]
fn a_namespace_that_outlives_its_path_stays_on_the_bus() {
    let rig = ready();
    attached(&rig, json!({ "id": "a" }));
    let before = rig.ours();
    rig.kernel.move_sandbox(Path::new(ECU), Path::new("/proc/4711/fd/3"));
    // Another namespace takes the path: a process ID was used again.
    rig.kernel.add_sandbox(ECU);
    for _ in 0..3 {
        reconcile(&rig);
    }
    assert_eq!(rig.ours(), before);
    assert_eq!(rig.inside(ECU), [""; 0], "nothing is made in the other namespace");
}
