//! What canhub shows, on a real kernel with real frames, and who has access.

use serde_json::Value;

use crate::support::{
    canhub::{self, admin_socket, says},
    docker::{Container, Network},
    host::{Journal, ip_link, link},
    report::{Kind, Sent},
    scene::Scene,
    shell::{attempt, eventually, run, sh},
};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|err| panic!("{err}: {text}"))
}

/// The bus in `canhub status --json`.
fn status(bus: &Network) -> Value {
    let status = json(&says("status --json"));
    let buses = status["buses"].as_array().expect("buses are a list").iter();
    let found = buses.into_iter().find(|found| found["network"] == *bus.id).cloned();
    found.unwrap_or_else(|| panic!("{} is not in {status}", bus.name))
}

/// Frame count of a container: a field of `frames_in` or `frames_out`.
fn frames(bus: &Network, interface: &str, direction: &str) -> u64 {
    let status = status(bus);
    let members = status["members"].as_array().expect("members are a list").iter();
    let member = members.into_iter().find(|member| member["interface"] == interface);
    let count = member.and_then(|member| member[direction]["handled"].as_u64());
    count.unwrap_or_else(|| panic!("no {direction} of {interface} in {status}"))
}

/// The sum of the samples whose line starts like this.
fn metric(begin: &str) -> f64 {
    let text = canhub::ask("/metrics");
    assert!(text.trim_end().ends_with("# EOF"), "{text}");
    let samples = text.lines().filter(|line| line.starts_with(begin));
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[test]
fn a_deleted_hub_is_one_line_one_event_and_one_count() {
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-seen"]);
    let _ecu = scene.container(&bus).member("can0", 1);
    let heals = r#"canhub_heals_total{reason="the hub was missing"}"#;
    let (counted, journal) = (metric(heals), Journal::mark());

    ip_link(&["del", "vcan-seen"]);
    eventually("the hub is back and the bus is healthy", || match (link("vcan-seen"), status(&bus)) {
        (Some(_), bus) if bus["steps"].as_array().is_some_and(Vec::is_empty) => Ok(()),
        (hub, bus) => Err(format!("{hub:?} {bus}")),
    });
    // Events, counters and log lines appear a moment after the repair.
    let journal = journal.until("of the hub", |told| told.contains("the hub was missing"));
    let told = says("events --json");
    let mut events: Vec<Value> = told.lines().map(json).collect();
    events.retain(|event| event["interface"] == "vcan-seen" && event["event"] == "healed");
    assert_eq!(events.len(), 1, "{told}");
    assert_eq!(
        (&events[0]["reason"], &events[0]["network"]),
        (&"the hub was missing".into(), &bus.id.clone().into())
    );
    eventually("the heal is counted", || match metric(heals) - counted {
        1.0 => Ok(()),
        rose => Err(format!("{heals} rose by {rose}")),
    });
    let lines =
        journal.lines().filter(|line| line.contains("the hub was missing") && line.contains("vcan-seen"));
    assert_eq!(lines.count(), 1, "{journal}");
    // The output for people says the same.
    let shown = says("events");
    let line = shown.lines().rfind(|line| line.contains("healed") && line.contains("vcan-seen"));
    assert!(line.is_some_and(|line| line.contains("reason=\"the hub was missing\"")), "{shown}");
}

#[test]
fn the_status_names_the_containers_and_counts_their_frames() {
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-count"]);
    let ecus: [Container; 2] = [
        scene.container_with(&["--network", &format!("name={},driver-opt=ifname=can0", bus.name)]),
        scene.container_with(&["--network", &format!("name={},driver-opt=ifname=can2", bus.name)]),
    ];
    let (one, two) = (ecus[0].member("can0", 1), ecus[1].member("can2", 2));
    let counts = || {
        let of = |interface, direction| frames(&bus, interface, direction);
        [of("can0", "frames_out"), of("can2", "frames_in"), of("can0", "frames_in"), of("can2", "frames_out")]
    };
    let before = counts();
    let listener = two.listen();
    let Sent { sent, .. } = one.send(&[Kind::Classic, Kind::Fd], 200);
    listener.heard();
    let sent = u64::from(sent);
    // The kernel counts a frame when it has forwarded it.
    eventually(&format!("one sends {sent}, the other hears them, and both are counted"), || {
        let rose = counts().iter().zip(before).map(|(now, before)| now - before).collect::<Vec<_>>();
        if rose == [sent, sent, 0, 0] { Ok(()) } else { Err(format!("{rose:?}")) }
    });
    let handled = metric(&format!("canhub_frames_handled_total{{network=\"{}\"", &bus.id[..12]));
    assert!(handled >= 2.0 * sent as f64, "{handled}");

    let sender = one.start_sending(&["--gap", "5"]);
    let shown = eventually("the status shows a rate", || {
        let shown = says("status");
        let rate = |line: &str| line.split_whitespace().rev().nth(2).and_then(|rate| rate.parse().ok());
        let rate = shown.lines().filter(|line| line.contains(" can0 ")).filter_map(rate).max();
        if rate > Some(10_u32) { Ok(shown) } else { Err(shown) }
    });
    let _: Sent = sender.end();
    for line in shown.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
    assert!(shown.contains("vcan-count"), "{shown}");
    if !canhub::is_plugin() {
        // Docker's API provides names in the background.
        eventually("the status names bus and containers", || {
            let shown = says("status");
            let named =
                [&bus.name, &ecus[0].name, &ecus[1].name].iter().all(|name| shown.contains(name.as_str()));
            if named { Ok(()) } else { Err(shown) }
        });
    }
}

#[test]
fn only_root_has_access() {
    let socket = admin_socket();
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    // The program may be in a folder that other users cannot reach.
    run("install", &["-m", "755", &canhub::program(), "/tmp/e2e-canhub"]);
    let asked = attempt("setpriv", &[&nobody[..], &["/tmp/e2e-canhub", "status"]].concat());
    run("rm", &["/tmp/e2e-canhub"]);
    let refused = asked.expect_err("nobody was answered");
    assert!(refused.contains("permission denied"), "{refused}");

    if canhub::is_plugin() {
        // Its socket is in a folder that only root can enter.
        return;
    }
    // Even if someone opens the folder, the peer is checked.
    let folder = std::path::Path::new(&socket).parent().expect("it is in a folder").display().to_string();
    sh(&format!("chmod 755 {folder} && chmod 666 {socket}"));
    let url =
        ["curl", "--silent", "--max-time", "20", "--unix-socket", &socket, "http://localhost/v1/status"];
    let asked = attempt("setpriv", &[&nobody[..], &url].concat());
    sh(&format!("chmod 600 {socket} && chmod 700 {folder}"));
    let answer = asked.unwrap_or_else(|err| panic!("{err}"));
    assert!(answer.contains("only root and the user that runs canhub"), "{answer}");
    assert!(!answer.contains("buses"), "{answer}");
}

#[test]
fn canhub_does_not_listen_on_tcp() {
    let listening = run("ss", &["--no-header", "--listening", "--tcp", "--numeric", "--processes"]);
    assert!(!listening.contains("canhub"), "{listening}");
}
