//! The response of each method, byte for byte where dockerd depends on it.

use serde_json::json;

use super::{bodies, rig::Rig};

const METHODS: [&str; 7] = [
    "CreateNetwork",
    "DeleteNetwork",
    "CreateEndpoint",
    "DeleteEndpoint",
    "EndpointOperInfo",
    "Join",
    "Leave",
];

/// Trap 3: a legacy plugin is activated once per life of dockerd.
#[test]
fn activation_matches_byte_for_byte() {
    let reply = Rig::new().client().call_raw("Plugin.Activate", b"");
    assert_eq!((reply.status, &*reply.body), (200, r#"{"Implements":["NetworkDriver"]}"#));
}

/// Scope local/local: anything else involves swarm's allocator, or fails the registration.
#[test]
fn capabilities_match_byte_for_byte() {
    let reply = Rig::new().client().call_raw("NetworkDriver.GetCapabilities", b"");
    assert_eq!((reply.status, &*reply.body), (200, r#"{"ConnectivityScope":"local","Scope":"local"}"#));
}

/// Trap 3: a restarted plugin is neither activated nor asked for capabilities again.
#[test]
fn a_restarted_driver_serves_without_being_activated_again() {
    let mut rig = Rig::new();
    let network = rig.network(1, json!({}));
    rig.restart();
    rig.member(&network, 1);
    rig.assert_bus(&super::bus::hub(&network), &[&bodies::endpoint(1)]);
}

/// Trap 21: dockerd accepts no status but 200, and shows `Err` to the user as "remote: …".
#[test]
fn a_refusal_is_status_200_with_err_for_every_method() {
    let rig = Rig::new();
    for method in METHODS {
        let reply = rig.call(method, &json!({ "NetworkID": 7, "EndpointID": [], "SandboxKey": {} }));
        let why = reply.refused();
        assert!(why.contains("invalid libnetwork request") && !why.contains('\n'), "{method}: {why}");
    }
    rig.assert_clean();
}

/// Trap 7: dockerd 28 and 29 treat 404 as "not implemented" here. 200 would promise port mapping.
#[test]
fn external_connectivity_is_not_implemented() {
    let rig = Rig::new();
    for method in ["ProgramExternalConnectivity", "RevokeExternalConnectivity"] {
        let reply = rig.call(method, &bodies::both(&bodies::network(1), &bodies::endpoint(1)));
        assert_eq!(reply.status, 404, "{reply:?}");
    }
}

#[test]
fn an_unknown_method_is_answered_with_404_and_its_name() {
    for method in ["NetworkDriver.Wombat", "VolumeDriver.List", "NetworkDriver.join", "", "a/b/../c"] {
        let reply = Rig::new().client().call(method, &json!({}));
        assert_eq!(reply.status, 404, "{method}: {reply:?}");
        assert!(reply.body.contains(method), "{method}: {reply:?}");
    }
}

/// Like trap 6, but for methods without a result: `{}`, and never an empty body ("EOF").
#[test]
fn methods_without_a_result_return_an_empty_object() {
    let rig = Rig::new();
    let (network, endpoint) = (bodies::network(1), bodies::endpoint(1));
    let both = bodies::both(&network, &endpoint);
    for (method, body, answer) in [
        ("CreateNetwork", bodies::create_network(&network, json!({})), "{}"),
        ("CreateEndpoint", bodies::create_endpoint(&network, &endpoint, json!({})), "{}"),
        ("EndpointOperInfo", both.clone(), r#"{"Value":{}}"#),
        ("DiscoverNew", json!({ "DiscoveryType": 1, "DiscoveryData": {} }), "{}"),
        ("DiscoverDelete", json!({ "DiscoveryType": 1, "DiscoveryData": {} }), "{}"),
        ("Leave", both.clone(), "{}"),
        ("DeleteEndpoint", both, "{}"),
        ("DeleteNetwork", bodies::delete_network(&network), "{}"),
    ] {
        let reply = rig.call(method, &body);
        assert_eq!((reply.status, &*reply.body), (200, answer), "{method}");
    }
    rig.assert_clean();
}

/// Traps 17 and 25: dockerd ignores errors here and never retries, and its state may differ from ours after any unclean
/// stop. So deleting what no longer exists succeeds.
#[test]
fn leaving_and_deleting_the_unknown_always_succeeds() {
    let rig = Rig::new();
    let both = bodies::both(&bodies::network(9), &bodies::endpoint(9));
    for method in ["Leave", "DeleteEndpoint", "DeleteNetwork", "EndpointOperInfo"] {
        for _ in 0..2 {
            rig.call(method, &both).ok();
        }
    }
    rig.assert_clean();
}

/// Docker adds fields with each version.
#[test]
fn unknown_fields_are_ignored() {
    let rig = Rig::new();
    let mut body = bodies::create_network(&bodies::network(1), json!({}));
    body["SomethingOfDocker31"] = json!({ "a": [1, 2.5, null] });
    body["Options"]["com.docker.network.something"] = json!({ "b": true });
    rig.call("CreateNetwork", &body).ok();
}
