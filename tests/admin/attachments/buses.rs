//! Buses without Docker: what they outlive, and what they go with.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use super::{ECU, assert_refused, attach, attached, bus, detach, ready, reconcile, remove_bus};
use crate::{ask::get, rig::Rig};

#[test]
fn buses_and_attachments_survive_a_restart_and_docker_can_end_neither() {
    let mut rig = ready();
    let network = rig.network(1, json!({ "hub": "vcan-docker" }));
    attached(&rig, json!({ "id": "a", "name": "ecu", "options": { "rate": "125000" } }));
    attached(&rig, json!({ "id": "b", "bus": "vcan-docker", "ifname": "can1" }));
    let (mine, made) = (rig.ours(), get(&rig.admin(), "/v1/buses").json());
    let all = get(&rig.admin(), "/v1/attachments").json();
    rig.restart();
    reconcile(&rig);
    assert_eq!((rig.ours(), get(&rig.admin(), "/v1/attachments").json()), (mine.clone(), all));
    assert_eq!(get(&rig.admin(), "/v1/buses").json(), made);
    // Docker lists its network without this endpoint, twice, and not the bus.
    let asked = std::time::Instant::now();
    for age in [0, 120] {
        let view = canhub::manager::DockerView {
            engine: Some("engine".into()),
            asked: asked + Duration::from_secs(age),
            networks: vec![canhub::manager::DockerNetwork {
                id: network.clone().try_into().unwrap(),
                name: "docker".into(),
                options: Default::default(),
                endpoints: Some(Default::default()),
            }],
        };
        rig.manager.learn(&view);
    }
    assert_eq!(rig.ours(), mine);
    let taken = bus(&rig, "docker", json!({ "hub": "vcan-docker" }));
    assert_refused(&taken, 409, Some("exists"), "docker is the name of a network of Docker's already");
    // Without its records, the kernel still tells what is attached to which bus.
    rig.restart_after(|state| std::fs::remove_dir_all(state).unwrap());
    reconcile(&rig);
    let found = get(&rig.admin(), "/v1/attachments?id=a").json()["attachments"][0].clone();
    assert_eq!((&found["bus"], &found["name"]), (&json!("body"), &json!("ecu1")), "{found}");
    assert_eq!(found["problems"], json!([]), "{found}");
    assert_eq!(bus(&rig, "body", json!({ "hub": "vcan-body" })).status, 200);
    assert_eq!(detach(&rig, json!({ "id": "a" })).status, 200);
}

#[test]
fn a_bus_waits_for_a_namespace_that_is_about_to_end_but_not_for_ever() {
    let rig = ready();
    attached(&rig, json!({ "id": "a" }));
    let elsewhere = Path::new("/proc/4711/fd/3");
    rig.kernel.move_sandbox(Path::new(ECU), elsewhere);
    assert_refused(&remove_bus(&rig, "body"), 409, Some("in-use"), "is in use by ecu1");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            rig.kernel.end_sandbox(elsewhere);
        });
        assert_eq!(remove_bus(&rig, "body").status, 200);
    });
}

#[test]
fn the_port_to_other_hosts_keeps_no_bus() {
    let rig = ready();
    assert_eq!(bus(&rig, "wide", json!({ "span": "lab" })).status, 200);
    reconcile(&rig);
    assert_eq!(remove_bus(&rig, "wide").status, 200);
}

#[test]
fn a_bus_whose_record_was_lost_takes_the_options_that_it_is_made_with_again() {
    let mut rig = ready();
    let options = json!({ "hub": "vcan-kept", "rate": "125000" });
    assert_eq!(bus(&rig, "kept", options.clone()).status, 200);
    attached(&rig, json!({ "bus": "kept", "id": "a" }));
    rig.restart_after(|state| std::fs::remove_dir_all(state).unwrap());
    reconcile(&rig);
    assert_eq!(bus(&rig, "kept", options.clone()).json()["bus"]["options"], options);
}

#[test]
fn a_bus_is_one_name_and_a_second_network_of_docker_with_it_has_to_be_named_by_its_id() {
    let rig = ready();
    let network = rig.network(1, json!({ "hub": "vcan-docker" }));
    rig.manager.learn(&canhub::manager::DockerView {
        engine: None,
        asked: std::time::Instant::now(),
        networks: vec![canhub::manager::DockerNetwork {
            id: network.clone().try_into().unwrap(),
            name: "body".into(),
            options: Default::default(),
            endpoints: None,
        }],
    });
    assert_refused(
        &attach(&rig, json!({})),
        404,
        Some("unknown-bus"),
        "means several networks: use the ID of one",
    );
    attached(&rig, json!({ "bus": network }));
    assert_eq!(rig.inside(ECU), ["can0"]);
    assert_eq!(rig.status()["buses"].as_array().unwrap().len(), 2);
}

#[test]
fn a_bus_can_be_made_for_an_attachment_and_goes_with_the_last_one() {
    let mut rig = Rig::new();
    let paths = ["/run/netns/one", "/run/netns/two"];
    paths.iter().for_each(|path| rig.kernel.add_sandbox(*path));
    let wish = |path: &str, options: Value| json!({ "bus": "pods", "bus_options": options, "netns": path });
    // What is refused leaves no bus.
    let refused = attach(&rig, wish("/run/netns/none", json!({})));
    assert_refused(&refused, 400, None, "no network namespace");
    let refused = attach(
        &rig,
        json!({ "bus": "pods", "bus_options": {}, "netns": paths[0], "options": { "rate": "1" } }),
    );
    assert_eq!(refused.status, 400, "{refused:?}");
    assert_refused(&attach(&rig, wish(paths[0], json!({ "hubb": "x" }))), 400, None, "did you mean hub?");
    rig.assert_clean();
    for path in paths {
        attached(&rig, wish(path, json!({ "hub": "vcan-pods" })));
    }
    let made = |rig: &Rig| get(&rig.admin(), "/v1/buses").json()["buses"].clone();
    assert_eq!((made(&rig).as_array().unwrap().len(), &made(&rig)[0]["transient"]), (1, &json!(true)));
    let taken = attach(&rig, json!({ "bus": "other", "bus_options": {}, "netns": paths[0] }));
    assert_refused(&taken, 409, Some("taken"), "already has an interface can0 from network pods");
    assert_eq!(made(&rig).as_array().unwrap().len(), 1, "the other bus went with its only attachment");
    let other = attach(&rig, wish(paths[0], json!({ "hub": "vcan-other" })));
    assert_refused(&other, 409, Some("exists"), "its options are hub=vcan-pods, not hub=vcan-other");
    assert_eq!(attached(&rig, wish(paths[0], json!({})))["bus"], "pods");
    // The last one comes again, in another namespace: of this ID there is only one.
    let again = || attached(&rig, json!({ "bus": "other", "bus_options": {}, "netns": ECU, "id": "again" }));
    rig.kernel.add_sandbox(ECU);
    again();
    rig.kernel.remount_sandbox(Path::new(ECU));
    again();
    assert_eq!(detach(&rig, json!({ "id": "again" })).status, 200);
    assert_eq!(made(&rig).as_array().unwrap().len(), 1);
    // One leaves, one ends, also while canhub does not run.
    assert_eq!(detach(&rig, json!({ "bus": "pods", "netns": paths[0] })).status, 200);
    assert_eq!(made(&rig)[0]["members"], json!(["two"]));
    rig.restart_after(|_| ());
    rig.kernel.end_sandbox(Path::new(paths[1]));
    reconcile(&rig);
    rig.assert_clean();
    // After a reboot nobody is on it.
    attached(&rig, json!({ "bus": "pods", "bus_options": {}, "netns": paths[0] }));
    rig.kernel.end_sandbox(Path::new(paths[0]));
    rig.restart_after(|state| std::fs::remove_dir_all(state.join("endpoints")).unwrap());
    reconcile(&rig);
    rig.assert_clean();
    // Declared, it stays.
    rig.kernel.add_sandbox(paths[0]);
    attached(&rig, json!({ "bus": "pods", "bus_options": {}, "netns": paths[0] }));
    assert_eq!(bus(&rig, "pods", json!({})).json()["bus"]["transient"], false);
    assert_eq!(detach(&rig, json!({ "bus": "pods", "netns": paths[0] })).status, 200);
    rig.restart();
    reconcile(&rig);
    assert_eq!(made(&rig)[0]["transient"], false);
    assert_eq!(remove_bus(&rig, "pods").status, 200);
    rig.assert_clean();
}
