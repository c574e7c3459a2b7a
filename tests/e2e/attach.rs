//! `canhub bus` and `canhub attach`: real namespaces on real buses, with and without Docker.

mod healing;
mod many;
mod plugin;

use serde_json::Value;

use crate::{
    restart::Flow,
    support::{
        canhub::{self, is_service},
        frames::{ALL_KINDS, all_hear_all, assert_all_hear_all},
        member::Member,
        netns::{Netns, Process},
        report::Kind,
        scene::{Scene, unique},
        shell::{assert_refused, attempt, eventually, run, sh},
    },
};

/// Runs canhub.
fn try_canhub(line: &str) -> Result<String, String> {
    let program = canhub::program();
    attempt(&program, &line.split(' ').collect::<Vec<_>>())
}

#[track_caller]
fn canhub(line: &str) -> String {
    try_canhub(line).unwrap_or_else(|err| panic!("{err}"))
}

/// A bus of canhub's that is removed with the scene, and its interface on the host.
#[track_caller]
fn bus(scene: &Scene, options: &str) -> (String, String) {
    let name = unique("made");
    canhub(format!("bus create {name} {options}").trim_end());
    let remove = name.clone();
    scene.undo(move || {
        let _ = try_canhub(&format!("bus rm {remove}"));
    });
    let listed: Value = serde_json::from_str(&canhub("bus ls --json")).expect("it is JSON");
    let all = listed["buses"].as_array().expect("they are a list");
    let interface = all.iter().find(|one| one["name"] == *name).map(|one| one["interface"].to_string());
    (name, interface.expect("it is listed").trim_matches('"').to_owned())
}

#[test]
fn all_kinds_of_namespaces_a_container_and_the_host_hear_each_other() {
    if !is_service("attach::all_kinds_of_namespaces_a_container_and_the_host_hear_each_other") {
        return;
    }
    let scene = Scene::new();
    let network = scene.network(&["hub=vcan-any"]);
    let (container, alone) = (scene.container(&network), scene.container_with(&["--network", "none"]));
    let (named, process) = (Netns::new(), Process::new());
    canhub(&format!("attach {} --netns {}", network.name, named.name));
    canhub(&format!("attach {} --netns {} --ifname can3 --id by.pid", network.name, process.pid()));
    canhub(&format!("attach vcan-any --netns {}", alone.name));
    let members = [
        container.member("can0", 1),
        named.member("can0", 2),
        Member::of_namespace(&process.path(), "can3", 3),
        alone.member("can0", 4),
        Member::host("vcan-any", 9),
    ];
    assert_all_hear_all(&members.each_ref(), &ALL_KINDS, 50);
    // Everything names them.
    let status = canhub("status");
    let names = [&named.name, &format!("pid-{}", process.pid()), &alone.name, &container.name];
    for name in names {
        assert!(status.contains(&name[..name.len().min(12)]), "{name} is not in {status}");
    }
    let fault = canhub(&format!("fault {} {} cut --for 1h", network.name, named.name));
    assert!(fault.contains("is cut off on purpose"), "{fault}");
    assert!(all_hear_all(&[&members[1], &members[0]], &[Kind::Classic], 2).is_err(), "it is cut off");
    canhub(&format!("fault clear {}", network.name));
    // A second bus in the same namespace, made without Docker.
    let (made, interface) = bus(&scene, "");
    canhub(&format!("attach {made} --netns {} --ifname can1 -o allow-tx=none", named.path()));
    assert_all_hear_all(&members.each_ref(), &[Kind::Classic, Kind::Fd], 20);
    let [listens, host] = [named.member("can1", 5), Member::host(&interface, 6)];
    assert!(all_hear_all(&[&listens, &host], &[Kind::Classic], 2).is_err(), "it may only listen");
    canhub(&format!("detach {made} --netns {}", named.path()));
    assert_refused(try_canhub(&format!("bus rm {}", network.name)), &["docker network rm"]);
    canhub("detach by.pid");
    assert_all_hear_all(&[&members[0], &members[1], &members[3], &members[4]], &[Kind::Classic], 20);
    // Docker asks nobody: what is attached to its network goes with it.
    scene.remove_all();
    assert_eq!(named.can_links(), "");
    assert!(canhub("attach ls").contains("Nothing is attached"));
}

#[test]
fn what_is_not_possible_is_refused_in_one_sentence() {
    if !is_service("attach::what_is_not_possible_is_refused_in_one_sentence") {
        return;
    }
    let scene = Scene::new();
    let (made, _) = bus(&scene, "");
    let (netns, mut ended) = (Netns::new(), Process::new());
    netns.ip("link add can0 type vcan");
    ended.end();
    for (line, words) in [
        (format!("attach {made}x --netns {}", netns.name), &["there is no bus", "did you mean"][..]),
        (format!("attach {made} --netns /etc/passwd"), &["no network namespace at /etc/passwd"]),
        (format!("attach {made} --netns /proc/self/ns/mnt"), &["cannot enter", "as a network namespace"]),
        (format!("attach {made} --netns /proc/1/ns/net"), &["the host's own network namespace"]),
        (format!("attach {made} --netns {}", ended.pid()), &["there is no process"]),
        (format!("attach {made} --netns {}", netns.name), &["already has an interface can0", "--ifname"]),
        (format!("attach {made} --netns no-such"), &["neither a name of `ip netns` nor a running"]),
        (format!("attach {made} --netns {} -o rat=1", netns.name), &["did you mean rate"]),
    ] {
        let said = try_canhub(&line);
        let sentences = said.as_ref().err().map_or(0, |why| why.matches("canhub: ").count());
        assert_refused(said, words);
        assert!(sentences <= 1, "{line}");
    }
    let path = run("sh", &["-c", "echo $PATH"]);
    let unprivileged = ["--reuid=65534", "--clear-groups", "env", &format!("PATH={path}")];
    let program = canhub::program();
    assert_refused(
        attempt("setpriv", &[&unprivileged[..], &[&program, "bus", "ls"]].concat()),
        &["permission denied", "sudo"],
    );
    assert_eq!(canhub(&format!("bus rm {made}")), format!("{made}: removed"));
}

#[test]
fn a_namespace_that_ends_leaves_nothing_and_its_path_can_be_used_again() {
    if !is_service("attach::a_namespace_that_ends_leaves_nothing_and_its_path_can_be_used_again") {
        return;
    }
    let scene = Scene::new();
    let (made, hub) = bus(&scene, "");
    let nothing = scene.traces();
    let (first, process) = (Netns::new(), Process::new());
    canhub(&format!("attach {made} --netns {} --id reused", first.name));
    canhub(&format!("attach {made} --netns {}", process.pid()));
    let path = first.path();
    run("ip", &["netns", "del", &first.name]);
    run("ip", &["netns", "add", &first.name]);
    assert_eq!(first.can_links(), "", "the other namespace at {path} is not attached");
    // The same ID, at once.
    canhub(&format!("attach {made} --netns {} --id reused", first.name));
    assert_all_hear_all(&[&first.member("can0", 1), &Member::host(&hub, 9)], &[Kind::Classic, Kind::Fd], 20);
    drop((first, process));
    eventually("nothing is attached", || {
        let listed = try_canhub("attach ls")?;
        if listed.contains("Nothing is attached") { Ok(()) } else { Err(listed) }
    });
    eventually("nothing is left", || {
        let now = scene.traces();
        if now == nothing { Ok(()) } else { Err(format!("{now:#?}, not {nothing:#?}")) }
    });
    // A bus is free at once when the last namespace on it ends.
    let last = Netns::new();
    canhub(&format!("attach {made} --netns {}", last.name));
    assert_refused(try_canhub(&format!("bus rm {made}")), &["is in use by", &last.name]);
    drop(last);
    canhub(&format!("bus rm {made}"));
}

#[test]
fn a_crash_and_a_restart_under_traffic_lose_no_frame() {
    if !is_service("attach::a_crash_and_a_restart_under_traffic_lose_no_frame") {
        return;
    }
    let scene = Scene::new();
    let (made, hub) = bus(&scene, "");
    let (one, two) = (Netns::new(), Process::new());
    canhub(&format!("attach {made} --netns {} --id one", one.name));
    canhub(&format!("attach {made} --netns {} --id two", two.pid()));
    let members =
        [one.member("can0", 1), Member::of_namespace(&two.path(), "can0", 2), Member::host(&hub, 9)];
    let (before, listed) = (scene.traces(), canhub("attach ls --json"));
    let flow = Flow::start(&members[0], &[&members[1], &members[2]]);
    canhub::crash();
    canhub::crash();
    canhub::restart();
    eventually("the attachments are as before", || {
        let now = try_canhub("attach ls --json")?;
        if now == listed { Ok(()) } else { Err(now) }
    });
    flow.end_unharmed();
    assert_eq!(scene.traces(), before);
    assert_all_hear_all(&members.each_ref(), &[Kind::Classic, Kind::Fd], 20);
    // What ends while canhub does not run is noticed when it does.
    canhub::stop();
    drop(one);
    canhub::start();
    eventually("only the other one is attached", || {
        let now = try_canhub("attach ls")?;
        if !now.contains("one ") && now.contains("two ") { Ok(()) } else { Err(now) }
    });
}

#[test]
fn without_docker_canhub_starts_is_healthy_and_attaches() {
    if !is_service("attach::without_docker_canhub_starts_is_healthy_and_attaches") {
        return;
    }
    let scene = Scene::new();
    let units = ["docker.socket", "docker.service"];
    scene.undo(move || {
        run("systemctl", &[&["enable", "--now"], &units[..]].concat());
        eventually("Docker answers", || attempt("docker", &["version"]));
    });
    run("systemctl", &[&["disable", "--now"], &units[..]].concat());
    sh("rm -f /run/docker.sock");
    canhub::restart();
    let (made, hub) = bus(&scene, "");
    let spaces = [Netns::new(), Netns::new()];
    for space in &spaces {
        canhub(&format!("attach {made} --netns {}", space.name));
    }
    let members = [spaces[0].member("can0", 1), spaces[1].member("can0", 2), Member::host(&hub, 9)];
    assert_all_hear_all(&members.each_ref(), &ALL_KINDS, 20);
    eventually("canhub is healthy", || {
        let health: Value =
            serde_json::from_str(&canhub::ask("/v1/health")).map_err(|err| err.to_string())?;
        let docker = health["components"]
            .as_array()
            .and_then(|all| all.iter().find(|one| one["component"] == "docker").cloned());
        match (&health["status"], docker) {
            (status, Some(docker)) if status == "healthy" && docker["status"] == "unwatched" => Ok(()),
            (status, docker) => Err(format!("{status}: {docker:?}")),
        }
    });
    let doctor = canhub::says("doctor");
    assert!(doctor.contains("Docker is not used"), "{doctor}");
    for space in &spaces {
        canhub(&format!("detach {made} --netns {}", space.name));
    }
    canhub(&format!("bus rm {made}"));
}
