//! `canhub bus` and `canhub attach`: real namespaces on real buses, with and without Docker.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::Instant,
};

use serde_json::{Value, json};

use crate::{
    restart::Flow,
    support::{
        canhub::{self, Configured, is_service},
        frames::{ALL_KINDS, all_hear_all, assert_all_hear_all},
        host::{gateway_is_a_module, rules},
        member::Member,
        report::Kind,
        scene::{Scene, unique},
        shell::{assert_refused, attempt, eventually, number_from, run, say, sh},
    },
};

/// A namespace of `ip netns`, which ends when dropped.
struct Netns(String);

impl Netns {
    fn new() -> Self {
        let name = unique("ns");
        run("ip", &["netns", "add", &name]);
        Self(name)
    }

    fn path(&self) -> String {
        format!("/run/netns/{}", self.0)
    }

    fn member(&self, interface: &str, number: u8) -> Member {
        Member::of_namespace(&self.path(), interface, number)
    }

    /// Runs a shell line inside.
    #[track_caller]
    fn inside(&self, line: &str) {
        run("ip", &["netns", "exec", &self.0, "sh", "-c", line]);
    }

    /// The CAN interfaces inside.
    fn can_links(&self) -> String {
        run("ip", &["-netns", &self.0, "-br", "link", "show", "type", "vxcan"])
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = attempt("ip", &["netns", "del", &self.0]);
    }
}

/// A process in a network namespace of its own, which ends when dropped.
struct Process(Child);

impl Process {
    fn new() -> Self {
        let sleep = Command::new("unshare").args(["--net", "sleep", "infinity"]).stdin(Stdio::null()).spawn();
        let process = Self(sleep.expect("unshare starts"));
        let own = fs::read_link("/proc/self/ns/net").expect("/proc is mounted");
        eventually("the process has a namespace of its own", || {
            let theirs = fs::read_link(process.path()).map_err(|err| err.to_string())?;
            if theirs == own { Err("it is the host's".to_owned()) } else { Ok(()) }
        });
        process
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

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
    canhub(&format!("attach {} --netns {}", network.name, named.0));
    canhub(&format!("attach {} --netns {} --ifname can3 --id by.pid", network.name, process.0.id()));
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
    let names = [&named.0, &format!("pid-{}", process.0.id()), &alone.name, &container.name];
    for name in names {
        assert!(status.contains(&name[..name.len().min(12)]), "{name} is not in {status}");
    }
    let fault = canhub(&format!("fault {} {} cut --for 1h", network.name, named.0));
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
    netns.inside("ip link add can0 type vcan");
    ended.0.kill().and_then(|()| ended.0.wait()).expect("it ends");
    for (line, words) in [
        (format!("attach {made}x --netns {}", netns.0), &["there is no bus", "did you mean"][..]),
        (format!("attach {made} --netns /etc/passwd"), &["no network namespace at /etc/passwd"]),
        (format!("attach {made} --netns /proc/self/ns/mnt"), &["cannot enter", "as a network namespace"]),
        (format!("attach {made} --netns /proc/1/ns/net"), &["the host's own network namespace"]),
        (format!("attach {made} --netns {}", ended.0.id()), &["there is no process"]),
        (format!("attach {made} --netns {}", netns.0), &["already has an interface can0", "--ifname"]),
        (format!("attach {made} --netns no-such"), &["neither a name of `ip netns` nor a running"]),
        (format!("attach {made} --netns {} -o rat=1", netns.0), &["did you mean rate"]),
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

/// Faults of an attachment: a shell line, with the host end, the other host end and the hub for `$end`, `$other` and
/// `$hub`, and whether it is run in the namespace.
const FAULTS: [(&str, bool); 17] = [
    ("ip link del $end", false),
    ("ip link set $end down", false),
    ("ip link set $end name somethingelse", false),
    ("ip link set $end down; ip link set $end mtu 16; ip link set $end up", false),
    ("ip link set $end alias ''", false),
    ("ip netns add e2e-away; ip link set $end netns e2e-away; ip netns del e2e-away", false),
    ("ip link del can0", true),
    ("ip link set can0 down", true),
    ("ip link set can0 down; ip link set can0 name mine; ip link set mine up", true),
    ("ip link set can0 down; ip link set can0 mtu 16; ip link set can0 up", true),
    ("ip link set can0 alias ''", true),
    ("cangw -D -s $end -d $other -i -l 1", false),
    ("cangw -A -s $end -d $other -e", false),
    ("cangw -F", false),
    ("ip link del $hub", false),
    ("ip link set $hub down", false),
    ("ip link set $hub name elsewhere", false),
];

#[test]
fn every_fault_of_an_attachment_is_healed() {
    if !is_service("attach::every_fault_of_an_attachment_is_healed") {
        return;
    }
    // Rules have no events, so the audit interval must be short.
    let _configured = Configured::with(&["CANHUB_AUDIT_INTERVAL=1"]);
    let scene = Scene::new();
    let (made, hub) = bus(&scene, "");
    let spaces = [Netns::new(), Netns::new()];
    for space in &spaces {
        canhub(&format!("attach {made} --netns {} --id {}", space.0, space.0));
    }
    let members = || [spaces[0].member("can0", 1), spaces[1].member("can0", 2), Member::host(&hub, 9)];
    let works = || all_hear_all(&members().each_ref(), &[Kind::Classic, Kind::Fd], 5);
    works().unwrap_or_else(|err| panic!("{err}"));
    let ends: Vec<String> =
        sh("ls /sys/class/net").lines().filter(|name| name.starts_with("chx")).map(str::to_owned).collect();
    let [end, other] = &ends[..] else { panic!("two host ends: {ends:?}") };
    let state = || {
        (
            scene.traces(),
            spaces
                .each_ref()
                .map(|space| {
                    run("ip", &["-netns", &space.0, "-details", "-json", "link", "show", "type", "vxcan"])
                })
                .map(|json| {
                    serde_json::from_str::<Value>(&json)
                        .map(|links| {
                            let of = |link: &Value| {
                                format!(
                                    "{} {} {} {}",
                                    link["ifname"], link["mtu"], link["flags"], link["ifalias"]
                                )
                            };
                            links.as_array().map(|all| all.iter().map(of).collect::<Vec<_>>())
                        })
                        .unwrap_or_default()
                }),
        )
    };
    let before = state();
    let mut faults = FAULTS.to_vec();
    match gateway_is_a_module() {
        true => faults.push(("rmmod can_gw; modprobe can-gw", false)),
        false => say("this kernel has can-gw built in, so it was not unloaded"),
    }
    for (line, is_inside) in faults {
        let line = format!("end={end}; other={other}; hub={hub}; {line}");
        let enter = if is_inside { format!("ip netns exec {} ", spaces[0].0) } else { String::new() };
        // The end that is named may be that of either namespace, and canhub may be faster than two steps of a fault.
        let _ = attempt("sh", &["-c", &format!("{enter}sh -c \"$0\""), &line]);
        let started = Instant::now();
        eventually(&format!("healed: {line}"), || {
            works()?;
            let now = state();
            if now == before { Ok(()) } else { Err(format!("now there is {now:#?} and was {before:#?}")) }
        });
        say(&format!("healed after {} ms: {line}", started.elapsed().as_millis()));
        let listed: Value = serde_json::from_str(&canhub("attach ls --json")).expect("it is JSON");
        for one in listed["attachments"].as_array().expect("they are a list") {
            assert_eq!(one["problems"], Value::Array(Vec::new()), "{line}: {one}");
        }
    }
    assert!(!rules().is_empty());
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
    canhub(&format!("attach {made} --netns {} --id reused", first.0));
    canhub(&format!("attach {made} --netns {}", process.0.id()));
    let path = first.path();
    run("ip", &["netns", "del", &first.0]);
    run("ip", &["netns", "add", &first.0]);
    assert_eq!(first.can_links(), "", "the other namespace at {path} is not attached");
    // The same ID, at once.
    canhub(&format!("attach {made} --netns {} --id reused", first.0));
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
    canhub(&format!("attach {made} --netns {}", last.0));
    assert_refused(try_canhub(&format!("bus rm {made}")), &["is in use by", &last.0]);
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
    canhub(&format!("attach {made} --netns {} --id one", one.0));
    canhub(&format!("attach {made} --netns {} --id two", two.0.id()));
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

/// In a row; a longer form runs in `make soak`.
const ROUNDS: u64 = 100;
/// At once.
const AT_ONCE: usize = 20;

#[test]
fn many_in_a_row_and_many_at_once_leave_nothing() {
    if !is_service("attach::many_in_a_row_and_many_at_once_leave_nothing") {
        return;
    }
    let scene = Scene::new();
    let (made, hub) = bus(&scene, "");
    let space = Netns::new();
    let rounds = number_from("CANHUB_ATTACHMENTS").unwrap_or(ROUNDS);
    let nothing = scene.traces();
    let files = || fs::read_dir(format!("/proc/{}/fd", canhub::pid())).expect("canhub runs").count();
    canhub(&format!("attach {made} --netns {} --id round", space.0));
    canhub("detach round");
    let (open, started) = (files(), Instant::now());
    // One process for all: starting canhub takes longer than what it asks for.
    let ask = |method: &str, body: Value| {
        format!(
            "url = http://localhost/v1/attachments\nunix-socket = {}\nfail\nsilent\nshow-error\noutput = /dev/null\nrequest = {method}\ndata = {:?}\nnext\n",
            canhub::admin_socket(),
            body.to_string()
        )
    };
    let attach = ask("POST", json!({ "bus": made, "netns": space.path(), "id": "round" }));
    let detach = ask("DELETE", json!({ "id": "round" }));
    let script = std::env::temp_dir().join(unique("rounds"));
    let all = (attach + &detach).repeat(rounds as usize);
    fs::write(&script, all.trim_end_matches("next\n")).expect("/tmp can be written");
    run("curl", &["--fail-early", "--config", &script.display().to_string()]);
    fs::remove_file(&script).expect("it exists");
    say(&format!("{rounds} attachments in a row in {} ms", started.elapsed().as_millis()));
    assert_eq!(scene.traces(), nothing);
    let spaces: Vec<Netns> = (0..AT_ONCE).map(|_| Netns::new()).collect();
    thread::scope(|scope| {
        for space in &spaces {
            let made = &made;
            scope.spawn(move || canhub(&format!("attach {made} --netns {}", space.0)));
        }
    });
    let ends: Vec<Member> = (1..).zip(&spaces).map(|(number, space)| space.member("can0", number)).collect();
    assert_all_hear_all(
        &[&ends[0], &ends[AT_ONCE / 2], &ends[AT_ONCE - 1], &Member::host(&hub, 99)],
        &[Kind::Classic, Kind::Fd],
        10,
    );
    thread::scope(|scope| {
        for space in &spaces {
            let made = &made;
            scope.spawn(move || canhub(&format!("detach {made} --netns {}", space.0)));
        }
    });
    drop(spaces);
    eventually("nothing is left", || {
        let (now, open_now) = (scene.traces(), files());
        // Sockets and threads that wait for work come and go.
        if now == nothing && open_now < open + 10 {
            Ok(())
        } else {
            Err(format!("{now:#?}, {open_now} files, not {open}"))
        }
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
        canhub(&format!("attach {made} --netns {}", space.0));
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
        canhub(&format!("detach {made} --netns {}", space.0));
    }
    canhub(&format!("bus rm {made}"));
}
