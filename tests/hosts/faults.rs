//! What else goes wrong while frames flow: killed, restarted, rebooted, without power, with another time, without the hub.

use std::{thread::sleep, time::Duration};

use crate::support::{
    bus::{Bus, until_joined},
    fleet::two,
    flow::Flow,
    guest::Guest,
    shell::say,
};

/// Whether each missing frame is counted.
#[derive(PartialEq, Eq)]
enum Missing {
    Counted,
    /// The one who counts was killed, or frames went nowhere.
    Unknown,
}

/// Both hosts of a bus, with frames flowing while `fault` happens to the second one. Afterwards the bus is whole, and nothing
/// came twice or out of order.
#[track_caller]
fn survives(what: &str, missing: Missing, fault: impl Fn(&Guest, &Bus)) {
    let (a, b) = two();
    let buses = [&a, &b].map(|host| Bus::new(host, "fault", &["span=fault"]));
    until_joined(&buses[0].hub(8), &buses[1].hub(9));
    let flow = Flow::start(&buses, 200);
    sleep(Duration::from_millis(500));
    fault(&b, &buses[1]);
    flow.until_heard();
    let end = flow.end();
    for (from, heard) in end.far() {
        assert!(
            heard.streams.iter().all(|s| (s.doubled, s.disordered, s.damaged) == (0, 0, 0)),
            "{from}: {heard:?}"
        );
        if missing == Missing::Counted {
            end.assert_accounted(from);
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
    survives("canhub-span killed", Missing::Unknown, |host, _| {
        host.sh("systemctl kill --signal=KILL canhub-span");
    });
}

#[test]
fn canhub_restarted() {
    survives("canhub restarted", Missing::Counted, |host, _| {
        host.sh("systemctl restart canhub");
    });
}

#[test]
fn dockerd_restarted() {
    survives("dockerd restarted", Missing::Counted, |host, _| {
        host.sh("systemctl restart docker");
    });
}

#[test]
fn clock_set_an_hour_forth_and_back() {
    survives("the clock set", Missing::Counted, |host, _| {
        for step in ["+1 hour", "-2 hours", "+1 hour"] {
            host.sh(&format!("date -s \"$(date -d '{step}')\""));
            sleep(Duration::from_secs(2));
        }
    });
}

#[test]
fn hub_deleted() {
    survives("the hub deleted", Missing::Unknown, |host, bus| {
        host.run(&["ip", "link", "del", &bus.hub]);
    });
}

#[test]
fn cable_pulled_while_canhub_span_is_killed() {
    survives("the cable pulled, canhub-span killed meanwhile", Missing::Unknown, |host, _| {
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
