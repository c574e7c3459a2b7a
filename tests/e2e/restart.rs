//! canhub and dockerd are killed, restarted, late, or lose their state, while frames flow.

use std::{fs, path::PathBuf, thread};

use crate::support::{
    canhub::{self, Configured, is_service},
    docker::{Container, docker, kill_dockerd, try_docker},
    frames::{all_hear_all, assert_all_hear_all, is_unbroken},
    host::{self, Journal},
    member::{Member, Running},
    report::{Kind, Sent},
    scene::Scene,
    shell::{eventually, run},
};

/// A stream of frames from one member to others, none of which may be lost or duplicated.
pub struct Flow {
    sender: Running,
    listeners: Vec<(String, Running)>,
}

impl Flow {
    #[track_caller]
    pub fn start(sender: &Member, listeners: &[&Member]) -> Self {
        let listeners: Vec<_> =
            listeners.iter().map(|member| (member.name.clone(), member.listen())).collect();
        Self { sender: sender.start_sending(&["--gap", "2", "--kind", "classic,fd"]), listeners }
    }

    #[track_caller]
    pub fn end_unharmed(self) {
        let Sent { sent, .. } = self.sender.end();
        assert!(sent > 0);
        for (name, listener) in self.listeners {
            let heard = listener.heard();
            let frames: u32 = heard.streams.iter().map(|stream| stream.frames).sum();
            let unharmed = heard.streams.iter().all(|stream| is_unbroken(stream) && stream.first == 0);
            assert!(
                unharmed && frames == sent,
                "{name}: {sent} frames were sent, but received were {heard:#?}"
            );
        }
    }
}

/// In a row, and more than the five within ten seconds after which systemd would give up on a unit by default.
const CRASHES: usize = 7;

#[test]
fn a_crash_of_canhub_neither_loses_nor_duplicates_frames() {
    let name = "restart::a_crash_of_canhub_neither_loses_nor_duplicates_frames";
    if is_service(name) {
        traffic_survives(|| (0..CRASHES).for_each(|_| canhub::crash()));
    }
}

#[test]
fn an_in_place_upgrade_of_canhub_neither_loses_nor_duplicates_frames() {
    let name = "restart::an_in_place_upgrade_of_canhub_neither_loses_nor_duplicates_frames";
    if is_service(name) {
        traffic_survives(|| (0..2).for_each(|_| canhub::restart()));
    }
}

/// Existing members keep working, and later ones become members like them.
fn traffic_survives(event: impl Fn()) {
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-flow"]);
    let (one, two) = (scene.container(&bus).member("can0", 1), scene.container(&bus).member("can0", 2));
    let host = Member::host("vcan-flow", 9);
    let before = scene.traces();

    let flow = Flow::start(&one, &[&two, &host]);
    event();
    assert_eq!(scene.traces(), before, "existing links and rules are adopted and left alone");
    let late = scene.container(&bus).member("can0", 3);
    flow.end_unharmed();
    assert_all_hear_all(&[&one, &two, &late, &host], &[Kind::Classic, Kind::Fd], 20);
}

#[test]
fn after_killing_dockerd_containers_come_back_and_reach_each_other() {
    let scene = Scene::new();
    // Docker sends nothing about containers that died with it; they are collected later.
    scene.allow_collection();
    let bus = scene.network(&["hub=vcan-dockerd"]);
    let always = ["--network", &bus.name, "--restart", "always"];
    let old = [scene.container_with(&always), scene.container_with(&always)];

    kill_dockerd();
    let [one, two] = old.each_ref().map(|old| eventually("the container runs again", || restarted(old)));
    let members = [one.member("can0", 1), two.member("can0", 2), Member::host("vcan-dockerd", 9)];
    assert_all_hear_all(&members.each_ref(), &[Kind::Classic, Kind::Fd], 50);
}

/// The container once it runs again, with another first process.
fn restarted(old: &Container) -> Result<Container, String> {
    let state = try_docker(&["inspect", "--format", "{{.State.Running}} {{.State.Error}}", &old.name])?;
    let new = if state.starts_with("true") { Container::running(&old.name) } else { return Err(state) };
    if new.pid != old.pid { Ok(new) } else { Err("it is the one of before".into()) }
}

#[test]
fn a_lost_state_file_loses_nothing_that_exists() {
    if is_service("restart::a_lost_state_file_loses_nothing_that_exists") {
        let (journal, ..) = buses_go_on_without(|state| {
            fs::remove_file(state).expect("the state file is there");
            for record in host::records() {
                fs::remove_file(record).expect("root may delete it");
            }
        });
        assert!(journal.contains("adopted"), "{journal}");
    }
}

#[test]
fn a_corrupt_state_file_is_renamed_and_reported() {
    const RUBBISH: &str = "{\"version\":1,\"netw\0 rubbish";
    if !is_service("restart::a_corrupt_state_file_is_renamed_and_reported") {
        return;
    }
    let (journal, aside) = buses_go_on_without(|state| fs::write(state, RUBBISH).expect("root may write it"));
    let [aside] = &aside[..] else { panic!("expected one renamed file, not {aside:?}; {journal}") };
    assert!(
        journal.contains(&aside.display().to_string()),
        "{} is not mentioned in: {journal}",
        aside.display()
    );
    assert_eq!(fs::read_to_string(aside).unwrap(), RUBBISH);
    fs::remove_file(aside).unwrap();
}

/// Restarts canhub with a damaged state. Returns its journal, and the files it renamed meanwhile.
fn buses_go_on_without(harm: impl Fn(&PathBuf)) -> (String, Vec<PathBuf>) {
    let aside = || -> Vec<PathBuf> {
        let entries = fs::read_dir(canhub::state_dir()).expect("canhub has a state folder").flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| path.to_string_lossy().contains("unreadable"))
            .collect()
    };
    let aside_before = aside();
    let scene = Scene::new();
    let (bus, quiet_bus) = (scene.network(&["hub=vcan-lost", "frames=classic"]), scene.network(&[]));
    let (one, two) = (scene.container(&bus).member("can0", 1), scene.container(&bus).member("can0", 2));

    let journal = Journal::mark();
    let listener = two.listen();
    let sender = one.start_sending(&["--gap", "2"]);
    canhub::stop();
    harm(&canhub::state_dir().join("state.json"));
    canhub::start();
    let Sent { sent, .. } = sender.end();
    let heard = listener.heard();
    assert!(
        heard.streams.len() == 1 && is_unbroken(&heard.streams[0]) && heard.streams[0].frames == sent,
        "{sent} frames were sent, but received were {heard:#?}"
    );

    let known = host::state_networks();
    assert!(
        [&bus, &quiet_bus].iter().all(|bus| known.contains(&bus.id)),
        "{known:?} lacks {bus:?} or {quiet_bus:?}"
    );
    let late = scene.container(&bus).member("can0", 3);
    assert_all_hear_all(&[&one, &two, &late, &Member::host("vcan-lost", 9)], &[Kind::Classic], 20);
    assert_eq!(bus.find_hub().expect("the hub exists").mtu, 16, "the options were adopted too");
    // Leave, DeleteEndpoint and DeleteNetwork find their objects.
    scene.remove_all();
    scene.assert_nothing_is_left();
    (journal.since(), aside().into_iter().filter(|path| !aside_before.contains(path)).collect())
}

#[test]
fn without_dockers_api_everything_works() {
    if !is_service("restart::without_dockers_api_everything_works") {
        return;
    }
    let _configured = Configured::with(&["CANHUB_DOCKER_SOCKET=/nowhere/docker.sock"]);
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-silent"]);
    let (one, two) = (scene.container(&bus).member("can0", 1), scene.container(&bus).member("can0", 2));
    assert_all_hear_all(&[&one, &two, &Member::host("vcan-silent", 9)], &[Kind::Classic, Kind::Fd], 20);
    canhub::crash();
    assert_all_hear_all(&[&one, &two, &Member::host("vcan-silent", 9)], &[Kind::Classic, Kind::Fd], 20);
    scene.remove_all();
    scene.assert_nothing_is_left();
}

#[test]
fn a_container_waits_for_a_late_canhub() {
    if !is_service("restart::a_container_waits_for_a_late_canhub") {
        return;
    }
    let scene = Scene::new();
    let bus = scene.network(&[]);
    let ecu = scene.create(&["--network", &bus.name], &["sleep", "infinity"]);

    canhub::stop();
    let starts = {
        let ecu = ecu.clone();
        thread::spawn(move || try_docker(&["start", &ecu]))
    };
    let retries = eventually("dockerd retries", || {
        if starts.is_finished() {
            return Ok(false);
        }
        let docker = run("journalctl", &["-q", "--no-pager", "-u", "docker", "--since=-15s"]);
        if docker.contains("retrying in") { Ok(true) } else { Err(docker) }
    });
    canhub::start();
    let started = starts.join().expect("docker start does not panic");
    assert!(retries && started.is_ok(), "{retries} {started:?}");
    assert_all_hear_all(&[&Container::running(&ecu).member("can0", 1), &bus.host(2)], &[Kind::Classic], 20);
}

#[test]
fn calls_queue_on_the_socket_while_only_the_service_is_down() {
    if !is_service("restart::calls_queue_on_the_socket_while_only_the_service_is_down") {
        return;
    }
    let scene = Scene::new();
    let bus = scene.network(&[]);
    run("systemctl", &["stop", "canhub.service"]);
    let ecu = scene.container(&bus).member("can0", 1);
    all_hear_all(&[&ecu, &bus.host(2)], &[Kind::Classic], 20).unwrap_or_else(|err| panic!("{err}"));
    docker(&["network", "inspect", &bus.name]);
}
