//! CreateNetwork and CreateEndpoint: the bodies that Docker sends, what is stored, what is refused.

use std::fs;

use serde_json::{Value, json};

use super::{bodies, bus::hub, rig::Rig};

/// The bodies of CreateNetwork for different Docker versions and flags.
fn shapes() -> Vec<(&'static str, Value)> {
    let id = bodies::network(1);
    let generic = json!({ "com.docker.network.generic": {} });
    let pool =
        json!([{ "AddressSpace": "LocalDefault", "Gateway": "172.18.0.1/16", "Pool": "172.18.0.0/16" }]);
    let shape = |options: Value, ipv4: Value| json!({ "NetworkID": id, "Options": options, "IPv4Data": ipv4, "IPv6Data": [] });
    vec![
        ("null IPAM", bodies::create_network(&id, json!({}))),
        ("default IPAM", shape(generic.clone(), pool.clone())),
        (
            "20.10 to 27, no enable_ipv4",
            shape(
                json!({ "com.docker.network.generic": {},
            "com.docker.network.enable_ipv6": false }),
                pool.clone(),
            ),
        ),
        (
            "--ipv4=false",
            shape(
                json!({ "com.docker.network.generic": {},
            "com.docker.network.enable_ipv4": false, "com.docker.network.enable_ipv6": false }),
                json!([]),
            ),
        ),
        (
            "--internal",
            shape(
                json!({ "com.docker.network.generic": {},
            "com.docker.network.internal": true }),
                pool.clone(),
            ),
        ),
        ("no generic options", shape(json!({}), pool.clone())),
        ("generic options null", shape(json!({ "com.docker.network.generic": null }), pool)),
        (
            "no options, no data",
            json!({ "NetworkID": id, "Options": null, "IPv4Data": null, "IPv6Data": null }),
        ),
        ("the id alone", json!({ "NetworkID": id })),
    ]
}

#[test]
fn all_forms_of_create_network_create_the_same_bus() {
    for (shape, body) in shapes() {
        let rig = Rig::new();
        let reply = rig.call("CreateNetwork", &body);
        assert_eq!(reply.body, "{}", "{shape}");
        let network = bodies::network(1);
        let link = rig.link(&hub(&network)).unwrap_or_else(|| panic!("{shape}: {:?}", rig.ours()));
        assert_eq!((link.mtu, link.up), (72, true), "{shape}");
        rig.call("DeleteNetwork", &bodies::delete_network(&network)).ok();
        rig.assert_clean();
    }
}

/// Trap 13: the options of a local network are sent once, so they must be on disk before Docker gets the response.
#[test]
fn the_record_is_on_disk_before_the_response() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-body", "frames": "classic" }));
    let options = &rig.recorded()[&network]["options"];
    assert_eq!(*options, json!({ "hub": "vcan-body", "frames": "classic" }));
}

/// Trap 13: a swarm sends CreateNetwork again with the same ID.
#[test]
fn a_network_created_again_with_the_same_options_is_the_same_network() {
    let mut rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    let member = rig.member(&network, 1);
    for _ in 0..2 {
        rig.network(1, json!({ "HUB": "vcan-body" }));
        rig.assert_bus("vcan-body", &[&member]);
        rig.restart();
    }
    let why = rig.call("CreateNetwork", &bodies::create_network(&network, json!({ "hub": "x" }))).refused();
    assert!(why.contains("different options"), "{why}");
    rig.assert_bus("vcan-body", &[&member]);
}

/// Trap 22: swarm IDs are base 36.
#[test]
fn swarm_ids_are_accepted() {
    let rig = Rig::new();
    let (network, endpoint) = ("zvw77n67u0we1q9ueksjlx5an", "x0i5mkkw3r3n2l6w9q8y7z1ab");
    rig.call("CreateNetwork", &bodies::create_network(network, json!({}))).ok();
    rig.kernel.add_sandbox(bodies::sandbox(1));
    rig.call("CreateEndpoint", &bodies::create_endpoint(network, endpoint, json!({}))).ok();
    rig.call("Join", &bodies::join(network, endpoint, &bodies::sandbox(1))).ok();
    rig.assert_bus("buszvw77n67u0we", &[endpoint]);
    rig.part(network, endpoint);
    rig.call("DeleteNetwork", &bodies::delete_network(network)).ok();
    rig.assert_clean();
}

/// IDs become file and interface names.
#[test]
fn an_invalid_id_is_refused_and_creates_nothing() {
    let rig = Rig::new();
    for id in ["", "../../../etc/cron.d/x", "a/b", "a\u{0}b", "ü", &"a".repeat(65), "a b"] {
        for body in [bodies::create_network(id, json!({})), bodies::both(&bodies::network(1), id)] {
            let method = if body.get("EndpointID").is_some() { "Leave" } else { "CreateNetwork" };
            let why = rig.call(method, &body).refused();
            assert!(why.contains("letters and digits"), "{id:?}: {why}");
        }
        rig.call("CreateEndpoint", &bodies::create_endpoint(&bodies::network(1), id, json!({}))).refused();
        rig.call("Join", &bodies::join(&bodies::network(1), id, &bodies::sandbox(1))).refused();
    }
    rig.assert_clean();
}

/// Trap 18: IPv6 on CAN aborts the start of the container with "invalid argument", so it is refused at once.
#[test]
fn a_network_with_ipv6_is_refused_with_the_fix() {
    let rig = Rig::new();
    let mut by_switch = bodies::create_network(&bodies::network(1), json!({}));
    by_switch["Options"]["com.docker.network.enable_ipv6"] = json!(true);
    let mut by_pool = bodies::create_network(&bodies::network(1), json!({}));
    by_pool["IPv6Data"] = json!([{ "AddressSpace": "LocalDefault", "Pool": "fd00:1::/64" }]);
    for body in [by_switch, by_pool] {
        let why = rig.call("CreateNetwork", &body).refused();
        assert!(why.contains("without --ipv6"), "{why}");
        rig.assert_clean();
    }
}

/// Trap 18: a MAC address on CAN aborts the start of the container with "operation not supported".
#[test]
fn an_endpoint_with_a_mac_or_an_ipv6_address_is_refused_with_the_fix() {
    let rig = Rig::new();
    let network = rig.network(1, json!({}));
    for (field, value, way_out) in
        [("MacAddress", "02:42:00:00:00:09", "--mac-address"), ("AddressIPv6", "fd00:1::2/64", "--ipv6")]
    {
        let mut body = bodies::create_endpoint(&network, &bodies::endpoint(1), json!({}));
        body["Interface"][field] = json!(value);
        let why = rig.call("CreateEndpoint", &body).refused();
        assert!(why.contains(way_out) && why.contains(value), "{why}");
        assert_eq!(rig.endpoint_records(), Vec::<String>::new(), "Docker sends no DeleteEndpoint after this");
    }
}

/// Trap 8: an Interface in the response causes "driver modified interface address".
#[test]
fn create_endpoint_never_echoes_the_interface() {
    let rig = Rig::new();
    let network = rig.network(1, json!({}));
    for (number, interface) in
        [json!({ "Address": "172.18.0.2/16", "AddressIPv6": "", "MacAddress": "" }), json!({}), Value::Null]
            .into_iter()
            .enumerate()
    {
        let mut body = bodies::create_endpoint(&network, &bodies::endpoint(number as u32), json!({}));
        body["Interface"] = interface;
        assert_eq!(rig.call("CreateEndpoint", &body).body, "{}");
    }
}

/// Trap 20: `docker run --network name=…,driver-opt=…` lower-cases keys and values.
#[test]
fn options_are_case_insensitive() {
    let rig = Rig::new();
    rig.network(1, json!({ "Hub": "vcan-A", "FRAMES": "Classic", "iFname": "ECU0" }));
    assert_eq!(rig.link("vcan-A").unwrap().mtu, 16);
    rig.network(2, json!({ "VXCAN.DEV": "vcan", "Vxcan.Id": "4" }));
    assert!(rig.link("vcan4").is_some(), "{:?}", rig.ours());
}

/// Compose converts numbers to strings; other API clients may not.
#[test]
fn option_values_may_be_numbers_but_not_nested() {
    let rig = Rig::new();
    rig.network(1, json!({ "vxcan.id": 4, "heal": true }));
    assert!(rig.link("vcan4").is_some(), "{:?}", rig.ours());
    for bad in [json!([]), json!({}), json!(null)] {
        let body = bodies::create_network(&bodies::network(2), json!({ "hub": bad }));
        let why = rig.call("CreateNetwork", &body).refused();
        assert!(why.contains("hub="), "{why}");
    }
}

#[test]
fn an_invalid_option_is_refused_in_one_sentence_and_leaves_nothing() {
    let rig = Rig::new();
    for (options, word) in [
        (json!({ "hubb": "x" }), "did you mean hub?"),
        (json!({ "hub": "sixteen-bytes-xx" }), "16 bytes"),
        (json!({ "adapter": "eth0" }), "eth0 is not a CAN interface"),
        (json!({ "hub": "eth0" }), "eth0"),
        (json!({ "hub": "a", "adapter": "can0" }), "mutually exclusive"),
        (json!({ "ifname": "a/b" }), "ifname=a/b"),
        (json!("text"), "com.docker.network.generic"),
    ] {
        let body = bodies::create_network(&bodies::network(1), options);
        let why = rig.call("CreateNetwork", &body).refused();
        assert!(why.contains(word) && !why.contains('\n'), "{why}");
        rig.assert_clean();
    }
    let network = rig.network(1, json!({}));
    let body = bodies::create_endpoint(&network, &bodies::endpoint(1), json!({ "foo": "Bar" }));
    let why = rig.call("CreateEndpoint", &body).refused();
    assert!(why.contains("foo=Bar"), "{why}");
    assert_eq!(rig.endpoint_records(), Vec::<String>::new());
}

#[test]
fn a_hub_belongs_to_one_network() {
    let rig = Rig::new();
    rig.network(1, json!({ "hub": "vcan-body" }));
    let body = bodies::create_network(&bodies::network(2), json!({ "adapter": "vcan-body" }));
    let why = rig.call("CreateNetwork", &body).refused();
    assert!(why.contains("vcan-body is already the bus of network"), "{why}");
    assert_eq!(rig.recorded().as_object().unwrap().len(), 1);
}

/// A network that could not be saved would be lost at the next reboot.
#[test]
fn a_network_whose_record_cannot_be_written_is_refused_and_leaves_no_hub() {
    let mut rig = Rig::new();
    rig.restart_after(|state| {
        fs::remove_dir_all(state).unwrap();
        fs::write(state, "a file in place of the folder, which stops root too").unwrap();
    });
    let why = rig.call("CreateNetwork", &bodies::create_network(&bodies::network(1), json!({}))).refused();
    assert!(why.contains("state.json") && why.contains("--state-dir"), "{why}");
    assert!(rig.link(&hub(&bodies::network(1))).is_none());
}

/// Interface names hold the start of an id only.
#[test]
fn endpoints_that_would_share_an_interface_name_are_refused_and_a_repeated_one_is_not() {
    let rig = Rig::new();
    let network = rig.network(1, json!({}));
    let [one, twin] = ["1", "2"].map(|end| format!("{}{end}", "a".repeat(63)));
    let create =
        |endpoint: &str| rig.call("CreateEndpoint", &bodies::create_endpoint(&network, endpoint, json!({})));
    create(&one).ok();
    create(&one).ok();
    let why = create(&twin).refused();
    assert!(why.contains("would share the interface name") && why.contains(&one), "{why}");
}
