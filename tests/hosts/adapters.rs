//! Adapters on a spanned bus: one is the rule, two are refused, and with `span-bridge=on` a loop is stopped.
//!
//! The adapters of both hosts are on one wire, the case that loops: what one sends, the other hears, and so does the span.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use crate::support::{
    bus::Bus,
    fleet::{span, two},
    guest::{Guest, Running},
    shell::{eventually, say},
};

/// On the Ethernet wire, for what passes on the CAN wire.
const PORT: u16 = 7448;
const BITRATE: &str = "bitrate=500000";

/// An adapter on each host, `canhw`, on one wire. They are unplugged on drop.
#[track_caller]
fn one_wire(a: &Guest, b: &Guest) -> [Running; 2] {
    let at = format!("{}:{PORT}", a.address());
    a.sh("modprobe slcan");
    b.sh("modprobe slcan");
    let mut listens = a.start_until_stopped(&["/host/probe", "serial", "canhw", "--listen", &at]);
    let mut connects = b.start_until_stopped(&["/host/probe", "serial", "canhw", "--connect", &at]);
    listens.wait_for("ready");
    connects.wait_for("ready");
    [listens, connects]
}

/// How many frames a host's bus carries in a second.
#[track_caller]
fn frames_in_a_second(bus: &Bus, interface: &str) -> usize {
    let dump = bus.host.try_sh(&format!("timeout 1 candump {interface} | wc -l"));
    dump.and_then(|count| count.trim().parse().map_err(|err| format!("{err}: {count}")))
        .unwrap_or_else(|err| panic!("{err}"))
}

#[test]
fn two_adapters_on_one_span_are_refused() {
    let (a, b) = two();
    let wire = one_wire(&a, &b);
    let buses = [&a, &b]
        .map(|host| Bus::new(host, "twoad", &["adapter=canhw", BITRATE, "frames=classic", "span=twoad"]));
    for bus in &buses {
        let why = eventually(&format!("{} refuses the other", bus.host.name), || {
            let span = span(&bus.host, "twoad")?;
            let why = span["refused"][0]["reason"].as_str().unwrap_or_default();
            if why.contains("span-bridge=on") { Ok(why.to_owned()) } else { Err(span.to_string()) }
        });
        say(&format!("{}: {why}", bus.host.name));
    }
    // What passes does so on their own wire, once.
    let dump = buses[1].host.start(&["sh", "-c", "timeout 3 candump canhw"]);
    sleep(Duration::from_millis(500));
    a.run(&["cansend", "canhw", "123#01"]);
    let heard = dump.finish().unwrap_or_else(|err| err);
    assert_eq!(heard.matches("123").count(), 1, "{heard}");
    drop(buses);
    drop(wire);
}

#[test]
fn a_loop_of_two_bridged_adapters_is_noticed_and_stopped() {
    let (a, b) = two();
    let wire = one_wire(&a, &b);
    let options = ["adapter=canhw", BITRATE, "frames=classic", "span=loop", "span-bridge=on"];
    let buses = [&a, &b].map(|host| Bus::new(host, "loop", &options));
    let ecu = buses[0].container(1);
    eventually("both hosts are on the span", || {
        let span = span(&a, "loop")?;
        if span["hosts"][0]["online"] == true { Ok(()) } else { Err(span.to_string()) }
    });
    let began = Instant::now();
    ecu.run(&["cansend", "can0", "321#DEADBEEF"]);
    let told = eventually("one of them notices the loop", || {
        let spans = [span(&a, "loop")?, span(&b, "loop")?];
        let stopped = spans.iter().find(|span| span["stopped"] == true);
        stopped.cloned().ok_or_else(|| format!("{spans:?}"))
    });
    say(&format!("told after {} ms: {}", began.elapsed().as_millis(), told["problem"]));
    assert!(told["problem"].as_str().is_some_and(|why| why.contains("a second time")), "{told}");
    // Stopped: the frame does not circulate any more.
    sleep(Duration::from_secs(1));
    assert_eq!(frames_in_a_second(&buses[0], "canhw"), 0);
    drop(buses);
    drop(wire);
}
