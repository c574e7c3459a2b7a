//! Join, Leave and DeleteEndpoint: how the interface gets into the container, and when it is deleted.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    bodies,
    bus::{host_end, hub},
    rig::Rig,
};

/// CreateEndpoint and Join of a container whose sandbox does not exist yet (Docker ≤ 27 at start).
fn join_before_sandbox(rig: &Rig, network: &str, number: u32, options: Value) -> Value {
    let endpoint = bodies::endpoint(number);
    rig.call("CreateEndpoint", &bodies::create_endpoint(network, &endpoint, options)).ok();
    rig.call("Join", &bodies::join(network, &endpoint, &bodies::sandbox(number))).ok()
}

/// Traps 6 and 7: without DisableGatewayService, Docker attaches docker_gwbridge, and 29.0.0 fails; a gateway crashes
/// dockerd 29.0.0 to 29.0.2. The response has these keys and no others.
#[test]
fn join_disables_the_gateway_service_and_sets_no_gateway_or_route() {
    let rig = Rig::new();
    let network = rig.network(1, json!({}));
    rig.kernel.add_sandbox(bodies::sandbox(1));
    let inside = join_before_sandbox(&rig, &network, 1, json!({}));
    assert_eq!(inside, json!({ "DisableGatewayService": true }));
    let outside = join_before_sandbox(&rig, &network, 2, json!({}));
    let keys: Vec<&String> = outside.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["DisableGatewayService", "InterfaceName"], "{outside}");
    assert_eq!(outside["DisableGatewayService"], json!(true));
}

/// Trap 11: no released engine supports exact names, so if the sandbox exists, the interface is created inside.
#[test]
fn if_the_sandbox_exists_the_interface_is_created_inside_with_its_name() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "ifname": "body1" }));
    let endpoint = rig.member(&network, 1);
    let inside = rig.links_inside(&bodies::sandbox(1));
    assert_eq!(inside.len(), 1, "{inside:?}");
    assert_eq!((&*inside[0].name, inside[0].up, inside[0].mtu), ("body1", true, 72));
    rig.assert_bus(&hub(&network), &[&endpoint]);
}

/// Trap 12: up to Docker 27 the sandbox is created after Join, so Docker gets an interface to move.
#[test]
fn if_the_sandbox_does_not_exist_yet_docker_moves_the_interface() {
    let rig = Rig::new();
    let network = rig.network(1, json!({}));
    let answer = join_before_sandbox(&rig, &network, 1, json!({}));
    let name = &answer["InterfaceName"];
    assert_eq!((&name["DstPrefix"], &name["DstName"]), (&json!("can"), &json!("can0")), "{answer}");
    let source = rig.link(name["SrcName"].as_str().unwrap()).unwrap_or_else(|| panic!("{answer}"));
    assert!(!source.up, "Docker brings it up: {source:?}");
    rig.assert_bus(&hub(&network), &[&bodies::endpoint(1)]);
}

/// Trap 9: a SrcName used twice within one sandbox crashed dockerd 28.0 to 29.6.
#[test]
fn source_names_are_unique_per_endpoint_and_fit() {
    let rig = Rig::new();
    let network = rig.network(1, json!({}));
    let names: BTreeSet<String> = (0..40)
        .map(|number| {
            let answer = join_before_sandbox(&rig, &network, number, json!({}));
            let name = answer["InterfaceName"]["SrcName"].as_str().unwrap().to_owned();
            assert!(name.len() <= 15, "{name} has {} bytes", name.len());
            name
        })
        .collect();
    assert_eq!(names.len(), 40, "{names:?}");
}

/// Trap 10: a container joins its networks in random order, so names must not depend on it.
#[test]
fn a_container_on_two_buses_has_the_right_names_in_either_order() {
    for order in [[1, 2], [2, 1]] {
        let rig = Rig::new();
        let networks = [rig.network(1, json!({})), rig.network(2, json!({ "ifname": "can1" }))];
        for number in order {
            let answer = join_before_sandbox(&rig, &networks[number as usize - 1], number, json!({}));
            let wanted = if number == 1 { ("can", "can0") } else { ("can1_", "can1") };
            let name = &answer["InterfaceName"];
            assert_eq!((&name["DstPrefix"], &name["DstName"]), (&json!(wanted.0), &json!(wanted.1)));
        }
    }
}

/// Trap 10: two buses with the same interface name would swap can0 and can1 at the next start.
#[test]
fn two_buses_with_the_same_interface_name_in_a_container_are_refused_with_the_fix() {
    for exists in [false, true] {
        let rig = Rig::new();
        let networks = [rig.network(1, json!({})), rig.network(2, json!({}))];
        if exists {
            rig.kernel.add_sandbox(bodies::sandbox(1));
        }
        join_before_sandbox(&rig, &networks[0], 1, json!({}));
        let second = bodies::endpoint(2);
        rig.call("CreateEndpoint", &bodies::create_endpoint(&networks[1], &second, json!({}))).ok();
        let why = rig.call("Join", &bodies::join(&networks[1], &second, &bodies::sandbox(1))).refused();
        assert!(why.contains("already has an interface can0") && why.contains("ifname"), "{why}");
        assert!(rig.link(&host_end(&second)).is_none(), "half-made: {:?}", rig.ours());
    }
}

/// Trap 10: Docker connects a container to its networks in random order, so numbers that depend on it swap.
#[test]
fn names_that_would_depend_on_the_order_are_refused_in_either_order() {
    let prefix = |hub: &str| json!({ "vxcan.dev": hub, "vxcan.id": "0", "vxcan.peer": "p" });
    let exact = json!({ "hub": "vcan-exact", "ifname": "p0" });
    for pair in [[prefix("va"), prefix("vb")], [prefix("va"), exact.clone()], [exact, prefix("vb")]] {
        for sandbox_exists in [false, true] {
            let rig = Rig::new();
            let networks = [rig.network(1, pair[0].clone()), rig.network(2, pair[1].clone())];
            if sandbox_exists {
                rig.kernel.add_sandbox(bodies::sandbox(1));
            }
            let join = |at: usize| {
                let endpoint = bodies::endpoint(at as u32);
                let create = bodies::create_endpoint(&networks[at], &endpoint, json!({}));
                rig.call("CreateEndpoint", &create).ok();
                rig.call("Join", &bodies::join(&networks[at], &endpoint, &bodies::sandbox(1)))
            };
            join(0).ok();
            let why = join(1).refused();
            for words in
                ["random order", "-o ifname=", "vxcan.peer", "p*", &networks[0][..12], &networks[1][..12]]
            {
                assert!(why.contains(words), "{words} is not in: {why}");
            }
            assert!(rig.link(&host_end(&bodies::endpoint(1))).is_none(), "half-made: {:?}", rig.ours());
        }
    }
}

#[test]
fn two_prefixes_in_one_container_get_their_own_numbers_in_any_order() {
    for order in [[0, 1], [1, 0]] {
        let rig = Rig::new();
        let options = |hub: &str, peer: &str| json!({ "vxcan.dev": hub, "vxcan.peer": peer });
        let networks = [rig.network(1, options("va", "p")), rig.network(2, options("vb", "q"))];
        rig.kernel.add_sandbox(bodies::sandbox(1));
        for at in order {
            let endpoint = bodies::endpoint(at as u32);
            rig.call("CreateEndpoint", &bodies::create_endpoint(&networks[at], &endpoint, json!({}))).ok();
            rig.call("Join", &bodies::join(&networks[at], &endpoint, &bodies::sandbox(1))).ok();
            let alias = rig
                .links_inside(&bodies::sandbox(1))
                .into_iter()
                .find(|link| link.alias.as_deref().is_some_and(|alias| alias.contains(&endpoint)));
            assert_eq!(alias.unwrap().name, ["p0", "q0"][at]);
        }
    }
}

/// Trap 20: endpoint options are only sent with CreateEndpoint, so they must survive a crash in between.
#[test]
fn options_of_create_endpoint_are_kept_for_join() {
    for restarts in [false, true] {
        for (options, name) in [
            (json!({ "com.docker.network.endpoint.ifname": "can7" }), "can7"),
            (json!({ "IFNAME": "ecu-b" }), "ecu-b"),
            (json!({ "vxcan.peer": "ecu" }), "ecu0"),
        ] {
            let mut rig = Rig::new();
            let network = rig.network(1, json!({}));
            let endpoint = bodies::endpoint(1);
            rig.call("CreateEndpoint", &bodies::create_endpoint(&network, &endpoint, options)).ok();
            if restarts {
                rig.restart();
            }
            rig.kernel.add_sandbox(bodies::sandbox(1));
            rig.call("Join", &bodies::join(&network, &endpoint, &bodies::sandbox(1))).ok();
            assert_eq!(rig.inside(&bodies::sandbox(1)), [name], "restarts: {restarts}");
        }
    }
}

/// Docker ≤ 27 adds this to Join's options for a container that is also on the default bridge.
#[test]
fn options_of_join_are_not_driver_options() {
    let rig = Rig::new();
    let network = rig.network(1, json!({}));
    let mut body = bodies::join(&network, &bodies::endpoint(1), &bodies::sandbox(1));
    body["Options"]["com.docker.network.generic"] =
        json!({ "ChildEndpoints": null, "ParentEndpoints": null });
    rig.call("CreateEndpoint", &bodies::create_endpoint(&network, &bodies::endpoint(1), json!({}))).ok();
    rig.call("Join", &body).ok();
}

/// Trap 9: deleting the pair in Leave leaves Docker with a ghost: `can1` at the next connect, or a crash of dockerd.
#[test]
fn the_pair_survives_leave_and_is_deleted_by_delete_endpoint() {
    let rig = Rig::new();
    let network = rig.network(1, json!({}));
    let [inside, moved] = [1, 2].map(bodies::endpoint);
    rig.member(&network, 1);
    let source = join_before_sandbox(&rig, &network, 2, json!({}))["InterfaceName"]["SrcName"].clone();
    let source = source.as_str().unwrap();
    for endpoint in [&inside, &moved] {
        rig.call("Leave", &bodies::both(&network, endpoint)).ok();
        assert!(rig.link(&host_end(endpoint)).is_some(), "{:?}", rig.ours());
    }
    assert!(rig.link(source).is_some(), "Docker looks for it after Leave");
    for endpoint in [&inside, &moved] {
        rig.call("DeleteEndpoint", &bodies::both(&network, endpoint)).ok();
        assert!(rig.link(&host_end(endpoint)).is_none(), "{:?}", rig.ours());
    }
    assert_eq!((rig.link(source), rig.inside(&bodies::sandbox(1))), (None, vec![]));
    assert_eq!(rig.ours(), [format!("link {}", hub(&network)), format!("network record {network}")]);
}

/// 29 sends Leave after a failed Join, and any version may after failed plumbing.
#[test]
fn a_leave_without_a_join_is_fine() {
    let rig = Rig::new();
    let network = rig.network(1, json!({}));
    let endpoint = bodies::endpoint(1);
    rig.call("CreateEndpoint", &bodies::create_endpoint(&network, &endpoint, json!({}))).ok();
    rig.part(&network, &endpoint);
    rig.call("DeleteNetwork", &bodies::delete_network(&network)).ok();
    rig.assert_clean();
}

#[test]
fn a_join_sent_twice_is_one_join() {
    let rig = Rig::new();
    let network = rig.network(1, json!({}));
    let [first, second] = [rig.member(&network, 1), rig.member(&network, 2)];
    for _ in 0..3 {
        rig.call("Join", &bodies::join(&network, &first, &bodies::sandbox(1))).ok();
        rig.assert_bus(&hub(&network), &[&first, &second]);
    }
}

#[test]
fn a_classic_bus_carries_no_fd_frames() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "frames": "classic" }));
    let [first, second] = [rig.member(&network, 1), rig.member(&network, 2)];
    rig.assert_frames(&hub(&network), &[&first, &second], [true, false]);
}

/// A pace is set before the program starts; the endpoint's own takes precedence, and both survive a restart.
#[test]
fn the_pace_comes_from_the_network_or_the_endpoint() {
    let mut rig = Rig::new();
    let network = rig.network(1, json!({ "rate": "500k" }));
    for (number, options) in [(1, json!({})), (2, json!({ "Rate": "125000" })), (3, json!({ "rate": "off" }))]
    {
        rig.kernel.add_sandbox(bodies::sandbox(number));
        join_before_sandbox(&rig, &network, number, options);
    }
    let rate = |rig: &Rig, number| {
        let qdisc = rig.links_inside(&bodies::sandbox(number)).remove(0).qdisc?;
        Some(qdisc.pace?.rate)
    };
    let rates = |rig: &Rig| [1, 2, 3].map(|number| rate(rig, number));
    assert_eq!(rates(&rig), [Some(500_000), Some(125_000), None]);
    rig.restart();
    let index = rig.links_inside(&bodies::sandbox(2))[0].index;
    rig.kernel.set_qdisc(bodies::sandbox(2).as_ref(), index, None);
    rig.manager.heal().unwrap();
    assert_eq!(rates(&rig), [Some(500_000), Some(125_000), None]);
}

/// The machine's files say that its kernel, 6.12.0-test, has no other module.
fn has_only_can_gw(rig: &Rig) {
    rig.write_file("proc/sys/kernel/osrelease", "6.12.0-test\n");
    rig.write_file("lib/modules/6.12.0-test/modules.dep", "kernel/net/can/can-gw.ko:\n");
}

/// Without `sch_tbf` containers start all the same, and their bus reports what is missing.
#[test]
fn without_sch_tbf_containers_start_anyway() {
    let rig = Rig::new();
    rig.kernel.withhold_tbf(true);
    has_only_can_gw(&rig);
    let network = rig.network(1, json!({ "rate": "500k" }));
    let endpoint = rig.member(&network, 1);
    rig.assert_bus(&hub(&network), &[&endpoint]);
    let bus = &rig.manager.status().unwrap().buses[0];
    let [problem] = &bus.problems[..] else { panic!("{bus:?}") };
    let says = "this kernel (6.12.0-test) has no sch_tbf, so containers are not paced";
    assert!(
        problem.starts_with(says) && problem.ends_with("or create the network with -o rate=off"),
        "{problem}"
    );
    assert!(!bus.blocked && bus.steps.is_empty(), "{bus:?}");
    rig.kernel.withhold_tbf(false);
    let repairs = rig.manager.heal().unwrap();
    assert!(repairs.iter().any(|repair| repair.reason == "the qdisc was missing"), "{repairs:?}");
    assert_eq!(rig.manager.status().unwrap().buses[0].problems, [""; 0]);
}

/// Nor without `sch_netem`, if the network was created when the kernel had it.
#[test]
fn without_sch_netem_containers_start_and_hear_everything() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "loss": "10%" }));
    rig.kernel.withhold_netem(true);
    has_only_can_gw(&rig);
    let endpoint = rig.member(&network, 1);
    rig.assert_bus(&hub(&network), &[&endpoint]);
    let bus = &rig.manager.status().unwrap().buses[0];
    let [problem] = &bus.problems[..] else { panic!("{bus:?}") };
    assert!(
        problem.starts_with("this kernel (6.12.0-test) has no sch_netem, so frames cannot be"),
        "{problem}"
    );
    assert!(!bus.blocked && bus.steps.is_empty(), "{bus:?}");
    rig.kernel.withhold_netem(false);
    let repairs = rig.manager.heal().unwrap();
    assert!(repairs.iter().any(|repair| repair.reason == "the qdisc was missing"), "{repairs:?}");
    assert_eq!(rig.manager.status().unwrap().buses[0].problems, [""; 0]);
}

/// Invalid rates are refused in one sentence each, by CreateNetwork and by CreateEndpoint.
#[test]
fn an_invalid_rate_is_refused() {
    let rig = Rig::new();
    for rate in ["0", "-5000", "fast", "1.5M"] {
        let refused = rig
            .call("CreateNetwork", &bodies::create_network(&bodies::network(7), json!({ "rate": rate })))
            .refused();
        assert!(refused.contains(&format!("rate={rate}: must be off or a number")), "{refused}");
    }
    let wire = rig.network(1, json!({ "adapter": "can0", "bitrate": "500000" }));
    for (rate, words) in [("0", "must be off or"), ("1M", "higher than bitrate=500000")] {
        let body = bodies::create_endpoint(&wire, &bodies::endpoint(1), json!({ "rate": rate }));
        let refused = rig.call("CreateEndpoint", &body).refused();
        assert!(refused.contains("rate=") && refused.contains(words), "{refused}");
    }
}
