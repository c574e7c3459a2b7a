//! `/v1/buses`, `/v1/attachments` and their commands, on the kernel in memory: the same manager and the same plan as for
//! Docker. Real namespaces: `tests/e2e/attach.rs`.

use std::{path::Path, sync::Arc};

use canhub::{
    kernel::{Kernel, LinkChange, LinkKind},
    reconcile::Memory,
};
use serde_json::{Value, json};

use super::{
    ask::{self, get},
    client::Reply,
    commands::canhub,
    rig::Rig,
};

mod buses;
mod ends;

const ECU: &str = "/run/netns/ecu1";

fn bus(rig: &Rig, name: &str, options: Value) -> Reply {
    ask::send(&rig.admin(), "POST", "/v1/buses", &json!({ "name": name, "options": options }).to_string())
}

fn remove_bus(rig: &Rig, name: &str) -> Reply {
    ask::send(&rig.admin(), "DELETE", "/v1/buses", &json!({ "name": name }).to_string())
}

/// Attaches with these fields added to the bus `body` and the namespace `ECU`.
fn attach(rig: &Rig, fields: Value) -> Reply {
    let mut body = json!({ "bus": "body", "netns": ECU });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    ask::send(&rig.admin(), "POST", "/v1/attachments", &body.to_string())
}

fn detach(rig: &Rig, which: Value) -> Reply {
    ask::send(&rig.admin(), "DELETE", "/v1/attachments", &which.to_string())
}

fn attached(rig: &Rig, fields: Value) -> Value {
    let reply = attach(rig, fields);
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["attachment"].clone()
}

#[track_caller]
fn assert_refused(reply: &Reply, status: u16, code: Option<&str>, words: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(body["code"].as_str(), code, "{body}");
    let why = body["error"].as_str().unwrap();
    assert!(why.contains(words), "{words:?} is not in {why:?}");
}

fn problems(rig: &Rig, id: &str) -> Vec<String> {
    let reply = get(&rig.admin(), &format!("/v1/attachments?id={id}"));
    assert_eq!(reply.status, 200, "{reply:?}");
    let all = reply.json()["attachments"][0]["problems"].as_array().unwrap().clone();
    all.iter().map(|problem| problem.as_str().unwrap().to_owned()).collect()
}

fn reconcile(rig: &Rig) {
    rig.manager.reconcile(&Memory::default()).unwrap();
}

/// A rig with the bus `body` and the namespace `ECU`.
fn ready() -> Rig {
    let rig = Rig::new();
    assert_eq!(bus(&rig, "body", json!({ "hub": "vcan-body" })).status, 200);
    rig.kernel.add_sandbox(ECU);
    rig
}

#[test]
fn a_namespace_is_attached_healed_and_detached_like_a_container() {
    let rig = ready();
    let network = rig.network(1, json!({ "hub": "vcan-docker" }));
    let one = attached(&rig, json!({ "id": "cni-1", "name": "ecu" }));
    assert_eq!(
        one,
        json!({
            "id": "cni-1", "bus": "body", "netns": ECU, "interface": "can0", "mtu": 72, "name": "ecu",
            "options": {}, "problems": []
        })
    );
    // The same namespace on a network of Docker's, beside a container.
    let docker = rig.member(&network, 1);
    let other = json!({ "bus": "vcan-docker", "id": "2", "ifname": "can1", "options": { "rate": "125000" } });
    assert_eq!(attached(&rig, other)["options"], json!({ "rate": "125000" }));
    assert_eq!(rig.inside(ECU), ["can0", "can1"]);
    assert_eq!(problems(&rig, "cni-1"), [""; 0]);
    assert_eq!(problems(&rig, "2"), [""; 0]);
    let status = rig.status();
    let members = |at: usize| status["buses"][at]["members"].as_array().unwrap().clone();
    let named = |members: &[Value], name: &str| members.iter().any(|one| one["container"] == name);
    assert!(named(&[members(0), members(1)].concat(), "ecu"), "{status:#}");
    // A damage is named, and healed.
    let end = rig.links_inside(ECU)[0].index;
    rig.kernel.delete_link(Some(Path::new(ECU)), end).unwrap();
    let found = problems(&rig, "cni-1");
    assert!(found.iter().any(|problem| problem.contains("pair was missing")), "{found:?}");
    reconcile(&rig);
    assert_eq!((problems(&rig, "cni-1"), rig.inside(ECU)), (vec![], vec!["can1".into(), "can0".into()]));
    assert_eq!(detach(&rig, json!({ "bus": "body", "netns": ECU })).json()["attachment"]["id"], "cni-1");
    assert_eq!(rig.inside(ECU), ["can1"]);
    assert_eq!(detach(&rig, json!({ "id": "2" })).json()["attachment"]["interface"], "can1");
    assert_eq!(rig.inside(ECU), [""; 0]);
    assert_refused(&detach(&rig, json!({ "id": "2" })), 404, Some("unknown-attachment"), "no attachment 2");
    let gone = detach(&rig, json!({ "bus": "body", "netns": ECU }));
    assert_refused(&gone, 404, Some("unknown-attachment"), "is not attached to bus body");
    rig.part(&network, &docker);
    rig.call("DeleteNetwork", &json!({ "NetworkID": network })).ok();
    assert_eq!(remove_bus(&rig, "body").status, 200);
    rig.assert_clean();
}

#[test]
fn the_same_twice_changes_nothing_and_something_else_is_refused_with_both_values() {
    let rig = ready();
    let first = attached(&rig, json!({ "id": "a", "ifname": "can1", "options": { "rate": "125000" } }));
    let before = rig.ours();
    assert_eq!(
        attached(&rig, json!({ "id": "a", "ifname": "can1", "options": { "rate": "125000" } })),
        first
    );
    assert_eq!(attached(&rig, json!({ "ifname": "can1", "options": { "RATE": "125k" } })), first);
    assert_eq!(bus(&rig, "body", json!({ "HUB": "vcan-body" })).status, 200);
    assert_eq!(rig.ours(), before);
    rig.kernel.add_sandbox("/run/netns/other");
    assert_eq!(bus(&rig, "seat", json!({})).status, 200);
    for (fields, words) in [
        (json!({ "id": "a", "ifname": "can2" }), "its interface is can1, not can2"),
        (json!({ "id": "a", "ifname": "can1" }), "its options are rate=125000, not none"),
        (json!({ "id": "b", "ifname": "can1", "options": { "rate": "125000" } }), "its id is a, not b"),
        (json!({ "id": "a", "ifname": "can1", "bus": "seat" }), "its bus is body, not seat"),
        (
            json!({ "id": "a", "ifname": "can1", "netns": "/run/netns/other" }),
            "its namespace is /run/netns/ecu1, not",
        ),
        (json!({ "id": "a", "ifname": "can1", "name": "x" }), "its name is ecu1, not x"),
    ] {
        let reply = attach(&rig, fields);
        assert_refused(&reply, 409, Some("exists"), words);
        assert!(reply.body.contains("canhub detach a"), "{reply:?}");
    }
    let other = bus(&rig, "body", json!({ "hub": "vcan-other" }));
    assert_refused(&other, 409, Some("exists"), "its options are hub=vcan-body, not hub=vcan-other");
}

#[test]
fn two_interfaces_of_one_namespace_on_one_bus_are_told_apart_and_shown_as_they_are() {
    let rig = ready();
    attached(&rig, json!({ "id": "a" }));
    attached(&rig, json!({ "id": "b", "ifname": "can1" }));
    assert_eq!(rig.inside(ECU), ["can0", "can1"]);
    let which = detach(&rig, json!({ "bus": "body", "netns": ECU }));
    assert_refused(&which, 400, None, "is on bus body several times, as can");
    let second = detach(&rig, json!({ "bus": "body", "netns": ECU, "ifname": "can1" }));
    assert_eq!(
        (second.json()["attachment"]["id"].as_str(), rig.inside(ECU)),
        (Some("b"), vec!["can0".into()])
    );
    // Until it is healed, its real name and MTU are told.
    let index = rig.links_inside(ECU)[0].index;
    let change = LinkChange {
        name: Some("mine".parse().unwrap()),
        mtu: Some(16),
        up: Some(false),
        ..LinkChange::default()
    };
    rig.kernel.change_link(Some(Path::new(ECU)), index, &change).unwrap();
    let one = get(&rig.admin(), "/v1/attachments?id=a").json()["attachments"][0].clone();
    assert_eq!((&one["interface"], &one["mtu"]), (&json!("mine"), &json!(16)), "{one}");
    // What is wrong with the bus is not wrong with the attachment.
    assert_eq!(bus(&rig, "far", json!({ "adapter": "can7" })).status, 200);
    attached(&rig, json!({ "bus": "far", "id": "c", "ifname": "can5" }));
    assert_eq!(problems(&rig, "c"), [""; 0]);
}

#[test]
fn bad_input_is_one_sentence_with_what_to_do_and_leaves_nothing() {
    let rig = ready();
    rig.kernel.add_sandbox("/run/netns/full");
    let vcan = rig.kernel.add_foreign("theirs", LinkKind::Vcan);
    rig.kernel.move_link(vcan, None, Some(Path::new("/run/netns/full")), "can0");
    let before = rig.ours();
    for (fields, status, code, words) in [
        (json!({ "bus": "boddy" }), 404, Some("unknown-bus"), "did you mean body?"),
        (json!({ "bus": "boddy", "netns": "/run/netns/none" }), 404, Some("unknown-bus"), "no bus boddy"),
        (json!({ "netns": "/run/netns/none" }), 400, None, "no network namespace at /run/netns/none"),
        (json!({ "netns": "/proc/4711/ns/net" }), 400, None, "there is no process 4711"),
        (json!({ "netns": "run/netns/ecu1" }), 400, None, "not an absolute path"),
        (json!({ "netns": "/proc/self/ns/net" }), 400, None, "the host's own network namespace"),
        (json!({ "netns": "/run/netns/full" }), 409, Some("taken"), "already has an interface can0"),
        (json!({ "ifname": "sixteen-bytes-xx" }), 400, None, "the kernel allows 15"),
        (json!({ "ifname": "lo" }), 400, None, "interface lo already"),
        (json!({ "ifname": "can1", "options": { "ifname": "can2" } }), 400, None, "already given as can1"),
        (json!({ "id": "../x" }), 400, None, "must be 1 to 64 letters, digits"),
        (json!({ "name": "" }), 400, None, "must have 1 to 255 bytes"),
        (json!({ "options": { "rat": "1" } }), 400, None, "did you mean rate?"),
        (json!({ "wish": 1 }), 400, None, "unknown field `wish`"),
    ] {
        assert_refused(&attach(&rig, fields), status, code, words);
    }
    let network = rig.network(1, json!({ "hub": "vcan-docker" }));
    for (reply, status, code, words) in [
        (bus(&rig, "a b", json!({})), 400, None, "letters, digits, -, _ or ."),
        (bus(&rig, "x", json!({ "adaptr": "can0" })), 400, None, "did you mean adapter?"),
        (bus(&rig, "x", json!({ "hub": "vcan-body" })), 400, None, "already the bus of network body"),
        (remove_bus(&rig, "boddy"), 404, Some("unknown-bus"), "did you mean body?"),
        (remove_bus(&rig, "vcan-docker"), 400, None, "docker network rm"),
    ] {
        assert_refused(&reply, status, code, words);
    }
    rig.call("DeleteNetwork", &json!({ "NetworkID": network })).ok();
    assert_eq!(rig.ours(), before);
    attached(&rig, json!({ "name": "ecu" }));
    assert_refused(&remove_bus(&rig, "body"), 409, Some("in-use"), "is in use by ecu: detach them first");
    let again = attach(&rig, json!({ "bus": "vcan-body", "id": "z" }));
    assert_refused(&again, 409, Some("exists"), "its id is");
    assert_eq!(bus(&rig, "seat", json!({})).status, 200);
    let taken = attach(&rig, json!({ "bus": "seat" }));
    assert_refused(&taken, 409, Some("taken"), "already has an interface can0 from network body");
}

#[test]
fn a_numbered_interface_is_told_by_its_number() {
    let rig = ready();
    let numbered = json!({ "vxcan.dev": "vcan", "vxcan.id": "3", "vxcan.peer": "vcan" });
    assert_eq!(bus(&rig, "numbered", numbered).status, 200);
    assert_eq!(attached(&rig, json!({ "bus": "numbered" }))["interface"], "vcan0");
}

#[test]
fn many_callers_at_once_get_an_attachment_each() {
    let rig = Arc::new(ready());
    let before = rig.ours();
    let paths: Vec<String> = (0..20).map(|number| format!("/run/netns/many{number}")).collect();
    paths.iter().for_each(|path| rig.kernel.add_sandbox(path));
    std::thread::scope(|scope| {
        for path in &paths {
            let rig = &rig;
            scope.spawn(move || {
                attached(rig, json!({ "netns": path, "id": path.replace('/', ".").trim_start_matches('.') }))
            });
        }
    });
    assert_eq!(get(&rig.admin(), "/v1/attachments").json()["attachments"].as_array().unwrap().len(), 20);
    std::thread::scope(|scope| {
        for path in &paths {
            let rig = &rig;
            scope.spawn(move || assert_eq!(detach(rig, json!({ "bus": "body", "netns": path })).status, 200));
        }
    });
    assert_eq!(rig.ours(), before);
}

#[test]
fn the_commands_do_the_same_and_say_what_they_did() {
    let rig = Rig::new();
    rig.kernel.add_sandbox("/proc/4711/ns/net");
    for (args, words, code) in [
        (&["bus", "create", "body", "-o", "hub=vcan-body"][..], "body: vcan-body on the host", 0),
        (
            &["attach", "body", "--netns", "4711", "--id", "ecu.1", "-o", "rate=125000"],
            "pid-4711: on body as can0, attachment ecu.1",
            0,
        ),
        (&["attach", "ls"], "/proc/4711/ns/net", 0),
        (&["bus", "ls"], "canhub pid-4711", 0),
        (&["bus", "rm", "body"], "is in use by pid-4711", 1),
        (&["attach", "body", "--netns", "4712"], "there is no process 4712", 1),
        (&["detach", "ecu.1"], "pid-4711: off body", 0),
        (&["detach", "ecu.1"], "no attachment ecu.1", 1),
        (&["attach", "ls"], "Nothing is attached", 0),
        (&["bus", "rm", "body"], "body: removed", 0),
        (&["bus", "ls"], "No buses yet", 0),
    ] {
        let (out, err, ended) = canhub(&rig.admin(), args);
        assert!(ended == code && format!("{out}{err}").contains(words), "{args:?}: {ended} {out}{err}");
    }
    rig.assert_clean();
}
