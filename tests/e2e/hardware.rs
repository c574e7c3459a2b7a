//! CAN hardware on a stock kernel: two adapters on one physical bus, unplugged and replugged while frames flow.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use crate::support::{
    canhub::says,
    docker::Container,
    frames::{BACKGROUND, compare, from_all, is_unbroken},
    hardware::{Adapter, BITRATE, KV0, KV1, controller, is_there, when_there},
    host::{Journal, ip_link},
    member::{Member, Running, list},
    report::{Heard, Kind, Sent, Stream},
    scene::Scene,
    shell::{assert_refused, eventually, say},
    usb::{self, CANDLELIGHT},
};

/// No remote frames: QEMU's adapters fail when they receive one that requests data.
const KINDS: [Kind; 2] = [Kind::Classic, Kind::Extended];
const ROUNDS: u32 = 10;
/// How long it stays unplugged.
const AWAY: Duration = Duration::from_secs(10);

/// Two buses connected by their adapters: two containers on the left one, one on the right.
struct Wired {
    // Kept alive for its drop.
    _scene: Scene,
    ecus: [Container; 3],
}

impl Wired {
    fn new() -> Self {
        let scene = Scene::new();
        scene.undo(|| [KV0, KV1].iter().for_each(Adapter::put_back));
        let bus = |adapter: &Adapter| scene.network(&adapter.options());
        let (left, right) = (bus(&KV0), bus(&KV1));
        let ecus = [&left, &left, &right].map(|bus| scene.container(bus));
        Self { _scene: scene, ecus }
    }

    fn members(&self) -> [Member; 3] {
        [0, 1, 2].map(|at| self.ecus[at].member("can0", at as u8 + 1))
    }
}

/// Asserts that all receive this many frames of each kind of these senders, each once and in order.
///
/// QEMU's CAN bus is faster than any real one, and a kernel with its other CPU busy drops what arrives faster than it
/// can forward. So the senders pause, as 500 kbit/s would make them.
pub fn hear(all: &[&Member], senders: &[&Member], count: u32) -> Result<(), String> {
    let background = BACKGROUND.to_string();
    let listen = |member: &&Member| member.try_listen(&["--deaf-to", &background]);
    let listening: Vec<Running> = all.iter().map(listen).collect::<Result<_, _>>()?;
    let (kinds, count_arg) = (list(&KINDS), count.to_string());
    let send =
        |member: &&Member| member.start_sending(&["--kind", &kinds, "--count", &count_arg, "--gap", "2"]);
    let sending: Vec<Running> = senders.iter().map(send).collect();
    for sender in sending {
        let Sent { sent, own } = sender.try_end()?;
        if (sent, own) != (count * KINDS.len() as u32, 0) {
            return Err(format!("one sent {sent} frames and its own socket heard {own}"));
        }
    }
    for (member, listener) in all.iter().zip(listening) {
        compare(member, &listener.try_end()?, &from_all(senders, &KINDS, count))?;
    }
    Ok(())
}

#[test]
fn containers_on_two_adapters_reach_each_other_over_the_can_bus() {
    if !is_there("hardware::containers_on_two_adapters_reach_each_other_over_the_can_bus") {
        return;
    }
    let wired = Wired::new();
    let [one, two, far] = wired.members();
    for adapter in [KV0, KV1] {
        assert_eq!(controller(adapter.interface), (Some(u64::from(BITRATE)), "ERROR-ACTIVE".into()));
    }

    let hosts = [KV0, KV1].map(|adapter| Member::host(adapter.interface, 9));
    let started = Instant::now();
    hear(&[&one, &two, &far, &hosts[0], &hosts[1]], &[&one, &far], 500).unwrap_or_else(|err| panic!("{err}"));
    say(&format!("1,000 frames each way at once through the wire: {} ms", started.elapsed().as_millis()));
    let shown = says("status");
    assert!(shown.contains("can0 is error-active at 500000 bit/s"), "{shown}");
}

#[test]
fn a_replugged_adapter_carries_the_same_containers() {
    if !is_there("hardware::a_replugged_adapter_carries_the_same_containers") {
        return;
    }
    let wired = Wired::new();
    let [one, two, far] = wired.members();
    let mut healed = Vec::new();
    for round in 1..=ROUNDS {
        // A stream that the neighbour never loses, and that crosses the adapters whenever it can.
        let background = BACKGROUND.to_string();
        let [neighbour, distant] =
            [&two, &far].map(|member| member.try_listen(&["--only", &background]).expect("the bus works"));
        let mut stream = one.clone();
        stream.number = BACKGROUND;
        let stream = stream.start_sending(&["--gap", "10"]);

        let journal = Journal::mark();
        let began = Instant::now();
        KV0.unplug();
        journal.until("of the unplug", |told| told.contains("adapter vanished"));
        let shown = says("status");
        assert!(shown.contains("WAITING") && shown.contains("waiting for adapter can0"), "{shown}");
        hear(&[&one, &two], &[&one, &two], 20).unwrap_or_else(|err| panic!("{err}"));
        sleep(AWAY.saturating_sub(began.elapsed()));

        // No one else sends there, so the first received frame came through the adapters.
        let (first, _) = far.start_tool("candump -n 1 -T 60000 can0");
        let there = when_there(KV0.interface);
        KV0.plug();
        assert!(!first.finish().is_empty(), "no frame crossed the adapters within a minute");
        let heal = there.join().expect("it only looks").elapsed();
        healed.push(heal);
        hear(&[&one, &two, &far], &[&one, &two, &far], 20).unwrap_or_else(|err| panic!("{err}"));
        assert_eq!(controller(KV0.interface), (Some(u64::from(BITRATE)), "ERROR-ACTIVE".into()));

        stream.finish();
        let Heard { streams, longest_gap_ms, .. } = neighbour.heard();
        assert!(matches!(&streams[..], [stream] if is_unbroken(stream)), "on the same host: {streams:#?}");
        let beyond = distant.heard();
        // On a busy machine the adapter may be gone before the first frame.
        let is_cut = |stream: &Stream| stream.missing > 0 || stream.first > 0;
        assert!(matches!(&beyond.streams[..], [stream] if is_cut(stream)), "{beyond:#?}");
        let told = journal.until("of the replug", |told| told.contains("healed"));
        let lines: Vec<&str> = told.lines().filter(|line| line.contains("healed")).collect();
        assert!(matches!(&lines[..], [line] if line.contains("the adapter appeared")), "one line: {told}");
        say(&format!(
            "round {round}: the wire carries frames {} ms after the device appeared; silence beyond the wire {} ms, \
             on the same host {longest_gap_ms} ms",
            heal.as_millis(),
            beyond.longest_gap_ms,
        ));
    }
    for ecu in &wired.ecus {
        ecu.assert_untouched();
    }
    healed.sort();
    let [best, median, worst] = [0, healed.len() / 2, healed.len() - 1].map(|at| healed[at].as_millis());
    say(&format!("time to heal after the device appeared: median {median} ms, best {best}, worst {worst}"));
}

#[test]
fn error_frames_of_an_adapter_reach_containers_that_subscribe() {
    if !is_there("hardware::error_frames_of_an_adapter_reach_containers_that_subscribe") {
        return;
    }
    let wired = Wired::new();
    let [one, two, far] = wired.members();

    let (errors, _) = one.start_tool("candump -n 1 -T 20000 can0,0~0,#FFFFFFFF");
    // Its buffer overruns, and keeps doing so with every frame until the adapter is replaced.
    for _ in 0..20 {
        far.run(&["cansend", "can0", "123#R8"]);
    }
    let seen = errors.finish();
    assert!(seen.contains("ERRORFRAME"), "{seen}");

    KV0.unplug();
    KV0.plug();
    eventually("all members receive all frames again", || hear(&[&one, &two, &far], &[&one, &far], 20));
}

#[test]
fn unsupported_settings_are_refused_with_the_hardware_limits() {
    if !is_there("hardware::unsupported_settings_are_refused_with_the_hardware_limits") {
        return;
    }
    let first = KV0.path();
    let scene = Scene::new();
    for (options, words) in [
        (&["adapter=can0", "bitrate=3000"][..], &["can0", "bitrate=3000", "8 MHz", "5000 to"][..]),
        (&["adapter=can0", "bitrate=9000000"], &["bitrate=9000000", "8 MHz"]),
        (
            &["adapter=can0", "bitrate=500000", "dbitrate=2000000"],
            &["dbitrate=2000000", "does not support CAN FD"],
        ),
        (&["adapter=can0", "bitrate=500000", "fd-non-iso=on"], &["fd-non-iso", "listen-only"]),
        (
            &["adapter=can0", "bitrate=500000", "termination=120"],
            &["termination=120", "no switchable termination"],
        ),
        (&["adapter=driver:kvaser_pci"], &["can0", "can1", &first, "select one of them"]),
    ] {
        assert_refused(scene.try_bus(options), words);
    }
    scene.assert_nothing_is_left();
}

#[test]
fn the_original_settings_of_an_adapter_are_restored() {
    if !is_there("hardware::the_original_settings_of_an_adapter_are_restored") {
        return;
    }
    let by_hand = ["250000", "sample-point", "0.750", "restart-ms", "42"];
    ip_link(&[&["set", "can0", "txqueuelen", "33", "type", "can", "bitrate"], &by_hand[..]].concat());
    ip_link(&["set", "can0", "up"]);
    let shown = || {
        let shown = crate::support::shell::run("ip", &["-details", "link", "show", "can0"]);
        // The error counters depend on the bus.
        shown.lines().filter(|line| !line.contains("berr-counter")).collect::<Vec<_>>().join("\n")
    };
    let before = shown();
    let scene = Scene::new();
    scene.network(&["adapter=can0", "bitrate=500000", "restart-ms=100", "listen-only=on", "txqueuelen=1000"]);
    assert_eq!(controller("can0").0, Some(500_000));
    assert_ne!(shown(), before);
    scene.remove_all();
    assert_eq!(shown(), before);
    drop(scene);
    ip_link(&["set", "can0", "down"]);
    ip_link(&["set", "can0", "txqueuelen", "10", "type", "can", "restart-ms", "0"]);
}

#[test]
fn usb_adapters_are_selected_by_serial_number_and_port_whatever_their_names() {
    if !is_there("hardware::usb_adapters_are_selected_by_serial_number_and_port_whatever_their_names") {
        return;
    }
    let scene = Scene::new();
    let wire = usb::Wire::new();
    let (first, second) = (wire.plug(0, "garage-1"), wire.plug(1, "garage-2"));
    let (serial, path) = (format!("usb:{CANDLELIGHT}:garage-1"), format!("path:{}", second.id_path()));

    let either = format!("adapter=usb:{CANDLELIGHT}");
    let words = [&*first.interface, &second.interface, &serial, &path, "select one of them"];
    assert_refused(scene.try_bus(&[&either]), &words);
    let bus = |adapter: &str| {
        let adapter = format!("adapter={adapter}");
        scene.network(&[&adapter, "bitrate=500000", "frames=classic", "txqueuelen=4096"])
    };
    let ecus = [&bus(&serial), &bus(&path)].map(|bus| scene.container(bus));
    let (one, far) = (ecus[0].member("can0", 1), ecus[1].member("can0", 2));
    hear(&[&one, &far], &[&one, &far], 100).unwrap_or_else(|err| panic!("{err}"));

    let names = [first.interface.clone(), second.interface.clone()];
    drop((first, second));
    hear(&[&one], &[&one], 20).unwrap_or_else(|err| panic!("{err}"));
    // Now the other one comes first, and gets the other name.
    let (second, first) = (wire.plug(1, "garage-2"), wire.plug(0, "garage-1"));
    assert_eq!([&second.interface, &first.interface], [&names[0], &names[1]]);
    eventually("they receive each other's frames again", || hear(&[&one, &far], &[&one, &far], 20));
    // Each is still on its own bus.
    drop(second);
    let host = Member::host(&first.interface, 8);
    eventually("the first adapter carries the first bus", || hear(&[&one, &host], &[&one], 20));
    ecus.iter().for_each(Container::assert_untouched);
}
