//! `canhub status` and `canhub events` on the command line.

#![allow(clippy::disallowed_methods, reason = "tests may start the program under test")]

use std::{path::Path, process::Command};

use canhub::{kernel::Kernel, reconcile::Memory};
use serde_json::{Value, json};

use super::{bodies, rig::Rig};

/// The output, the error message and the exit code of a command.
pub fn canhub(socket: &Path, args: &[&str]) -> (String, String, i32) {
    let run = Command::new(env!("CARGO_BIN_EXE_canhub"))
        .args(args)
        .env("CANHUB_ADMIN_SOCKET", socket)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(run.stdout), text(run.stderr), run.status.code().unwrap())
}

#[test]
fn status_is_readable_and_its_exit_code_shows_problems() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    rig.member(&network, 1);
    rig.manager.reconcile(&Memory::default()).unwrap();
    let (shown, complaint, code) = canhub(&rig.admin(), &["status"]);
    assert_eq!((complaint.as_str(), code), ("", 0), "{shown}");
    for words in [&network[..12], "vcan-body", "can0", "  ok\n", "IN/s", "healing on"] {
        assert!(shown.contains(words), "{words:?} is not in\n{shown}");
    }
    assert!(!shown.contains('\x1b'), "colours or cursor movements in a pipe: {shown:?}");

    let hub = rig.link("vcan-body").unwrap().index;
    rig.kernel.delete_link(None, hub).unwrap();
    let (shown, _, code) = canhub(&rig.admin(), &["status"]);
    assert_eq!(code, 1, "{shown}");
    assert!(shown.contains("PROBLEM") && shown.contains("the hub was missing (vcan-body)"), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");

    let (json, _, code) = canhub(&rig.admin(), &["status", "--json"]);
    assert_eq!(code, 1);
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["buses"][0]["network"], network);
}

#[test]
fn without_buses_status_suggests_the_next_step() {
    let rig = Rig::new();
    rig.manager.reconcile(&Memory::default()).unwrap();
    let (shown, _, code) = canhub(&rig.admin(), &["status"]);
    assert_eq!(code, 0);
    assert!(shown.contains("docker network create -d canhub --ipam-driver null"), "{shown}");
    let (shown, _, code) = canhub(&rig.admin(), &["events"]);
    assert_eq!(code, 0);
    assert!(shown.contains("canhub events --follow"), "{shown}");
}

#[test]
fn events_are_printed_as_lines_and_as_json() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    let endpoint = rig.member(&network, 1);
    rig.part(&network, &endpoint);
    let (shown, _, code) = canhub(&rig.admin(), &["events"]);
    assert_eq!(code, 0);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 3, "{shown}");
    assert!(
        lines[0].contains(" network created network=") && lines[0].contains("interface=vcan-body"),
        "{shown}"
    );
    assert!(lines[1].contains(" joined ") && lines[2].contains(" left "), "{shown}");
    let (json, ..) = canhub(&rig.admin(), &["events", "--json", "--last", "1"]);
    let event: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&event["event"], &event["endpoint"]), (&json!("left"), &json!(bodies::endpoint(1))));
}

#[test]
fn without_a_daemon_the_exit_code_is_three_and_the_message_says_what_to_do() {
    let nowhere = Path::new("/nowhere/admin.sock");
    for command in [&["status"][..], &["status", "--json"], &["events"], &["events", "--follow"]] {
        let (shown, complaint, code) = canhub(nowhere, command);
        assert_eq!((shown.as_str(), code), ("", 3), "{command:?}");
        assert!(complaint.contains("systemctl start canhub"), "{complaint}");
    }
}
