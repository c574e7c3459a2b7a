//! Pacing: containers send no faster than an adapter's bus carries their frames, and nothing is lost without a word.
//!
//! The bus is simulated: it takes as long for a frame as a real one, and what it has not taken waits in the adapter.

use std::{
    collections::BTreeMap,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{
    canhub,
    docker::{Container, Network},
    host::{Journal, ip_link},
    member::{Member, Running},
    report::{Message, Sent},
    scene::Scene,
    shell::{assert_refused, eventually, number_from, run, say, sh, within},
    slcan::{Adapter, Wire},
};

/// Frames that a socket's buffer holds, and what is on its way besides.
const BUFFERED: u32 = 800;

/// A timed bus with an adapter that carries this many containers.
struct Paced {
    wire: Wire,
    network: Network,
    ecus: Vec<Container>,
    // In the order in which they go.
    scene: Scene,
    adapter: Adapter,
}

impl Paced {
    fn new(bitrate: u32, containers: usize) -> Self {
        Self::beside(0.0, bitrate, containers)
    }

    /// On a bus of which other nodes use this part.
    fn beside(others: f64, bitrate: u32, containers: usize) -> Self {
        let wire = Wire::timed(others);
        let adapter = wire.plug("slcan-paced");
        let scene = Scene::new();
        let bitrate = format!("bitrate={bitrate}");
        let network = scene.network(&["adapter=slcan-paced", &bitrate, "frames=classic"]);
        let ecus = (0..containers).map(|_| scene.container(&network)).collect();
        Self { wire, network, ecus, scene, adapter }
    }

    fn members(&self) -> Vec<Member> {
        (1..).zip(&self.ecus).map(|(number, ecu)| ecu.member("can0", number)).collect()
    }

    fn status(&self) -> Value {
        self.network.status()
    }

    /// Frames to the adapter that were lost, as canhub tells.
    fn lost(&self) -> u64 {
        self.status()["frames_in"]["dropped"].as_u64().expect("it is a number")
    }

    fn close(self) {
        let Self { scene, adapter, .. } = self;
        drop(scene);
        drop(adapter);
    }
}

/// The sequence numbers that a bus has carried from each sender, in order.
pub(crate) fn carried(wire: &Wire) -> BTreeMap<u8, Vec<u32>> {
    let mut carried: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
    for frame in wire.frames() {
        let (from, sequence) = numbered(&frame);
        carried.entry(from).or_default().push(sequence);
    }
    carried
}

/// The sender and the number of a frame of the probe's: `t4018CA01000000FF…`.
fn numbered(frame: &[u8]) -> (u8, u32) {
    let text = std::str::from_utf8(frame).expect("it is hex");
    let byte =
        |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap_or_else(|err| panic!("{err}: {text}"));
    assert_eq!(byte(5), 0xca, "{text}");
    (byte(7), u32::from_be_bytes([byte(9), byte(11), byte(13), byte(15)]))
}

fn queue_length() -> String {
    sh("cat /sys/class/net/slcan-paced/tx_queue_len")
}

fn pace_of(ecu: &Container) -> String {
    ecu.qdisc("show dev can0")
}

fn paced_at(ecu: &Container, rate: &str) {
    eventually(&format!("{} is paced at {rate}", ecu.name), || match pace_of(ecu) {
        shown if shown.contains(&format!("tbf ca0: root refcnt 2 rate {rate} ")) => Ok(()),
        shown => Err(shown),
    });
}

#[test]
fn bursts_of_any_length_arrive_whole_and_take_as_long_as_the_bus() {
    for (bitrate, count) in [(500_000, 585), (500_000, 5_000), (1_000_000, 50_000)] {
        let paced = Paced::new(bitrate, 1);
        let [ecu] = &paced.members()[..] else { panic!() };
        let begun = Instant::now();
        let Sent { sent, .. } = ecu.start_sending(&["--count", &count.to_string()]).end();
        let took = begun.elapsed().as_secs_f64();
        assert_eq!(sent, count);
        let arrived = within(Duration::from_secs(60), || match paced.wire.count() {
            carried if carried == count as usize => Ok(()),
            carried => {
                Err(format!("{carried} of {count} frames, and canhub counts {} as lost", paced.lost()))
            }
        });
        arrived.unwrap_or_else(|err| panic!("{err}"));
        let whole: Vec<u32> = (0..count).collect();
        assert!(carried(&paced.wire)[&1] == whole, "all in order");
        // The last ones are still on their way when the sender ends.
        let least = f64::from(count.saturating_sub(BUFFERED)) * 135.0 / f64::from(bitrate);
        say(&format!("{count} frames at {bitrate} bit/s: {took:.2} s, the bus alone {least:.2} s"));
        assert!(took > least * 0.95, "the sender did not wait: {took} s");
        assert_eq!(paced.lost(), 0);
        paced.close();
    }
}

/// So many send all they can for a while. Those frames that are missing on the bus are those that canhub counts as lost.
fn rush(paced: &Paced, senders: usize, seconds: u64) -> u64 {
    let members = paced.members();
    let before = paced.lost();
    let mut running: Vec<Running> =
        members[..senders].iter().map(|member| member.start_sending(&[])).collect();
    sleep(Duration::from_secs(seconds));
    // Who sends nothing has all of its pace.
    let status = paced.status();
    let idle = status["members"].as_array().expect("there are members").iter();
    let fastest = idle.map(|member| member["rate"].as_u64().unwrap_or_default()).max();
    running.iter_mut().for_each(Running::stop);
    let sent: Vec<Sent> = running.into_iter().map(Running::end).collect();
    paced.wire.until_silent();
    let carried = carried(&paced.wire);
    let mut missing = 0;
    for (member, Sent { sent, .. }) in members.iter().zip(&sent) {
        let frames = &carried[&member.number];
        assert!(frames.is_sorted_by(|one, next| one < next), "in order and none twice");
        missing += u64::from(*sent) - frames.len() as u64;
    }
    let lost = paced.lost() - before;
    let counts: Vec<usize> = carried.values().map(Vec::len).collect();
    say(&format!(
        "{senders} senders for {seconds} s: {counts:?} frames carried, {missing} missing, {lost} counted as lost"
    ));
    assert_eq!(missing, lost, "each missing frame is counted");
    assert_eq!(fastest, status["adapter"]["bitrate"].as_u64(), "{status:#}");
    let (least, most) = (counts.iter().min().expect("some"), counts.iter().max().expect("some"));
    assert!(*most < *least * 2, "the bus is shared evenly: {counts:?}");
    lost
}

#[test]
fn several_senders_share_the_bus_and_lose_nothing_in_silence() {
    for (bitrate, senders) in [(500_000, 2), (125_000, 4)] {
        let paced = Paced::new(bitrate, senders + 1);
        let lost = rush(&paced, senders, 5);
        assert_eq!(lost, 0, "the adapter's queue holds what comes until they are slowed down");
        for ecu in &paced.ecus {
            paced_at(ecu, &format!("{}Kbit", bitrate / 1000));
        }
        paced.close();
    }
    // More than a guest's one processor may manage in time; each frame that is lost is counted then.
    if let Some(seconds) = number_from("CANHUB_RUSH_SECONDS") {
        for (bitrate, senders) in [(500_000, 2), (500_000, 4), (1_000_000, 4)] {
            let paced = Paced::new(bitrate, senders + 1);
            rush(&paced, senders, seconds);
            paced.close();
        }
    }
}

#[test]
fn a_bus_that_other_nodes_use_too_slows_a_sender_down() {
    let paced = Paced::beside(0.5, 500_000, 2);
    assert_eq!(rush(&paced, 1, 6), 0);
    paced.close();
}

#[test]
fn a_writer_that_does_not_wait_gets_eagain() {
    let paced = Paced::new(125_000, 1);
    let [ecu] = &paced.members()[..] else { panic!() };
    let told = ecu.run(&[&ecu.probe(), "fill", "can0", "--from", "1"]);
    let (accepted, errno) = told.split_once(' ').expect("two numbers");
    assert_eq!(errno, "11", "EAGAIN: {told}");
    let accepted: usize = accepted.parse().expect("a number");
    assert!((1..BUFFERED as usize).contains(&accepted), "{told}");
    eventually("what was accepted arrives", || match paced.wire.count() {
        carried if carried == accepted => Ok(()),
        carried => Err(format!("{carried} of {accepted}")),
    });
    paced.close();
}

#[test]
fn isotp_messages_pass_at_every_bitrate() {
    for bitrate in [125_000, 500_000, 1_000_000] {
        let wire = Wire::timed(0.0);
        let [adapter, far] = ["slcan-paced", "slcan-far"].map(|name| wire.plug(name));
        ip_link(&["set", "slcan-far", "txqueuelen", "1000", "type", "can", "bitrate", &bitrate.to_string()]);
        ip_link(&["set", "slcan-far", "up"]);
        let scene = Scene::new();
        let network =
            scene.network(&["adapter=slcan-paced", &format!("bitrate={bitrate}"), "frames=classic"]);
        let ecu = scene.container(&network).member("can0", 1);
        let tester = Member::host("slcan-far", 2);
        let receive = [&*tester.probe(), "isotp-receive", "slcan-far", "2016", "2024", "20", "--block", "0"];
        let mut receiving = tester.start(&receive);
        receiving.wait_for("ready");
        let sizes = ["4095"; 20];
        let begun = Instant::now();
        ecu.run(&[&[&*ecu.probe(), "isotp-send", "can0", "2024", "2016"], &sizes[..]].concat());
        say(&format!("20 messages of 4095 bytes at {bitrate} bit/s: {:.1} s", begun.elapsed().as_secs_f64()));
        let told = receiving.finish();
        let messages: Vec<Message> = told
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|err| panic!("{err}: {told}")))
            .collect();
        assert_eq!(messages, vec![Message { size: 4095, intact: true }; 20], "at {bitrate} bit/s");
        drop(scene);
        drop((adapter, far));
    }
}

#[test]
fn a_pace_is_healed_and_follows_the_adapter() {
    let wire = Wire::timed(0.0);
    let mut adapter = wire.plug("slcan-paced");
    assert_eq!(queue_length(), "10");
    ip_link(&["set", "slcan-paced", "type", "can", "bitrate", "500000"]);
    ip_link(&["set", "slcan-paced", "up"]);
    let scene = Scene::new();
    let network = scene.network(&["adapter=slcan-paced", "frames=classic"]);
    let [ecu, other] = [0, 1].map(|_| scene.container(&network));
    paced_at(&ecu, "500Kbit");
    assert_eq!(queue_length(), "8192");

    // No event tells of qdiscs, so the next audit finds both.
    let journal = Journal::mark();
    sh(&format!("nsenter --net --target {} tc qdisc del dev can0 root", ecu.pid));
    sh(&format!("nsenter --net --target {} tc qdisc replace dev can0 root pfifo limit 5", other.pid));
    paced_at(&ecu, "500Kbit");
    paced_at(&other, "500Kbit");
    let told = journal.until("both", |told| told.contains("was missing") && told.contains("was replaced"));
    assert!(told.contains("healed") && told.contains("pace the interface can0 at 500000 bit/s"), "{told}");

    ip_link(&["set", "slcan-paced", "down"]);
    ip_link(&["set", "slcan-paced", "type", "can", "bitrate", "125000"]);
    ip_link(&["set", "slcan-paced", "up"]);
    paced_at(&ecu, "125Kbit");

    adapter.unplug();
    adapter = wire.plug("slcan-paced");
    ip_link(&["set", "slcan-paced", "type", "can", "bitrate", "250000"]);
    ip_link(&["set", "slcan-paced", "up"]);
    paced_at(&ecu, "250Kbit");
    eventually("the queue of the new one is long, too", || match queue_length() {
        length if length == "8192" => Ok(()),
        length => Err(length),
    });
    ecu.assert_untouched();

    scene.remove_all();
    assert_eq!(queue_length(), "10", "it is left as it was found");
    drop(scene);
    drop(adapter);
}

#[test]
fn a_rate_paces_any_bus_and_without_one_there_is_no_qdisc() {
    let scene = Scene::new();
    let [free, paced] = [&[][..], &["rate=125k"]].map(|options| scene.network(options));
    let connected = |rate: &str| {
        let network = format!("name={},driver-opt=rate={rate}", paced.name);
        scene.container_with(&["--network", &network])
    };
    assert!(pace_of(&scene.container(&free)).contains("noqueue"));
    let slow = scene.container(&paced);
    paced_at(&slow, "125Kbit");
    paced_at(&connected("1M"), "1Mbit");
    let off = connected("off");
    off.member("can0", 9);
    assert!(pace_of(&off).contains("noqueue"), "{}", pace_of(&off));

    // Bits of a frame with 8 bytes, and of an FD frame with 64 on a bus with one bitrate.
    for (kind, count, bits) in [("classic", 2000, 136.0), ("fd", 1200, 712.0)] {
        let begun = Instant::now();
        let arguments = ["--kind", kind, "--count", &count.to_string()];
        slow.member("can0", 1).start_sending(&arguments).end::<Sent>();
        let took = begun.elapsed().as_secs_f64();
        let least = f64::from(count - BUFFERED) * bits / 125_000.0;
        assert!(took > least * 0.95, "{took} s for {count} {kind} frames");
    }
    let shown = canhub::says("status");
    assert!(shown.contains("PACE") && shown.contains(" 125k ") && shown.contains(" off "), "{shown}");
}

#[test]
fn a_rate_that_cannot_be_kept_is_refused_in_one_sentence() {
    let wire = Wire::timed(0.0);
    let adapter = wire.plug("slcan-paced");
    let scene = Scene::new();
    for rate in ["0", "-125000", "fast", "1.5M", "12"] {
        let option = format!("rate={rate}");
        assert_refused(
            scene.try_bus(&[&option]),
            &[&option, "must be off or a number of bits per second", "500k"],
        );
    }
    let more = ["adapter=slcan-paced", "bitrate=500000", "rate=1M"];
    assert_refused(scene.try_bus(&more), &["rate=1000000", "bitrate=500000"]);
    run("ip", &["link", "set", "slcan-paced", "type", "can", "bitrate", "125000"]);
    assert_refused(
        scene.try_bus(&["adapter=slcan-paced", "rate=500k"]),
        &["rate=500000", "125000 bit/s", "slcan-paced"],
    );
    let network = scene.network(&["adapter=slcan-paced", "bitrate=500000"]);
    let endpoint = format!("name={},driver-opt=rate=1M", network.name);
    assert_refused(scene.try_run(&["--network", &endpoint], &["true"]), &["rate=1000000", "bitrate=500000"]);
    scene.remove_all();
    drop(scene);
    drop(adapter);
}
