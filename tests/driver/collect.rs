//! What Docker has forgotten is collected, and nothing else.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use canhub::{
    manager::{DockerNetwork, DockerView},
    options::RawOptions,
};
use serde_json::json;

use super::{
    bodies,
    bus::{host_end, hub},
    rig::Rig,
};

const OURS: &str = "engine-of-the-host";
const MINUTE: Duration = Duration::from_secs(60);

/// A list with these networks and their endpoints, requested this long from now.
fn list(engine: &str, after: Duration, networks: &[(&str, &[&str])]) -> DockerView {
    let network = |(id, endpoints): &(&str, &[&str])| DockerNetwork {
        id: (*id).to_owned().try_into().unwrap(),
        name: "body".into(),
        options: RawOptions::new(),
        endpoints: Some(
            endpoints
                .iter()
                .map(|id| ((*id).to_owned().try_into().unwrap(), "lamp".into()))
                .collect::<BTreeMap<_, _>>(),
        ),
    };
    DockerView {
        engine: Some(engine.to_owned()),
        asked: Instant::now() + after,
        networks: networks.iter().map(network).collect(),
    }
}

/// Two networks, of which Docker first knew both and now only the second.
fn forgotten() -> (Rig, String, String) {
    let rig = Rig::new();
    let [gone, stays] = [rig.network(1, json!({})), rig.network(2, json!({}))];
    assert!(!rig.manager.learn(&list(OURS, Duration::ZERO, &[(&gone, &[]), (&stays, &[])])));
    (rig, gone, stays)
}

#[test]
fn a_network_is_collected_when_a_second_list_lacks_it() {
    let (rig, gone, stays) = forgotten();
    let lacks = |after| rig.manager.learn(&list(OURS, after, &[(&stays, &[])]));
    // Known for an hour, and missing for the first time.
    assert!(lacks(60 * MINUTE), "a second list is due");
    assert!(lacks(61 * MINUTE - Duration::from_secs(1)), "still");
    assert!(rig.link(&hub(&gone)).is_some());
    assert!(!lacks(61 * MINUTE), "no further list is needed");
    assert!(rig.link(&hub(&gone)).is_none());
    assert!(rig.link(&hub(&stays)).is_some());
    assert_eq!(rig.recorded().as_object().unwrap().keys().collect::<Vec<_>>(), [&stays]);
}

#[test]
fn a_network_that_reappears_in_a_list_is_not_missing() {
    let (rig, gone, stays) = forgotten();
    let lacks = |after| rig.manager.learn(&list(OURS, after, &[(&stays, &[])]));
    lacks(MINUTE);
    rig.manager.learn(&list(OURS, 2 * MINUTE, &[(&gone, &[]), (&stays, &[])]));
    assert!(lacks(3 * MINUTE));
    assert!(rig.link(&hub(&gone)).is_some());
}

/// A wrong `--docker-socket`, or a second engine on the host.
#[test]
fn lists_of_another_engine_never_collect_anything() {
    let (mut rig, gone, stays) = forgotten();
    for restarts in [false, true] {
        if restarts {
            rig.restart();
        }
        for minute in 0..5 {
            assert!(!rig.manager.learn(&list("another-engine", minute * MINUTE, &[])));
        }
        // Neither counts as the second list of the other engine.
        rig.manager.learn(&list(OURS, 5 * MINUTE, &[(&gone, &[])]));
        rig.manager.learn(&list("another-engine", 7 * MINUTE, &[]));
        assert!(rig.link(&hub(&gone)).is_some() && rig.link(&hub(&stays)).is_some());
        assert_eq!(rig.recorded().as_object().unwrap().len(), 2);
    }
    let nobody = DockerView { engine: None, ..list(OURS, 9 * MINUTE, &[]) };
    assert!(!rig.manager.learn(&nobody));
    assert_eq!(rig.recorded().as_object().unwrap().len(), 2);
}

/// A wrong socket from the first day on: no engine has ever listed a network of ours.
#[test]
fn an_engine_that_never_listed_our_networks_collects_none() {
    let rig = Rig::new();
    let network = rig.network(1, json!({}));
    for minute in 0..5 {
        rig.manager.learn(&list("another-engine", minute * MINUTE, &[]));
    }
    assert!(rig.link(&hub(&network)).is_some());
}

#[test]
fn a_bus_with_a_running_member_is_never_collected() {
    let (rig, gone, stays) = forgotten();
    let member = rig.member(&gone, 1);
    for minute in 0..5 {
        rig.manager.learn(&list(OURS, minute * MINUTE, &[(&stays, &[])]));
    }
    rig.assert_bus(&hub(&gone), &[&member]);
    rig.kernel.end_sandbox(bodies::sandbox(1).as_ref());
    rig.manager.learn(&list(OURS, 5 * MINUTE, &[(&stays, &[])]));
    assert!(rig.link(&hub(&gone)).is_none(), "{:?}", rig.ours());
}

/// It ended while dockerd was away, and dockerd has started it again. Works before Linux 5.14 too, without cookies.
#[test]
fn an_endpoint_is_collected_at_once_when_its_container_is_listed_with_another_endpoint() {
    let (rig, other, bus) = forgotten();
    let [gone, stays] = [rig.member(&bus, 1), rig.member(&bus, 2)];
    rig.manager.learn(&list(OURS, MINUTE, &[(&bus, &[&gone])]));
    // A container of that name on another network proves nothing.
    rig.manager.learn(&list(OURS, MINUTE, &[(&other, &[&stays])]));
    rig.assert_bus(&hub(&bus), &[&gone, &stays]);
    rig.manager.learn(&list(OURS, 2 * MINUTE, &[(&bus, &[&stays])]));
    rig.assert_bus(&hub(&bus), &[&stays]);
    assert_eq!(rig.endpoint_records(), [format!("{stays}.json")]);
    // Those that are listed stay, whatever their names.
    let new = rig.member(&bus, 3);
    rig.manager.learn(&list(OURS, 3 * MINUTE, &[(&bus, &[&stays, &new])]));
    rig.assert_bus(&hub(&bus), &[&stays, &new]);
}

/// dockerd was killed: there is no Leave for its containers.
#[test]
fn an_endpoint_is_collected_when_a_second_list_lacks_it() {
    let (rig, _, bus) = forgotten();
    let [gone, stays] = [rig.member(&bus, 1), rig.member(&bus, 2)];
    let lacks = |after| rig.manager.learn(&list(OURS, after, &[(&bus, &[&stays])]));
    lacks(60 * MINUTE);
    rig.assert_bus(&hub(&bus), &[&gone, &stays]);
    lacks(61 * MINUTE);
    assert!(rig.link(&host_end(&gone)).is_none());
    rig.assert_bus(&hub(&bus), &[&stays]);
}
