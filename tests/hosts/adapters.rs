//! Adapters on a spanned bus: one is the rule, two are refused, and with `span-bridge=on` a loop is stopped.
//!
//! The adapters of both hosts are on one wire, the case that loops: what one sends, the other hears, and so does the span.

use std::{thread::sleep, time::Duration};

use crate::support::{
    bus::{Bus, Member, until_joined},
    clocks::Clocks,
    fleet::{span, two},
    guest::{Guest, Running},
    report::{Heard, Sent},
    shell::{eventually, say},
};

/// On the Ethernet wire, for what passes on the CAN wire.
const PORT: u16 = 7448;
const BITRATE: &str = "bitrate=500000";

/// An adapter on each host, `canhw`, on one wire. They are unplugged on drop.
#[track_caller]
fn one_wire(a: &Guest, b: &Guest) -> [Running; 2] {
    wire((a, "canhw"), (b, "canhw"))
}

/// Two adapters of these names on one wire. They are unplugged on drop.
#[track_caller]
fn wire((a, one): (&Guest, &str), (b, other): (&Guest, &str)) -> [Running; 2] {
    let at = format!("{}:{PORT}", a.address());
    a.sh("modprobe slcan");
    b.sh("modprobe slcan");
    let mut listens = a.start_until_stopped(&["/host/probe", "serial", one, "--listen", &at]);
    let mut connects = b.start_until_stopped(&["/host/probe", "serial", other, "--connect", &at]);
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

/// When a unit logged these words the last time, in microseconds since 1970 by the clock of the host.
fn logged(host: &Guest, unit: &str, words: &str) -> Option<i64> {
    let find =
        format!("journalctl -q -o short-unix -u {unit} -g '{words}' | tail -n 1 | cut -d' ' -f1 | tr -d .");
    host.try_sh(&find).ok()?.trim().parse().ok()
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
    let sent = ecu.run(&["sh", "-c", "date +%s%6N; cansend can0 321#DEADBEEF"]);
    let told = eventually("one of them notices the loop", || {
        let spans = [span(&a, "loop")?, span(&b, "loop")?];
        let stopped = spans.iter().zip(&buses).find(|(span, _)| span["stopped"] == true);
        stopped.map(|(span, bus)| (span.clone(), bus)).ok_or_else(|| format!("{spans:?}"))
    });
    let (told, stopped) = told;
    assert!(told["problem"].as_str().is_some_and(|why| why.contains("a second time")), "{told}");
    let sent: i64 = sent.trim().parse().expect("date prints a number");
    let ahead = Clocks::of(&a, &b).ahead;
    for (host, ahead) in [(&a, 0), (&b, ahead)] {
        let noticed = logged(host, "canhub-span", "came back within").filter(|at| *at >= sent + ahead);
        let (Some(noticed), Some(told)) = (noticed, logged(host, "canhub", "span stopped")) else { continue };
        say(&format!(
            "{}: noticed {} ms after the first frame was sent, told {} ms later: {}",
            host.name,
            (noticed - sent - ahead) / 1_000,
            (told - noticed) / 1_000,
            span(host, "loop").unwrap_or_default()["problem"]
        ));
        // Two wake-ups on a busy machine. A state that waits for its turn is told up to a second later.
        assert!(told - noticed <= 500_000, "{}: told {} us after it was noticed", host.name, told - noticed);
    }
    // Stopped: the frame does not circulate any more.
    sleep(Duration::from_secs(1));
    assert_eq!(frames_in_a_second(&buses[0], "canhw"), 0);
    // What its members send meanwhile does not leave, and is counted.
    let held_back = || span(&stopped.host, "loop").map(|span| span["held_back"].as_u64().unwrap_or_default());
    let before = held_back().unwrap_or_else(|err| panic!("{err}"));
    for _ in 0..5 {
        stopped.host.run(&["cansend", "canhw", "322#01"]);
    }
    eventually("the five frames are counted", || match held_back()? - before {
        5 => Ok(()),
        other => Err(format!("{other} were counted")),
    });
    drop(buses);
    drop(wire);
}

#[test]
fn an_adapter_unplugged_during_an_outage_sends_nothing_old_when_it_is_back() {
    const RATE: u32 = 50;
    /// The default of `span-age`, and what a busy machine adds: from the sender to the span and from the wire to the listener.
    const OLDEST_US: i64 = 100_000 + 200_000;
    let (a, b) = two();
    let plug = || {
        let wire = wire((&b, "canhw"), (&b, "ecu"));
        b.sh("ip link set ecu type can bitrate 500000 && ip link set ecu up");
        wire
    };
    let mut plugged = plug();
    let buses = [
        Bus::new(&a, "plug", &["frames=classic", "span=plug"]),
        Bus::new(&b, "plug", &["adapter=canhw", BITRATE, "frames=classic", "span=plug"]),
    ];
    let ecu = Member::of_host(&b, 2, "ecu");
    until_joined(&buses[0].hub(8), &ecu);
    let only = ["--persist", "--only", "1"];
    let (mut listening, mut own) = (ecu.listen(&only), buses[0].hub(9).listen(&only));
    let mut sending = buses[0].hub(1).send(&format!("--stamp --rate {RATE}"));
    sleep(Duration::from_secs(1));
    b.wire("cut 4000");
    plugged.iter_mut().for_each(Running::stop);
    drop(plugged);
    sleep(Duration::from_secs(1));
    let plugged = plug();
    // The outage, two seconds until the hosts are connected again, and some for canhub to set up the adapter.
    sleep(Duration::from_secs(8));
    sending.stop();
    let sent: Sent = sending.end();
    sleep(Duration::from_secs(1));
    [&mut listening, &mut own].into_iter().for_each(Running::stop);
    let (heard, own): (Heard, Heard) = (listening.end(), own.end());
    let clocks = Clocks::of(&a, &b);
    let [stream] = &heard.streams[..] else { panic!("{heard:?}") };
    let (oldest, own) = (clocks.oldest(&heard), own.age.map_or(0, |age| age.max_us) as i64);
    say(&format!("{} of {} frames reach the wire, the oldest after {oldest} us", stream.frames, sent.sent));
    assert_eq!((stream.doubled, stream.disordered, stream.damaged), (0, 0, 0), "{stream:?}");
    assert!(stream.missing > RATE, "it was not unplugged: {stream:?}");
    assert!(stream.last + RATE >= sent.sent, "it is not back: {heard:?}");
    assert!(oldest <= OLDEST_US + own + clocks.sure, "a frame was {oldest} us old: {heard:?}");
    drop(buses);
    drop(plugged);
}
