//! Frames that the kernel loses: whatever tells of them names as many as are missing at the receivers, and why.

use std::{thread::sleep, time::Duration};

use serde_json::Value;

use crate::support::{
    canhub::{ask, says},
    docker::{Container, Network},
    host::{configure_adapter, ip_link},
    member::Member,
    report::{Heard, Kind, Sent},
    scene::Scene,
    shell::{eventually, run, within},
    slcan::Wire,
};

/// What is certain to overflow by [`BURST`] frames, and no more: an idle machine needs little.
const BACKLOG: u32 = 50;
/// As many as a socket's send buffer holds.
const BURST: u32 = 150;

/// How many frames of this sender a listener heard.
fn heard_of(heard: &Heard, sender: u8) -> u64 {
    heard.streams.iter().filter(|stream| stream.from == sender).map(|stream| u64::from(stream.frames)).sum()
}

/// What a member of the bus has lost; without an interface, what the host has.
fn lost(bus: &Value, interface: Option<&str>, direction: &str, cause: &str) -> u64 {
    let end = match interface {
        None => bus,
        Some(interface) => {
            let members = bus["members"].as_array().expect("it has members");
            members.iter().find(|member| member["interface"] == interface).expect("it is a member")
        }
    };
    end[direction][cause].as_u64().expect("it is a number")
}

fn doctors_sentence(about: &str) -> String {
    let report: Value = serde_json::from_str(&says("doctor --json")).expect("it is JSON");
    let findings = report["findings"].as_array().expect("there are findings");
    let lost = |finding: &&Value| {
        finding["check"] == "dropped-frames"
            && finding["sentence"].as_str().is_some_and(|told| told.contains(about))
    };
    let finding = findings.iter().find(lost).unwrap_or_else(|| panic!("{about} is not in {findings:#?}"));
    assert_eq!(finding["level"], "warning");
    finding["sentence"].as_str().unwrap_or_default().to_owned()
}

fn health_of(bus: &Network) -> Result<Value, String> {
    let health: Value = serde_json::from_str(&ask("/v1/health")).map_err(|err| err.to_string())?;
    let components = health["components"].as_array().cloned().unwrap_or_default();
    let name = format!("bus:{}", bus.name);
    components
        .into_iter()
        .find(|component| component["component"] == name.as_str())
        .ok_or_else(|| format!("no component {name}: {health:#}"))
}

#[test]
fn a_burst_that_overflows_the_backlog_is_counted_as_it_is_missing() {
    let scene = Scene::new();
    let bus = scene.network(&[]);
    let before = run("sysctl", &["-n", "net.core.netdev_max_backlog"]);
    scene.undo(move || {
        run("sysctl", &["-qw", &format!("net.core.netdev_max_backlog={before}")]);
    });
    let ecus: Vec<Container> = (1..=3)
        .map(|number| {
            let network = format!("name={},driver-opt=ifname=can{number}", bus.name);
            scene.container_with(&["--network", &network])
        })
        .collect();
    let members: Vec<Member> = (1..=3)
        .map(|number: u8| ecus[usize::from(number) - 1].member(&format!("can{number}"), number))
        .collect();
    let host = bus.host(9);
    let listeners = [&members[1], &members[2], &host].map(Member::listen);

    // The frames wait in a qdisc that lets all of them go in one softirq.
    ecus[0].qdisc("add dev can1 root plug limit 1000000");
    let Sent { sent, .. } = members[0].send(&[Kind::Classic], BURST);
    run("sysctl", &["-qw", &format!("net.core.netdev_max_backlog={BACKLOG}")]);
    ecus[0].qdisc("change dev can1 root plug release_indefinite");
    let heard = listeners.map(|listener| heard_of(&listener.heard(), 1));
    ecus[0].qdisc("del dev can1 root");

    let told = bus.status();
    let sender = lost(&told, Some("can1"), "lost_out", "backlog");
    let receivers =
        [Some("can2"), Some("can3"), None].map(|interface| lost(&told, interface, "lost_in", "backlog"));
    assert!(sender > 0 && receivers[0] > 0, "nothing was lost: {told:#}");
    for (heard, receiver) in heard.iter().zip(receivers) {
        let missing = u64::from(sent) - heard;
        assert_eq!(missing, sender + receiver, "{receivers:?} and {sender} from the sender: {told:#}");
    }

    let metrics = ask("/metrics");
    for (interface, direction, number) in
        [("can1", "out", sender), ("can2", "in", receivers[0]), ("can3", "in", receivers[1])]
    {
        let is_it = |line: &&str| {
            line.starts_with(&format!("canhub_frames_lost_total{{network=\"{}\"", &bus.id[..12]))
                && [interface, direction, "backlog"].iter().all(|word| line.contains(&format!("\"{word}\"")))
        };
        let line = metrics.lines().find(is_it).unwrap_or_else(|| panic!("{interface}: {metrics}"));
        assert!(line.ends_with(&format!(" {number}")), "{number} is not in {line}");
    }
    let shown = says("status");
    let [from, to] = [format!("{sender} from "), format!("{} to ", receivers[0])];
    assert!(
        shown.contains(&format!("{sender} frames from")) && shown.contains("backlog was full"),
        "{shown}"
    );
    let sentence = doctors_sentence(&from);
    assert!(sentence.contains(&to) && sentence.contains("the kernel's backlog was full"), "{sentence}");
    let report = says("doctor --json");
    assert!(report.contains("\"sysctl -w net.core.netdev_max_backlog=20000\""), "{report}");
    eventually("health names the number and the cause", || {
        let component = health_of(&bus)?;
        let reason = component["reason"].as_str().unwrap_or_default();
        let degraded = component["status"] == "degraded"
            && reason.contains(&from)
            && reason.contains("backlog was full");
        if degraded { Ok(()) } else { Err(format!("{component:#}")) }
    });
    let events = ask("/v1/events?follow=false&last=256");
    assert!(events.contains("frames-lost"), "{events}");
    // Two minutes without a loss; `make soak` waits for them.
    if std::env::var_os("CANHUB_WAIT_UNTIL_HEALTHY").is_some() {
        let healthy = within(Duration::from_secs(180), || {
            let component = health_of(&bus)?;
            if component["status"] == "healthy" { Ok(()) } else { Err(format!("{component:#}")) }
        });
        healthy.unwrap();
        assert!(doctors_sentence(&from).contains("has lost"), "doctor is green after a loss");
    }
}

#[test]
fn frames_for_a_wire_that_goes_down_in_mid_burst_are_counted_as_they_are_missing() {
    let wire = Wire::default();
    let [left, right] = ["slcan-left", "slcan-right"].map(|name| wire.plug(name));
    for adapter in [&left, &right] {
        configure_adapter(&adapter.interface, 500_000);
    }
    let scene = Scene::new();
    // Without settings canhub leaves it down.
    let bus = scene.network(&["adapter=slcan-left", "frames=classic"]);
    let one = scene.container(&bus).member("can0", 1);
    let beyond = Member::host("slcan-right", 9);

    let listener = beyond.listen();
    let sender = one.start_sending(&["--count", "200", "--gap", "5"]);
    sleep(Duration::from_millis(500));
    ip_link(&["set", "slcan-left", "down"]);
    let Sent { sent, .. } = sender.end();
    let heard = heard_of(&listener.heard(), 1);

    let missing = u64::from(sent) - heard;
    assert!(heard > 0 && missing > 0, "{heard} of {sent}");
    let told = bus.status();
    let counted = lost(&told, None, "lost_in", "rule");
    // The kernel discards what waits in the adapter's queue, and the frame on the serial line, without counting them. On a
    // busy machine these are a few.
    assert!((missing.saturating_sub(20)..=missing).contains(&counted), "{missing} are missing: {told:#}");
    let sentence = doctors_sentence(&format!("{counted} to the host"));
    assert!(sentence.contains("the destination was down or its queue was full"), "{sentence}");
    ip_link(&["set", "slcan-left", "up"]);
    drop(scene);
    drop((left, right));
}

#[test]
fn frames_for_an_adapter_that_is_unplugged_in_mid_burst_are_counted() {
    let wire = Wire::default();
    let right = wire.plug("slcan-right");
    configure_adapter(&right.interface, 500_000);
    let scene = Scene::new();
    let left = wire.plug("slcan-left");
    let bus = scene.network(&["adapter=slcan-left", "frames=classic", "bitrate=500000"]);
    let one = scene.container(&bus).member("can0", 1);
    let beyond = Member::host("slcan-right", 9);
    eventually("the adapter is up", || {
        let heard = beyond.try_listen(&[])?;
        one.send(&[Kind::Classic], 1);
        if heard_of(&heard.heard(), 1) == 1 { Ok(()) } else { Err("it carries nothing".into()) }
    });
    let before = lost(&bus.status(), None, "lost_in", "away");

    let listener = beyond.listen();
    let sender = one.start_sending(&["--count", "200", "--gap", "5"]);
    sleep(Duration::from_millis(500));
    left.unplug();
    let Sent { sent, .. } = sender.end();
    let heard = heard_of(&listener.heard(), 1);

    let missing = u64::from(sent) - heard;
    assert!(heard > 0 && missing > 0, "{heard} of {sent}");
    let told = bus.status();
    let away = lost(&told, None, "lost_in", "away");
    // Its driver had taken those that were queued or on the serial line at that moment: one, or on a busy machine what
    // the sender sends in 50 ms.
    assert!(
        (missing.saturating_sub(10)..=missing).contains(&(away - before)),
        "{missing} are missing: {told:#}"
    );
    let sentence = doctors_sentence("the adapter was not there");
    assert!(sentence.contains(&format!("{away} to the host")), "{sentence}");
    eventually("health names the number", || {
        let health = ask("/v1/health");
        let told = format!("{away} frames for its wire were lost");
        if health.contains(&told) { Ok(()) } else { Err(health) }
    });
    drop(scene);
    drop(right);
}
