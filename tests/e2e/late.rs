//! canhub was not running when Docker started its containers, so Docker failed to start them.

use crate::support::{
    canhub::{self, Configured, is_service},
    docker::{Container, kill_dockerd, try_docker},
    frames::assert_all_hear_all,
    host::Journal,
    report::Kind,
    scene::Scene,
    shell::{eventually, run},
};

/// systemd starts neither the service nor its socket, until dropped.
struct Masked;

const UNITS: [&str; 2] = ["canhub.socket", "canhub.service"];

impl Masked {
    fn new() -> Self {
        canhub::stop();
        run("systemctl", &[&["mask", "--runtime"], &UNITS[..]].concat());
        Self
    }
}

impl Drop for Masked {
    fn drop(&mut self) {
        run("systemctl", &[&["unmask", "--runtime"], &UNITS[..]].concat());
        canhub::start();
    }
}

#[test]
fn containers_that_docker_failed_to_start_are_named_and_started_on_request() {
    if !is_service("late::containers_that_docker_failed_to_start_are_named_and_started_on_request") {
        return;
    }
    let scene = Scene::new();
    // Docker sends nothing about containers that died with it; they are collected later.
    scene.allow_collection();
    let bus = scene.network(&["hub=vcan-late"]);
    let ecu = scene.container_with(&["--network", &bus.name, "--restart", "always"]).name;
    let unasked = scene.container(&bus).name;

    let journal = Journal::mark();
    let masked = Masked::new();
    kill_dockerd();
    eventually("Docker gives up on the container", || match state(&ecu)?.as_str() {
        running if running.starts_with("true") => Err(running.to_owned()),
        stopped if stopped.contains("plugin") => Ok(()),
        waiting => Err(waiting.to_owned()),
    });
    drop(masked);
    let told =
        journal.until("of the container", |told| told.contains("Docker failed to start this container"));
    let told =
        told.lines().find(|line| line.contains("Docker failed to start this container")).unwrap_or_default();
    for word in [&*ecu, "docker start", "--restart-late"] {
        assert!(told.contains(word), "{word:?} is not in: {told}");
    }
    assert!(state(&ecu).is_ok_and(|state| state.starts_with("false")), "its start was not requested");

    let _configured = Configured::with(&["CANHUB_RESTART_LATE=1"]);
    eventually("canhub starts the container", || {
        let state = state(&ecu)?;
        if state.starts_with("true") { Ok(()) } else { Err(state) }
    });
    let member = Container::running(&ecu).member("can0", 1);
    assert_all_hear_all(&[&member, &bus.host(2)], &[Kind::Classic, Kind::Fd], 20);
    let state = state(&unasked);
    assert!(
        state.as_ref().is_ok_and(|state| state.starts_with("false")),
        "it has no restart policy: {state:?}"
    );
}

fn state(container: &str) -> Result<String, String> {
    try_docker(&["inspect", "--format", "{{.State.Running}} {{.State.Status}} {{.State.Error}}", container])
}
