//! `canhub health`, alone and as a boot gate; man pages; colours.

#![allow(clippy::disallowed_methods, reason = "tests may start the program under test")]

use std::{
    fs,
    io::Read,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use canhub::{driver::server, health::Health, kernel::Kernel, reconcile::Memory};
use serde_json::{Value, json};

use super::{
    ask::get,
    commands::canhub,
    health::{eager, no_docker, until},
    process::Daemon,
    rig::Rig,
};

fn rig() -> Rig {
    let watch = no_docker();
    Rig::watched(server::TIME_LIMIT, Health::new(eager(), None), Some(watch), |kernel| kernel)
}

/// Without the line breaks of 80 columns.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn with_timeout_zero_it_shows_the_health_in_80_columns() {
    let rig = rig();
    rig.manager.reconcile(&Memory::default()).unwrap();
    rig.network(1, json!({ "adapter": "can7" }));
    until(&rig, "overall", "degraded");
    let now = ["health", "--wait", "--timeout", "0"];
    let (shown, complaint, code) = canhub(&rig.admin(), &now);
    assert_eq!((complaint.as_str(), code), ("", 0), "{shown}");
    assert!(shown.starts_with("canhub is degraded: "), "{shown}");
    assert!(shown.contains("degraded   adapter:can7: waiting for adapter can7"), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");

    rig.network(2, json!({ "hub": "vcan-body", "heal": "off" }));
    rig.kernel.delete_link(None, rig.link("vcan-body").unwrap().index).unwrap();
    until(&rig, "overall", "unhealthy");
    let (shown, complaint, code) = canhub(&rig.admin(), &now);
    assert_eq!((complaint.as_str(), code), ("", 1), "{shown}");
    assert!(
        one_line(&shown).contains("the hub was missing (vcan-body)")
            && shown.contains("> canhub doctor --fix"),
        "{shown}"
    );
    let (shown, _, code) = canhub(&rig.admin(), &[&now[..], &["--json"]].concat());
    let report: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&report["status"], code), (&json!("unhealthy"), 1));
    assert_eq!((&report["version"], &report["containers"]), (&json!(env!("CARGO_PKG_VERSION")), &json!(0)));
    assert_eq!(report["startup_validation"]["buses"], 0, "{report:#}");
}

#[test]
fn the_gate_opens_when_healthy_and_prints_each_reason_once() {
    let rig = rig();
    let admin = rig.admin();
    let gate = thread::spawn(move || canhub(&admin, &["health", "--wait", "--timeout", "60"]));
    thread::sleep(Duration::from_millis(1500));
    assert!(!gate.is_finished(), "the buses have not been checked yet");
    rig.manager.reconcile(&Memory::default()).unwrap();
    let (shown, complaint, code) = gate.join().unwrap();
    assert_eq!((complaint.as_str(), code), ("", 0), "{shown}");
    assert!(shown.ends_with("canhub is healthy: all is well\n"), "{shown}");
    let waiting: Vec<&str> = shown.lines().filter(|line| line.starts_with("waiting: ")).collect();
    assert!(waiting.iter().any(|line| line.contains("kernel is unknown")), "{shown}");
    let mut once = waiting.clone();
    once.dedup();
    assert_eq!(waiting, once, "the same line is printed repeatedly");
}

#[test]
fn the_gate_stays_closed_and_says_why() {
    let rig = rig();
    rig.network(1, json!({ "hub": "vcan-body", "heal": "off" }));
    rig.kernel.delete_link(None, rig.link("vcan-body").unwrap().index).unwrap();
    rig.manager.reconcile(&Memory::default()).unwrap();
    until(&rig, "overall", "unhealthy");
    let started = Instant::now();
    let (shown, complaint, code) = canhub(&rig.admin(), &["health", "--wait", "--timeout", "1"]);
    assert_eq!((complaint.as_str(), code), ("", 1), "{shown}");
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(shown.contains("still unhealthy after 1 s\n"), "{shown}");
    assert!(
        one_line(&shown).contains("the hub was missing (vcan-body)") && !shown.contains("healthy    kernel"),
        "{shown}"
    );
    let (shown, _, code) = canhub(&rig.admin(), &["health", "--wait", "--timeout", "0", "--json"]);
    assert_eq!(
        (serde_json::from_str::<Value>(&shown).unwrap()["status"].clone(), code),
        (json!("unhealthy"), 1)
    );

    // Degraded is good enough, unless `--strict` is given.
    rig.call("DeleteNetwork", &super::bodies::delete_network(&super::bodies::network(1))).ok();
    rig.network(2, json!({ "adapter": "can7" }));
    until(&rig, "overall", "degraded");
    let (shown, _, code) = canhub(&rig.admin(), &["health", "--wait", "--timeout", "1"]);
    assert_eq!(code, 0, "{shown}");
    let (shown, _, code) = canhub(&rig.admin(), &["health", "--wait", "--timeout", "1", "--strict"]);
    assert_eq!(code, 1, "{shown}");
    assert!(
        shown.contains("still degraded after 1 s") && shown.contains("waiting for adapter can7"),
        "{shown}"
    );
}

#[test]
fn a_daemon_that_never_answered_has_its_own_exit_code() {
    let started = Instant::now();
    let (shown, complaint, code) =
        canhub(Path::new("/nowhere/admin.sock"), &["health", "--wait", "--timeout", "1"]);
    assert_eq!(code, 3, "{shown}");
    assert!(started.elapsed() >= Duration::from_secs(1), "it did not wait");
    assert!(shown.starts_with("waiting: canhub is not running"), "{shown}");
    assert!(complaint.contains("systemctl start canhub"), "{complaint}");
    assert_eq!(
        canhub(Path::new("/nowhere/admin.sock"), &["health", "--timeout", "5"]).2,
        2,
        "without --wait"
    );
}

/// A typo must not keep a device in the field down.
#[test]
fn a_daemon_with_an_invalid_policy_serves_and_reports_it() {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("health.toml");
    fs::write(&policy, "# a comment\nintervall = 3\n").unwrap();
    let mut daemon = Daemon::start_with(dir.path(), &["--health-policy", policy.to_str().unwrap()]);
    super::daemon::has_admin(&daemon);
    let report: Value = serde_json::from_str(&get(&daemon.admin, "/v1/health").body).unwrap();
    let components = report["components"].as_array().unwrap();
    let told = components.iter().find(|one| one["component"] == "policy").unwrap();
    let words = format!("{} line 2: unknown key intervall (did you mean interval?)", policy.display());
    assert!(told["reason"].as_str().unwrap().contains(&words), "{told}");
    assert_eq!((&told["status"], &told["required"]), (&json!("degraded"), &json!(false)));
    daemon.signal("-TERM");
    assert!(daemon.end().success());
    let mut log = String::new();
    daemon.child.stdout.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains(&words), "{log}");
    assert!(!log.contains('\x1b'), "colours in a pipe: {log:?}");
}

#[test]
fn man_pages_cover_all_commands() {
    let nowhere = Path::new("/nowhere/admin.sock");
    let (page, complaint, code) = canhub(nowhere, &["man"]);
    assert_eq!((complaint.as_str(), code), ("", 0));
    assert!(page.contains(".TH canhub 1") && page.contains("canhub\\-status(1)"), "{page}");
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("man1");
    assert_eq!(canhub(nowhere, &["man", folder.to_str().unwrap()]).2, 0);
    let text =
        |page: &str| fs::read_to_string(folder.join(page)).unwrap_or_else(|err| panic!("{page}: {err}"));
    assert!(text("canhub-doctor.1").contains("\\-\\-timeout"));
    assert!(text("canhub-serve.1").contains("CANHUB_HEALTH_POLICY"));
    assert!(text("canhub.1").contains("canhub\\-events(1)"));
    assert!(!folder.join("canhub-man.1").exists(), "a hidden command has a page");
}

/// What the daemon writes to a terminal before it listens.
fn log_on_a_terminal(no_color: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let terminal = nix::pty::openpty(None, None).unwrap();
    let screen = || Stdio::from(terminal.slave.try_clone().unwrap());
    // A daemon that never listens exits too, which ends the read.
    let mut daemon = Command::new("timeout")
        .args(["20", env!("CARGO_BIN_EXE_canhub"), "serve", "--no-heal", "--log-format=text"])
        .args(["--docker-socket=none", "--socket", &at("plugin.sock"), "--admin-socket", &at("admin.sock")])
        .args(["--state-dir", &at("state")])
        .env("NO_COLOR", no_color)
        .env("TERM", "xterm-256color")
        .stdin(Stdio::null())
        .stdout(screen())
        .stderr(screen())
        .spawn()
        .unwrap();
    drop(terminal.slave);
    let mut keyboard = fs::File::from(terminal.master);
    let (mut log, mut piece) = (String::new(), [0; 4096]);
    // Reading a terminal whose last process has ended fails (EIO).
    while !log.contains("listening") {
        let length = keyboard.read(&mut piece).unwrap_or_else(|err| panic!("{err}; it wrote: {log}"));
        log += &String::from_utf8_lossy(&piece[..length]);
    }
    let ended = Command::new("kill").arg(daemon.id().to_string()).status().unwrap();
    assert!(ended.success() && daemon.wait().is_ok(), "{ended}");
    log
}

/// no-color.org: present and not empty.
#[test]
fn the_log_has_colours_only_on_a_terminal_and_unless_disabled() {
    assert!(log_on_a_terminal("").contains('\x1b'), "this test cannot fail");
    let plain = log_on_a_terminal("1");
    assert!(!plain.contains('\x1b'), "{plain:?}");
    let (help, ..) = canhub(Path::new("/nowhere"), &["--help"]);
    assert!(!help.contains('\x1b') && help.contains("health"), "{help:?}");
}
