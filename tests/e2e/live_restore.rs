//! dockerd with live-restore: containers keep running while it is away. Those that end meanwhile are no longer members.

use std::{
    fs, process,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{
    canhub::{self, is_service, says},
    docker::{Container, DOCKERD_PATIENCE, Network, docker, try_docker},
    frames::assert_all_hear_all,
    host::{ip_link, link},
    member::Member,
    report::Kind,
    scene::Scene,
    shell::{PATIENCE, attempt, eventually, run, within},
};

const DAEMON_JSON: &str = "/etc/docker/daemon.json";

/// How long to watch after the last container came back: longer than it takes to collect an endpoint.
const WATCHED: Duration = Duration::from_secs(20);

/// dockerd with live-restore, until dropped.
struct LiveRestore {
    before: Option<String>,
    settings: Value,
}

impl LiveRestore {
    #[track_caller]
    fn on() -> Self {
        let before = fs::read_to_string(DAEMON_JSON).ok();
        let settings: Value = before.as_deref().map_or(Value::Null, |text| {
            serde_json::from_str(text).unwrap_or_else(|err| panic!("{DAEMON_JSON}: {err}: {text}"))
        });
        fs::create_dir_all("/etc/docker").expect("root may write /etc");
        let restored = Self { before, settings };
        restored.switch(true).unwrap_or_else(|err| panic!("live-restore is not on: {err}"));
        restored
    }

    fn switch(&self, on: bool) -> Result<(), String> {
        let mut settings = self.settings.clone();
        settings["live-restore"] = on.into();
        fs::write(DAEMON_JSON, settings.to_string()).map_err(|err| err.to_string())?;
        attempt("systemctl", &["reload", "docker"])?;
        within(PATIENCE, || {
            let enabled = try_docker(&["info", "--format", "{{.LiveRestoreEnabled}}"])?;
            if enabled == on.to_string() { Ok(()) } else { Err(enabled) }
        })
    }
}

impl Drop for LiveRestore {
    fn drop(&mut self) {
        // Whatever happens in the test, the next one needs a running dockerd.
        let _ = attempt("systemctl", &["start", "docker.socket", "docker"]);
        // A reload does not reset a setting that the file no longer has.
        let off = self.switch(false);
        let _ = match &self.before {
            Some(text) => fs::write(DAEMON_JSON, text),
            None => fs::remove_file(DAEMON_JSON),
        };
        if !std::thread::panicking() {
            off.unwrap_or_else(|err| panic!("live-restore is still on: {err}"));
        }
    }
}

/// Stops dockerd, runs something, and starts it again. `meanwhile` is called repeatedly while it starts.
#[track_caller]
fn while_dockerd_is_away(happens: impl FnOnce(), mut meanwhile: impl FnMut()) {
    run("systemctl", &["stop", "docker.socket", "docker"]);
    happens();
    let mut start = process::Command::new("systemctl");
    let mut start = start.args(["start", "docker.socket", "docker"]).spawn().expect("systemctl is there");
    let back = within(DOCKERD_PATIENCE, || {
        meanwhile();
        match start.try_wait() {
            Ok(Some(status)) if status.success() => Ok(()),
            ended => Err(format!("{ended:?}")),
        }
    });
    back.unwrap_or_else(|err| panic!("dockerd does not start: {err}"));
}

/// The first process of a container ends without Docker noticing.
#[track_caller]
fn kill_first_process(container: &Container) {
    run("kill", &["-KILL", &container.pid.to_string()]);
    eventually(&format!("{} has ended", container.name), || {
        if fs::exists(format!("/proc/{}", container.pid)).unwrap_or(true) {
            Err("it is still there".into())
        } else {
            Ok(())
        }
    });
}

/// What canhub shows of the members of a bus: the rows of the status by endpoint, with the container's name.
fn rows(bus: &Network) -> Vec<(String, String)> {
    let said = canhub::ask("/v1/status");
    let status: Value = serde_json::from_str(&said).unwrap_or_else(|err| panic!("{err}: {said}"));
    let buses = status["buses"].as_array().expect("buses are a list");
    let bus = buses.iter().find(|shown| shown["network"] == *bus.id).expect("the bus is shown");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let members = bus["members"].as_array().expect("members are a list");
    members.iter().map(|member| (text(&member["container"]), text(&member["endpoint"]))).collect()
}

/// The series of received frames of a container in the metrics.
fn series(container: &str) -> usize {
    let metrics = canhub::ask("/metrics");
    let is_one = |line: &&str| {
        line.starts_with("canhub_frames_handled_total{")
            && line.contains(&format!("container=\"{container}\""))
            && line.contains("direction=\"in\"")
    };
    metrics.lines().filter(is_one).count()
}

/// The heals of all members of a bus.
fn heals(bus: &Network) -> Vec<Value> {
    let told = says("events --json");
    let events =
        told.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|err| panic!("{err}: {line}")));
    events.filter(|event: &Value| event["event"] == "healed" && event["network"] == *bus.id).collect()
}

/// At no time does a container have two rows or two series, and nothing on this bus is healed.
#[track_caller]
fn assert_no_ghost(bus: &Network, containers: &[&Container]) {
    let rows = rows(bus);
    for Container { name, .. } in containers {
        let of_it = rows.iter().filter(|(container, _)| container == name).count();
        assert!(of_it <= 1, "{name} has {of_it} rows: {rows:#?}");
        let of_it = series(name);
        assert!(of_it <= 1, "{name} has {of_it} series: {}", canhub::ask("/metrics"));
    }
    let heals = heals(bus);
    assert!(heals.is_empty(), "this was healed: {heals:#?}");
}

#[test]
fn a_container_that_ended_while_dockerd_was_away_is_neither_healed_nor_shown_nor_counted() {
    if !is_service(
        "live_restore::a_container_that_ended_while_dockerd_was_away_is_neither_healed_nor_shown_nor_counted",
    ) {
        return;
    }
    let scene = Scene::new();
    let _live_restore = LiveRestore::on();
    scene.allow_collection();
    let bus = scene.network(&["hub=vcan-ghost"]);
    let always = scene.container_with(&["--network", &bus.name, "--restart", "always"]);
    let [manual, lives] = [scene.container(&bus), scene.container(&bus)];
    let all = [&always, &manual, &lives];
    let members = [always.member("can0", 1), manual.member("can0", 2), lives.member("can0", 3)];
    assert_all_hear_all(&members.each_ref(), &[Kind::Classic, Kind::Fd], 20);
    let named = |all: &[&Container]| {
        let mut wanted: Vec<&str> = all.iter().map(|container| &*container.name).collect();
        wanted.sort_unstable();
        eventually(&format!("{wanted:?} and nobody else have a row each"), || {
            assert_no_ghost(&bus, all);
            let rows = rows(&bus);
            let mut names: Vec<&str> = rows.iter().map(|(container, _)| &**container).collect();
            names.sort_unstable();
            if names == wanted { Ok(()) } else { Err(format!("{rows:?}")) }
        });
    };
    named(&all);

    while_dockerd_is_away(
        || [&always, &manual].into_iter().for_each(kill_first_process),
        || assert_no_ghost(&bus, &all),
    );
    eventually("the container with a restart policy runs again", || {
        assert_no_ghost(&bus, &all);
        let state = try_docker(&["inspect", "--format", "{{.State.Running}} {{.State.Pid}}", &always.name])?;
        let is_new = state.starts_with("true") && state != format!("true {}", always.pid);
        if is_new { Ok(()) } else { Err(state) }
    });
    named(&[&always, &lives]);
    docker(&["start", &manual.name]);
    named(&all);
    let until = Instant::now() + WATCHED;
    while Instant::now() < until {
        assert_no_ghost(&bus, &all);
        assert_eq!(rows(&bus).len(), 3, "{:?}", rows(&bus));
    }
    lives.assert_untouched();
    let [always, manual] = [&always.name, &manual.name].map(|name| Container::running(name));
    let members = [always.member("can0", 1), manual.member("can0", 2), lives.member("can0", 3)];
    assert_all_hear_all(&members.each_ref(), &[Kind::Classic, Kind::Fd], 50);
}

#[test]
fn a_container_that_survived_while_dockerd_was_away_is_healed_before_and_after() {
    if !is_service(
        "live_restore::a_container_that_survived_while_dockerd_was_away_is_healed_before_and_after",
    ) {
        return;
    }
    let scene = Scene::new();
    let _live_restore = LiveRestore::on();
    let bus = scene.network(&["hub=vcan-alive"]);
    let ecus = [scene.container(&bus), scene.container(&bus)];
    let works = || {
        let [one, two] = ecus.each_ref();
        let members = [one.member("can0", 1), two.member("can0", 2), Member::host("vcan-alive", 9)];
        assert_all_hear_all(&members.each_ref(), &[Kind::Classic, Kind::Fd], 20);
    };
    let heals = || {
        let host_end = ecus[0].host_end("can0").ifname;
        ip_link(&["del", &host_end]);
        eventually("the pair is made again", || match link(&host_end) {
            Some(end) if end.is_up() => Ok(()),
            end => Err(format!("{end:?}")),
        });
        works();
    };
    works();
    while_dockerd_is_away(heals, || ());
    heals();
    ecus.iter().for_each(Container::assert_untouched);
    assert_eq!(rows(&bus).len(), 2, "{:?}", rows(&bus));
}
