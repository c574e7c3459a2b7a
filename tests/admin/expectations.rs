//! `/v1/expectations`, and what health makes of them. The kernel in memory carries no frames to listen for, so the tests say
//! what was heard; `tests/e2e/expect.rs` has real ones.

use std::{fs, time::Duration};

use canhub::{
    checks::Files,
    driver::server,
    expect::{Expectation, Source, State},
    health::{Health, Policy, Watch},
    status::ExpectationState,
};
use serde_json::{Value, json};

use super::{
    ask::{self, Listener, get},
    client::Reply,
    rig::Rig,
};

/// A request with a body.
fn send(rig: &Rig, method: &str, body: &str) -> Reply {
    ask::send(&rig.admin(), method, "/v1/expectations", body)
}

fn add(rig: &Rig, body: &Value) -> Reply {
    send(rig, "POST", &body.to_string())
}

/// Says what was heard.
fn hear(rig: &Rig, component: &str, state: ExpectationState) {
    let known = State {
        state,
        reason: format!("{component} is {}", state.as_str()),
        network: None,
        last_seen: Some(std::time::SystemTime::now()),
        cycle: Some(Duration::from_millis(20)),
    };
    rig.manager.expectations().know(component, known);
    rig.health.take_in_expectations(rig.manager.events(), &rig.manager.expectations().report());
}

/// Expects a frame on a bus, and says that it comes.
pub fn expected_and_heard(rig: &Rig, bus: &str, id: &str) {
    let reply = add(rig, &json!({ "bus": bus, "id": id, "every": "20ms" }));
    assert_eq!(reply.status, 200, "{reply:?}");
    hear(rig, &format!("expect:{bus}:{id}"), ExpectationState::Up);
}

fn components(reply: &Value) -> Vec<&str> {
    reply["expectations"].as_array().unwrap().iter().map(|one| one["component"].as_str().unwrap()).collect()
}

#[test]
fn expectations_are_added_listed_removed_and_survive_a_restart() {
    let mut rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    let added =
        add(&rig, &json!({ "bus": "vcan-body", "id": "1a0", "every": "20ms", "from": "door" })).json();
    let one = &added["expectations"][0];
    assert_eq!(
        (&one["id"], &one["every"], &one["within"], &one["from"], &one["state"], &one["source"]),
        (&json!("1A0"), &json!("20ms"), &json!("30%"), &json!("door"), &json!("unknown"), &json!("added"))
    );
    // The ID and the start of it name the network, too.
    assert_eq!(add(&rig, &json!({ "bus": &network[..12], "id": "18FEF100", "every": "1s" })).status, 200);
    let all = ["expect:vcan-body:1A0@door".to_owned(), format!("expect:{}:18FEF100", &network[..12])];
    let mut all: Vec<&str> = all.iter().map(String::as_str).collect();
    all.sort_unstable();
    assert_eq!(components(&get(&rig.admin(), "/v1/expectations").json()), all);
    rig.restart();
    assert_eq!(components(&get(&rig.admin(), "/v1/expectations").json()), all);
    assert_eq!(rig.status()["expectations"].as_array().unwrap().len(), 2);
    let gone = json!({ "bus": "vcan-body", "id": "1A0", "from": "door" }).to_string();
    assert_eq!(send(&rig, "DELETE", &gone).json()["expectations"].as_array().unwrap().len(), 1);
    rig.restart();
    assert_eq!(components(&get(&rig.admin(), "/v1/expectations").json()).len(), 1);
    // Without the network, what was expected on it can still be removed.
    rig.call("DeleteNetwork", &json!({ "NetworkID": network })).ok();
    let gone = json!({ "bus": &network[..12], "id": "18FEF100" }).to_string();
    assert_eq!(send(&rig, "DELETE", &gone).json(), json!({ "expectations": [] }));
}

#[test]
fn bad_requests_are_refused_with_one_sentence() {
    let rig = Rig::new();
    rig.network(1, json!({ "hub": "vcan-body" }));
    let good = json!({ "bus": "vcan-body", "id": "1A0", "every": "20ms" });
    assert_eq!(add(&rig, &good).status, 200);
    let with = |key: &str, value: &str| {
        let mut body = good.clone();
        body[key] = json!(value);
        add(&rig, &body)
    };
    for (reply, words) in [
        (with("id", "1A"), "\"1A\" is not a CAN id"),
        (with("every", "0ms"), "\"0ms\" is not a cycle"),
        (with("every", "20"), "it has no unit"),
        (with("within", "101%"), "from 1% to 100%"),
        (with("evry", "1s"), "unknown field `evry`"),
        (
            add(&rig, &good),
            "1A0 on vcan-body is already expected: to change it, first `canhub expect rm vcan-body 1A0`",
        ),
        (with("from", ""), "from \"\" must have 1 to 255 bytes"),
        (send(&rig, "POST", "no json"), "expected"),
        (send(&rig, "POST", ""), "EOF"),
        (
            send(&rig, "DELETE", r#"{"bus":"vcan-body","id":"1A1"}"#),
            "1A1 on vcan-body is not expected; `canhub expect ls`",
        ),
        (send(&rig, "DELETE", r#"{"bus":"vcan-body"}"#), "missing field `id`"),
        (send(&rig, "POST", &format!("\"{}\"", "x".repeat(20_000))), "cannot read the request"),
    ] {
        assert_eq!(reply.status, 400, "{reply:?}");
        let body: Value = serde_json::from_str(&reply.body).unwrap();
        let why = body["error"].as_str().unwrap();
        assert!(why.contains(words) && !why.contains("line 1"), "{words:?} is not in {why:?}");
    }
    assert_eq!(send(&rig, "PUT", "{}").status, 405);
}

#[test]
fn an_unknown_bus_is_refused_with_those_that_exist() {
    let rig = Rig::new();
    let body = json!({ "bus": "seat", "id": "1A0", "every": "20ms" });
    assert!(add(&rig, &body).body.contains("there is no bus seat, and no other"));
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    let reply = add(&rig, &body);
    assert!(reply.body.contains("there is no bus seat") && reply.body.contains(&network[..12]), "{reply:?}");
}

#[test]
fn records_that_cannot_be_read_are_not_overwritten() {
    let mut rig = Rig::new();
    rig.network(1, json!({ "hub": "vcan-body" }));
    let body = json!({ "bus": "vcan-body", "id": "1A0", "every": "20ms" });
    rig.restart_after(|state| fs::create_dir(state.join("expectations.json")).unwrap());
    let reply = add(&rig, &body);
    assert!(reply.status == 400 && reply.body.contains("canhub does not overwrite records"), "{reply:?}");
    fs::remove_dir(rig.state().join("expectations.json")).unwrap();
    assert_eq!(add(&rig, &body).status, 200);
}

/// A rig whose health follows a policy about expectations.
fn with_policy(needs: &str) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("health.toml");
    fs::write(&file, needs).unwrap();
    let (policy, complaint) = canhub::health::policy::load(Some(&file));
    assert_eq!(complaint, None);
    let expect = policy.expect.clone();
    let policy = Policy { interval: Duration::from_millis(30), ..policy };
    let watch = Watch { docker: None, docker_grace: Duration::ZERO, modules: Files::under("/nowhere") };
    let rig = Rig::watched(server::TIME_LIMIT, Health::new(policy, None), Some(watch), |kernel| kernel);
    rig.manager.expectations().set(Source::Policy, expect);
    rig.network(1, json!({ "hub": "vcan-body" }));
    rig.manager.reconcile(&canhub::reconcile::Memory::default()).unwrap();
    rig
}

#[test]
fn a_missing_frame_makes_canhub_degraded_or_unhealthy_as_the_policy_says_and_each_change_is_told_once() {
    for (policy, overall) in [("", "degraded"), ("required = [\"expect:*\"]\n", "unhealthy")] {
        let rig = with_policy(policy);
        expected_and_heard(&rig, "vcan-body", "1A0");
        super::health::until(&rig, "overall", "healthy");
        let name = "expect:vcan-body:1A0";
        let mut listener = Listener::start(&rig.admin(), 0);
        for _ in 0..3 {
            hear(&rig, name, ExpectationState::Down);
        }
        let (reply, report) = super::health::until(&rig, name, "unhealthy");
        assert_eq!((reply.status == 503, &report["status"]), (overall == "unhealthy", &json!(overall)));
        let event = listener.next().unwrap();
        assert_eq!(
            (&event["event"], &event["component"], &event["from"], &event["to"], &event["reason"]),
            (
                &json!("status-changed"),
                &json!(name),
                &json!("healthy"),
                &json!("unhealthy"),
                &json!("expect:vcan-body:1A0 is down")
            )
        );
        assert_eq!(listener.next().unwrap()["component"], "overall");
        for _ in 0..3 {
            hear(&rig, name, ExpectationState::Up);
        }
        assert_eq!(listener.next().unwrap()["to"], "healthy");
        assert_eq!(listener.next().unwrap()["component"], "overall");
        assert!(listener.is_silent(), "told twice");
        super::health::until(&rig, "overall", "healthy");
    }
}

#[test]
fn without_its_bus_an_expectation_does_not_count_and_a_removed_one_is_forgotten() {
    let rig = with_policy("");
    expected_and_heard(&rig, "vcan-body", "1A0");
    let name = "expect:vcan-body:1A0";
    hear(&rig, name, ExpectationState::Down);
    super::health::until(&rig, "overall", "degraded");
    hear(&rig, name, ExpectationState::NoBus);
    super::health::until(&rig, name, "unwatched");
    super::health::until(&rig, "overall", "healthy");
    hear(&rig, name, ExpectationState::Down);
    super::health::until(&rig, "overall", "degraded");
    let gone = json!({ "bus": "vcan-body", "id": "1A0" }).to_string();
    assert_eq!(send(&rig, "DELETE", &gone).status, 200);
    rig.health.take_in_expectations(rig.manager.events(), &rig.manager.expectations().report());
    let (_, report) = super::health::until(&rig, "overall", "healthy");
    assert!(!report.to_string().contains(name), "{report}");
}

#[test]
fn what_the_policy_expects_is_listed_and_can_be_removed_only_there() {
    let rig = with_policy("expect = [{ bus = 'vcan-body', id = '1A0', every = '20ms' }]\n");
    let one = &get(&rig.admin(), "/v1/expectations").json()["expectations"][0];
    assert_eq!((&one["source"], &one["id"]), (&json!("policy"), &json!("1A0")));
    let gone = json!({ "bus": "vcan-body", "id": "1A0" }).to_string();
    assert!(send(&rig, "DELETE", &gone).body.contains("is expected by the health policy: remove it there"));
    let again = add(&rig, &json!({ "bus": "vcan-body", "id": "1A0", "every": "5ms" }));
    assert!(again.body.contains("already expected by the health policy"), "{again:?}");
    let known: Vec<Expectation> = rig.manager.expectations().of(Source::Added);
    assert_eq!(known, []);
}

#[test]
fn an_expectation_that_the_policy_requires_must_exist() {
    let rig = with_policy("required = [\"kernel\", \"expect:vcan-body:1A0\"]\n");
    let (_, report) = super::health::until(&rig, "expect:vcan-body:1A0", "unhealthy");
    assert!(report.to_string().contains("which nobody expects"), "{report}");
    expected_and_heard(&rig, "vcan-body", "1A0");
    super::health::until(&rig, "overall", "healthy");
}
