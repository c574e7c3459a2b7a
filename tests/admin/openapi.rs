//! `docs/openapi.json` describes everything that exists, correctly.

use std::collections::BTreeSet;

use canhub::{
    events::{Event, Kind},
    expect::Source,
    health::HealthStatus,
    kernel::{Controller, Identity, Kernel},
    network::Ownership,
    reconcile::Memory,
    status::ExpectationState,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    ask::{Listener, get, request},
    bodies,
    rig::Rig,
    schema::faults,
};

fn description() -> Value {
    serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap()
}

fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// The schema of a path's response.
fn answer(path: &str, status: u16) -> (Value, String) {
    let document = description();
    let mut response = document["paths"][path]["get"]["responses"][status.to_string()].clone();
    if let Some(elsewhere) = response["$ref"].as_str() {
        response = document.pointer(&elsewhere[1..]).unwrap().clone();
    }
    let content =
        response["content"].as_object().unwrap_or_else(|| panic!("{path} {status} is not described"));
    assert_eq!(content.len(), 1);
    let (media_type, content) = content.iter().next().unwrap();
    (content["schema"].clone(), media_type.clone())
}

/// Sends a request, and checks the response against its description.
#[track_caller]
fn assert_described(rig: &Rig, path: &str, expected: u16) {
    let reply = get(&rig.admin(), path);
    assert_eq!(reply.status, expected, "{reply:?}");
    let (schema, media_type) = answer(path.split('?').next().unwrap(), expected);
    assert!(reply.head.contains(&format!("content-type: {media_type}")), "{path}: {}", reply.head);
    if media_type == "application/json" {
        let body = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(
            faults(&description(), &schema, &body),
            Vec::<String>::new(),
            "{path} {expected}: {body:#}"
        );
    }
}

#[test]
fn every_path_is_described_and_every_described_path_exists() {
    let rig = Rig::new();
    let why = get(&rig.admin(), "/v1/nothing").body;
    let there: BTreeSet<&str> = why
        .split_once("; valid paths: ")
        .unwrap()
        .1
        .split([',', ' ', '"', '}'])
        .filter(|word| word.starts_with('/'))
        .collect();
    let document = description();
    let described: BTreeSet<&str> =
        document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(there, described);
    for path in described {
        for method in document["paths"][path].as_object().unwrap().keys() {
            let asked = match path {
                "/v1/events" => "/v1/events?follow=false",
                path => path,
            };
            let mut client = super::client::Client::connect(&rig.admin());
            let head = format!("{} {asked} HTTP/1.1\r\nHost: localhost\r\n\r\n", method.to_uppercase());
            client.send(head.as_bytes());
            let head = client.reply_head().unwrap();
            assert!(!head.contains(" 404 ") && !head.contains(" 405 "), "{method} {path}: {head}");
        }
    }
    assert_eq!(request(&rig.admin(), "DELETE", "/v1/health").status, 405);
}

#[test]
fn real_responses_match_their_description() {
    let watch = super::health::no_docker();
    let rig = Rig::watched(
        canhub::driver::server::TIME_LIMIT,
        canhub::health::Health::new(super::health::eager(), None),
        Some(watch),
        |kernel| kernel,
    );
    assert_described(&rig, "/v1/ready", 503);
    // Before the loop's first pass, the status is not healthy.
    assert_described(&rig, "/v1/health", 503);
    // Everything that produces a field: members in each stage, a present and a missing adapter, faults.
    let network = rig.network(1, json!({ "hub": "vcan-body", "heal": "off" }));
    rig.member(&network, 1);
    rig.call("CreateEndpoint", &bodies::create_endpoint(&network, &bodies::endpoint(2), json!({}))).ok();
    let left = rig.member(&network, 3);
    rig.call("Leave", &bodies::both(&network, &left)).ok();
    rig.network(2, json!({ "adapter": "can7" }));
    rig.kernel.plug(Identity::default(), Controller { clock: 8_000_000, ..Controller::default() });
    rig.network(3, json!({ "adapter": "can0" }));
    rig.manager.reconcile(&Memory::default()).unwrap();
    super::health::until(&rig, "overall", "degraded");
    rig.manager.set_late(vec!["lamp".into()]);
    super::expectations::expected_and_heard(&rig, "vcan-body", "1A0");
    super::faults::cut_off(&rig, "vcan-body");
    let _span = super::hosts::spanned(&rig, 4);
    assert_described(&rig, "/v1/hosts", 200);
    for path in [
        "/v1/health",
        "/v1/ready",
        "/v1/status",
        "/v1/expectations",
        "/v1/faults",
        "/v1/openapi.json",
        "/metrics",
    ] {
        assert_described(&rig, path, 200);
    }
    rig.kernel.delete_link(None, rig.link("vcan-body").unwrap().index).unwrap();
    super::health::until(&rig, "overall", "unhealthy");
    assert_described(&rig, "/v1/health", 503);
    assert_described(&rig, "/v1/status", 200);
    assert_described(&rig, "/v1/events?last=x", 400);
    assert_eq!(get(&rig.admin(), "/v1/openapi.json").json(), description());
    let done = request(&rig.admin(), "POST", "/v1/heal").json();
    assert_eq!(done["done"][0]["reason"], "the hub was missing");
    assert_eq!(faults(&description(), &schema("Healed"), &done), Vec::<String>::new(), "{done}");

    rig.manager.events().tell(Event {
        err: Some("no".into()),
        times: Some(2),
        ..Event::new(Kind::HealFailed)
    });
    let mut listener = Listener::start(&rig.admin(), 256);
    let mut kinds = BTreeSet::new();
    while !kinds.contains("heal-failed") {
        let event = listener.next().unwrap();
        assert_eq!(faults(&description(), &schema("Event"), &event), Vec::<String>::new(), "{event}");
        kinds.insert(event["event"].as_str().unwrap().to_owned());
    }
    assert!(kinds.contains("status-changed") && kinds.contains("joined"), "{kinds:?}");
    assert_eq!(faults(&description(), &schema("Missed"), &json!({ "missed": 3 })), Vec::<String>::new());
}

/// All values of an enumeration: serde lists them in the error for an unknown one.
fn words<T: DeserializeOwned>() -> BTreeSet<String> {
    let Err(err) = serde_json::from_str::<T>("\"?\"") else { panic!("`?` is a word") };
    let err = err.to_string();
    err.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

#[test]
fn all_enum_values_are_described() {
    let document = description();
    let described = |path: &str| -> BTreeSet<String> {
        let words = document["components"]["schemas"].pointer(path).and_then(Value::as_array).unwrap();
        words.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(words::<Kind>(), described("/Event/properties/event/enum"));
    assert_eq!(words::<HealthStatus>(), described("/ComponentStatus/enum"));
    assert_eq!(words::<Ownership>(), described("/Bus/properties/owner/enum"));
    assert_eq!(words::<ExpectationState>(), described("/Expectation/properties/state/enum"));
    assert_eq!(words::<Source>(), described("/Expectation/properties/source/enum"));
}
