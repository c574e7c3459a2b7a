//! What Docker assumes and the host lacks: Join creates it.

use std::{fs, thread, time::Duration};

use canhub::{
    checks::{Level, records},
    kernel::{Kernel, LinkChange, LinkKind},
    reconcile::Memory,
};
use serde_json::json;

use super::{
    bodies,
    bus::{host_end, hub},
    rig::Rig,
};

/// Trap 13: Docker never repeats CreateNetwork; the first call after a restart is CreateEndpoint.
#[test]
fn a_network_without_a_record_gets_a_working_bus() {
    let rig = Rig::new();
    let network = bodies::network(1);
    let members = [rig.member(&network, 1), rig.member(&network, 2)];
    rig.assert_bus(&hub(&network), &[&members[0], &members[1]]);
    assert_eq!(rig.recorded()[&network]["provisional"], json!(true), "{}", rig.recorded());
    for member in &members {
        rig.part(&network, member);
    }
    rig.call("DeleteNetwork", &bodies::delete_network(&network)).ok();
    rig.assert_clean();
}

#[test]
fn a_provisional_network_takes_the_options_of_a_late_create() {
    let rig = Rig::new();
    let network = bodies::network(1);
    rig.call("CreateEndpoint", &bodies::create_endpoint(&network, &bodies::endpoint(1), json!({}))).ok();
    rig.network(1, json!({ "hub": "vcan-body" }));
    assert_eq!(rig.recorded()[&network]["options"], json!({ "hub": "vcan-body" }));
}

/// The vcan that replaced the adapter until the options were known is deleted with the network.
#[test]
fn a_provisional_network_that_turns_out_to_have_an_adapter_leaves_no_hub_behind() {
    let rig = Rig::new();
    let network = bodies::network(1);
    let member = rig.member(&network, 1);
    rig.kernel.add_foreign("can0", LinkKind::Can);
    rig.network(1, json!({ "adapter": "can0" }));
    rig.part(&network, &member);
    rig.call("DeleteNetwork", &bodies::delete_network(&network)).ok();
    assert!(rig.link("can0").is_some(), "an adapter is never deleted");
    rig.assert_clean();
}

/// Refused options must not affect existing members.
#[test]
fn a_refused_create_of_a_provisional_network_forgets_no_member() {
    let mut rig = Rig::new();
    let network = bodies::network(1);
    let member = rig.member(&network, 1);
    let body = bodies::create_network(&network, json!({ "adapter": "eth0" }));
    rig.call("CreateNetwork", &body).refused();
    // A known member is repaired by the next pass, a forgotten one is not.
    let index = rig.link(&host_end(&member)).unwrap().index;
    rig.kernel.delete_link(None, index).unwrap();
    rig.manager.reconcile(&Memory::default()).unwrap();
    rig.assert_bus(&hub(&network), &[&member]);
    rig.part(&network, &member);
    rig.restart();
    rig.call("DeleteNetwork", &bodies::delete_network(&network)).ok();
    rig.assert_clean();
}

#[test]
fn an_endpoint_without_a_record_can_join() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "ifname": "can3" }));
    rig.kernel.add_sandbox(bodies::sandbox(1));
    rig.call("Join", &bodies::join(&network, &bodies::endpoint(1), &bodies::sandbox(1))).ok();
    assert_eq!(rig.inside(&bodies::sandbox(1)), ["can3"]);
    rig.assert_bus(&hub(&network), &[&bodies::endpoint(1)]);
}

#[test]
fn a_join_heals_the_hub_and_the_rules_of_its_own_member() {
    let rig = Rig::new();
    let network = rig.network(1, json!({}));
    let index = rig.link(&hub(&network)).unwrap().index;
    rig.kernel.delete_link(None, index).unwrap();
    let member = rig.member(&network, 1);
    rig.assert_bus(&hub(&network), &[&member]);

    let index = rig.link(&hub(&network)).unwrap().index;
    let down = LinkChange { up: Some(false), mtu: Some(16), ..LinkChange::default() };
    rig.kernel.change_link(None, index, &down).unwrap();
    let rules: Vec<_> = rig.kernel.rules().unwrap().into_iter().map(|status| status.rule).collect();
    rig.kernel.delete_rules(&rules[1..]).unwrap();
    rig.kernel.add_rules(&rules[..1]).unwrap();
    rig.call("Join", &bodies::join(&network, &member, &bodies::sandbox(1))).ok();
    rig.assert_bus(&hub(&network), &[&member]);
    assert_eq!(rig.link(&hub(&network)).unwrap().mtu, 72);
}

#[test]
fn a_join_recreates_a_deleted_pair() {
    let rig = Rig::new();
    let network = rig.network(1, json!({}));
    let [first, second] = [rig.member(&network, 1), rig.member(&network, 2)];
    let index = rig.link(&host_end(&first)).unwrap().index;
    rig.kernel.delete_link(None, index).unwrap();
    assert_eq!(rig.inside(&bodies::sandbox(1)), Vec::<String>::new());
    rig.call("Join", &bodies::join(&network, &first, &bodies::sandbox(1))).ok();
    rig.assert_bus(&hub(&network), &[&first, &second]);
    assert_eq!(rig.inside(&bodies::sandbox(1)), ["can0"]);
}

/// A later member is connected with all others in both directions.
#[test]
fn a_later_member_is_connected_in_both_directions() {
    let rig = Rig::new();
    let network = rig.network(1, json!({}));
    let mut members = Vec::new();
    for number in 0..5 {
        members.push(rig.member(&network, number));
        let present: Vec<&str> = members.iter().map(String::as_str).collect();
        rig.assert_bus(&hub(&network), &present);
    }
    rig.part(&network, &members.remove(2));
    members.push(rig.member(&network, 9));
    let present: Vec<&str> = members.iter().map(String::as_str).collect();
    rig.assert_bus(&hub(&network), &present);
}

#[test]
fn with_adapter_wait_fail_join_names_the_missing_adapter_until_it_appears() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "adapter": "can0", "adapter-wait": "fail" }));
    let endpoint = bodies::endpoint(1);
    rig.kernel.add_sandbox(bodies::sandbox(1));
    rig.call("CreateEndpoint", &bodies::create_endpoint(&network, &endpoint, json!({}))).ok();
    let join = bodies::join(&network, &endpoint, &bodies::sandbox(1));
    let why = rig.call("Join", &join).refused();
    assert!(why.contains("adapter can0 not found"), "{why}");
    assert_eq!((rig.link("can0"), rig.link(&host_end(&endpoint))), (None, None), "never faked, never half");
    rig.kernel.add_foreign("can0", LinkKind::Can);
    rig.call("Join", &join).ok();
    rig.assert_bus("can0", &[&endpoint]);
    rig.part(&network, &endpoint);
    rig.call("DeleteNetwork", &bodies::delete_network(&network)).ok();
    assert!(rig.link("can0").is_some(), "an adapter is never deleted");
    rig.assert_clean();
}

/// Trap 14: an unclean stop of dockerd sends no Leave; the same container comes back with a new endpoint.
#[test]
fn forgotten_endpoints_do_not_affect_the_next_start() {
    let mut rig = Rig::new();
    let network = rig.network(1, json!({}));
    let old = rig.member(&network, 1);
    rig.kernel.end_sandbox(bodies::sandbox(1).as_ref());
    rig.restart();
    let new = rig.member(&network, 2);
    rig.assert_bus(&hub(&network), &[&new]);
    assert!(rig.link(&host_end(&old)).is_none(), "{:?}", rig.ours());
    rig.part(&network, &new);
    rig.call("DeleteNetwork", &bodies::delete_network(&network)).ok();
    rig.assert_clean();
}

/// Traps 14 and 17: Docker may never mention these endpoints again.
#[test]
fn deleting_a_network_deletes_its_forgotten_endpoints() {
    let rig = Rig::new();
    let network = rig.network(1, json!({}));
    rig.member(&network, 1);
    rig.member(&network, 2);
    let other = rig.network(2, json!({}));
    let stays = rig.member(&other, 3);
    rig.call("DeleteNetwork", &bodies::delete_network(&network)).ok();
    assert_eq!((rig.inside(&bodies::sandbox(1)), rig.inside(&bodies::sandbox(2))), (vec![], vec![]));
    rig.assert_bus(&hub(&other), &[&stays]);
    rig.part(&other, &stays);
    rig.call("DeleteNetwork", &bodies::delete_network(&other)).ok();
    rig.assert_clean();
}

#[test]
fn a_lost_or_damaged_state_folder_loses_nothing_that_exists() {
    for spoil in [
        (|state| fs::remove_dir_all(state).unwrap()) as fn(&std::path::Path),
        |state| fs::write(state.join("state.json"), "{ rubbish").unwrap(),
        |state| fs::write(state.join("state.json"), b"\xff\0\x01").unwrap(),
    ] {
        let mut rig = Rig::new();
        let network = rig.network(1, json!({ "hub": "vcan-body", "ifname": "can5" }));
        let first = rig.member(&network, 1);
        rig.restart_after(spoil);
        let second = rig.member(&network, 2);
        rig.assert_bus("vcan-body", &[&first, &second]);
        assert_eq!(rig.inside(&bodies::sandbox(2)), ["can5"]);
        rig.part(&network, &first);
        rig.part(&network, &second);
        rig.call("DeleteNetwork", &bodies::delete_network(&network)).ok();
        rig.assert_clean();
    }
}

/// A disk error may be temporary, so the file is neither renamed nor overwritten.
#[test]
fn records_that_are_temporarily_unreadable_are_loaded_later() {
    let mut rig = Rig::new();
    let [alive, idle, deleted] = [1, 2, 3]
        .map(|number| rig.network(number, json!({ "hub": format!("vcan-{number}"), "ifname": "can5" })));
    let first = rig.member(&alive, 1);
    // Without its vcan, nothing in the kernel describes it.
    for hub in ["vcan-2", "vcan-3"] {
        rig.kernel.delete_link(None, rig.link(hub).unwrap().index).unwrap();
    }
    let good = rig.state().join("good");
    rig.restart_after(|state| {
        fs::rename(state.join("state.json"), state.join("good")).unwrap();
        fs::create_dir(state.join("state.json")).unwrap();
    });
    let second = rig.member(&alive, 2);
    rig.assert_bus("vcan-1", &[&first, &second]);
    let third = rig.member(&idle, 3);
    rig.assert_bus(&hub(&idle), &[&third]);
    rig.call("DeleteNetwork", &bodies::delete_network(&deleted)).ok();
    let body = bodies::create_network(&bodies::network(4), json!({}));
    let why = rig.call("CreateNetwork", &body).refused();
    assert!(why.contains("cannot read the state file") && why.contains("state.json"), "{why}");
    let found = records::of_daemon(&rig.manager.records());
    assert_eq!(found.level, Level::Error);
    assert!(found.sentence.contains("cannot read the state file"), "{found:?}");
    assert!(rig.state().join("state.json").is_dir());

    fs::remove_dir(rig.state().join("state.json")).unwrap();
    fs::rename(good, rig.state().join("state.json")).unwrap();
    assert_eq!(records::of_daemon(&rig.manager.records()).level, Level::Pass);
    rig.call("CreateNetwork", &body).ok();
    let recorded = rig.recorded();
    assert_eq!(recorded.as_object().unwrap().len(), 3, "{recorded}");
    assert_eq!(recorded[&idle]["options"]["hub"], "vcan-2");
    assert_eq!(recorded.get(&deleted), None);
    rig.manager.reconcile(&Memory::default()).unwrap();
    rig.assert_bus("vcan-2", &[&third]);
}

/// Trap 17: Docker ignores errors of DeleteEndpoint and never retries, so the loop deletes what is left.
#[test]
fn a_failed_deletion_is_completed_later() {
    let rig = Rig::new();
    let network = rig.network(1, json!({}));
    let endpoint = rig.member(&network, 1);
    rig.call("Leave", &bodies::both(&network, &endpoint)).ok();
    // After the dumps that count its frames and find its pair.
    rig.kernel.fail_after(3, 5);
    rig.call("DeleteEndpoint", &bodies::both(&network, &endpoint)).ok();
    assert!(rig.link(&host_end(&endpoint)).is_some(), "the kernel should have refused: {:?}", rig.ours());
    let memory = Memory::default();
    rig.manager.reconcile(&memory).unwrap();
    // A leftover has a grace period of 10 s, so as not to race with an endpoint that is being created.
    thread::sleep(Duration::from_millis(10_100));
    rig.manager.reconcile(&memory).unwrap();
    assert_eq!(rig.link(&host_end(&endpoint)), None);
}
