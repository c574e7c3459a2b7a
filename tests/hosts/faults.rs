//! What else goes wrong while frames flow: killed, restarted, rebooted, without power, with another time, without the hub.

use std::{thread::sleep, time::Duration};

use crate::support::{
    bus::{Bus, until_joined},
    fleet::two,
    flow::Flow,
    guest::Guest,
    shell::say,
};

/// Frames a second each way.
const RATE: u32 = 400;

/// Which frames are accounted for.
#[derive(PartialEq, Eq)]
pub enum Accounted {
    All,
    /// Those that entered the span port: without its hub, a host's frames go nowhere.
    BetweenPorts,
}

/// Both hosts of a bus, with frames flowing while `fault` happens to the second one. Afterwards the bus is whole, nothing came
/// twice or out of order, and what was sent is what was heard and what was counted.
#[track_caller]
pub fn survives(what: &str, accounted: Accounted, fault: impl Fn(&Guest, &Bus)) {
    let (a, b) = two();
    let buses = [&a, &b].map(|host| Bus::new(host, "fault", &["span=fault"]));
    until_joined(&buses[0].hub(8), &buses[1].hub(9));
    let flow = Flow::start(&buses, RATE);
    sleep(Duration::from_millis(500));
    fault(&b, &buses[1]);
    flow.until_heard();
    let end = flow.end();
    for (from, _) in end.far() {
        match accounted {
            Accounted::All => end.assert_accounted(from),
            Accounted::BetweenPorts => end.assert_accounted_between_ports(from),
        }
        say(&format!("{what}, {from}: {}", end.summary(from)));
    }
    let (_, own) = end.local().next().expect("there are two");
    assert!(
        own.streams.iter().all(|stream| stream.missing == 0),
        "{what}: the bus of the other host: {own:?}"
    );
}

#[test]
fn canhub_span_killed() {
    survives("canhub-span killed", Accounted::All, |host, _| {
        for _ in 0..3 {
            host.sh("systemctl kill --signal=KILL canhub-span");
            sleep(Duration::from_secs(2));
        }
    });
}

#[test]
fn canhub_span_stopped_for_a_while() {
    survives("canhub-span stopped", Accounted::All, |host, _| {
        host.sh("systemctl stop canhub-span; sleep 3; systemctl start canhub-span");
    });
}

#[test]
fn canhub_killed() {
    survives("canhub killed", Accounted::All, |host, _| {
        host.sh("systemctl kill --signal=KILL canhub");
    });
}

#[test]
fn canhub_and_canhub_span_killed() {
    survives("both killed", Accounted::All, |host, _| {
        host.sh("systemctl kill --signal=KILL canhub canhub-span");
    });
}

#[test]
fn dockerd_restarted() {
    survives("dockerd restarted", Accounted::All, |host, _| {
        host.sh("systemctl restart docker");
    });
}

#[test]
fn clock_set_an_hour_forth_and_back() {
    survives("the clock set", Accounted::All, |host, _| {
        for step in ["+1 hour", "-2 hours", "+1 hour"] {
            host.sh(&format!("date -s \"$(date -d '{step}')\""));
            sleep(Duration::from_secs(2));
        }
    });
}

#[test]
fn hub_deleted() {
    survives("the hub deleted", Accounted::BetweenPorts, |host, bus| {
        host.run(&["ip", "link", "del", &bus.hub]);
    });
}

#[test]
fn cable_pulled_while_canhub_span_is_killed() {
    survives("the cable pulled, canhub-span killed meanwhile", Accounted::All, |host, _| {
        host.sh(
            "ip link set vec0 down; systemctl kill --signal=KILL canhub-span; sleep 1; ip link set vec0 up",
        );
    });
}

/// A reboot ends everything on the host, the probes too; the bus comes back by itself, with its containers.
#[track_caller]
fn comes_back_after(what: &str, how: &[&str]) {
    let (a, b) = two();
    let buses = [&a, &b].map(|host| Bus::new(host, "boot", &["span=boot"]));
    let _ecu = buses[1].container(3);
    until_joined(&buses[0].hub(8), &buses[1].hub(9));
    // A power cut takes what Docker wrote in the last seconds, and so the container that it has just started.
    b.run(&["sync"]);
    b.reboot(how);
    until_joined(&buses[0].hub(8), &buses[1].hub(9));
    // The container with its restart policy is on the bus again.
    let pid =
        b.until("its container runs", "docker inspect --format '{{.State.Pid}}' boot-3", |pid| pid != "0");
    let heard = buses[0].hub(8).start(&["candump", "-n", "1", "-T", "20000", "vcan-boot,5A5:7FF"]);
    b.until(
        "the container sends",
        &format!("nsenter --net --target {pid} cansend can0 5A5#03 && sleep 0.5 && nsenter --net --target {pid} cansend can0 5A5#03"),
        |_| true,
    );
    let heard = heard.finish().unwrap_or_else(|err| panic!("{what}: {err}"));
    assert!(heard.contains("5A5"), "{what}: {heard}");
}

#[test]
fn host_rebooted() {
    comes_back_after("reboot", &[]);
}

#[test]
fn host_without_power() {
    comes_back_after("power cut", &["--hard"]);
}
