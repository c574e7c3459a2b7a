//! What is left of faults that could not begin, or that have ended: nothing.

use std::fs;

use canhub::{kernel::Kernel as _, reconcile::Memory};
use serde_json::json;

use super::send;
use crate::{ask::get, bodies, rig::Rig};

const EPERM: i32 = 1;

#[track_caller]
fn assert_none(rig: &Rig) {
    assert_eq!(get(&rig.admin(), "/v1/faults").json(), json!({ "faults": [] }));
}

/// More calls of the kernel than it takes to begin a fault.
const CALLS: u32 = 40;

#[test]
fn a_fault_of_which_any_step_fails_is_undone_and_forgotten() {
    let mut failed = 0;
    for calls in 0..CALLS {
        let rig = Rig::new();
        let network = rig.network(1, json!({ "hub": "vcan-body" }));
        let [door, lock] = [1, 2].map(|number| rig.member(&network, number));
        rig.kernel.fail_after(calls, EPERM);
        let reply = send(&rig, "POST", &json!({ "bus": "vcan-body", "effects": ["down", "loss=1%"] }));
        let is_done = |number| {
            let end = rig.links_inside(&bodies::sandbox(number)).remove(0);
            (!end.up, end.qdisc.is_some_and(|qdisc| qdisc.netem.is_some()))
        };
        rig.kernel.fail_after(u32::MAX, EPERM);
        if reply.status == 200 {
            // What could not be read for a moment is left to the loop.
            rig.manager.reconcile(&Memory::default()).unwrap();
            assert_eq!([1, 2].map(is_done), [(true, true); 2], "after {calls} calls");
            continue;
        }
        failed += 1;
        assert_eq!(reply.status, 400, "{reply:?}");
        assert_none(&rig);
        assert_eq!([1, 2].map(is_done), [(false, false); 2], "it was undone at once, after {calls} calls");
        rig.assert_bus("vcan-body", &[&door, &lock]);
        rig.manager.reconcile(&Memory::default()).unwrap();
        assert_eq!([1, 2].map(is_done), [(false, false); 2], "the loop does not bring it back");
    }
    // Two ends lose frames, and two go down.
    assert!((4..CALLS).contains(&failed), "{failed}");
}

#[test]
fn without_netem_a_shape_is_refused_with_the_name_of_the_module() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    let door = rig.member(&network, 1);
    rig.kernel.withhold_netem(true);
    let reply = send(&rig, "POST", &json!({ "bus": "vcan-body", "effects": ["loss=1%"] }));
    assert!(reply.status == 400 && reply.body.contains("sch_netem"), "{reply:?}");
    assert_none(&rig);
    rig.assert_bus("vcan-body", &[&door]);
}

#[test]
fn a_fault_that_was_cleared_or_whose_network_is_gone_does_not_come_back_with_canhub() {
    let mut rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    let [door, lock] = [1, 2].map(|number| rig.member(&network, number));
    let cut = |member: &str| json!({ "bus": "vcan-body", "member": member, "effects": ["cut"], "until_cleared": true });
    assert_eq!(send(&rig, "POST", &cut(&door)).status, 200);
    assert_eq!(send(&rig, "DELETE", &json!({ "id": 1 })).status, 200);
    rig.restart();
    assert_none(&rig);
    assert_eq!(send(&rig, "POST", &cut(&lock)).status, 200);
    rig.restart_after(|state| {
        let file = state.join("faults.json");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(&network), "{text}");
        fs::write(&file, text.replace(&network, &"f".repeat(network.len()))).unwrap();
    });
    assert_none(&rig);
    rig.manager.reconcile(&Memory::default()).unwrap();
    rig.assert_bus("vcan-body", &[&door, &lock]);
}

#[test]
fn a_fault_can_be_cleared_by_the_name_of_a_member_that_has_left() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    let [door, lock] = [1, 2].map(|number| rig.member(&network, number));
    for member in [&door, &lock] {
        let cut = json!({ "bus": "vcan-body", "member": member, "effects": ["cut"], "until_cleared": true });
        assert_eq!(send(&rig, "POST", &cut).status, 200);
    }
    rig.part(&network, &door);
    assert_eq!(send(&rig, "DELETE", &json!({ "member": door })).status, 200);
    let left = get(&rig.admin(), "/v1/faults").json();
    assert_eq!((left["faults"].as_array().unwrap().len(), &left["faults"][0]["member"]), (1, &json!(lock)));
}

#[test]
fn a_fault_on_one_bus_repairs_no_other_bus() {
    let rig = Rig::new();
    for (number, hub) in [(1, "vcan-body"), (2, "vcan-seat")] {
        let network = rig.network(number, json!({ "hub": hub }));
        rig.member(&network, number);
    }
    let hub = rig.link("vcan-seat").unwrap().index;
    rig.kernel.delete_link(None, hub).unwrap();
    assert_eq!(send(&rig, "POST", &json!({ "bus": "vcan-body", "effects": ["cut"] })).status, 200);
    assert!(rig.link("vcan-seat").is_none(), "that is left to the reconcile loop");
}
