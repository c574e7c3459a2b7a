//! CAN hardware on a stock kernel: two adapters on one wire, unplugged and plugged in again while frames flow.

use std::time::Instant;

use crate::support::{
    docker::Container,
    frames::{BACKGROUND, compare, from_all, is_unbroken},
    hardware::{Adapter, KV0, KV1, is_there},
    member::{Member, Running, list},
    report::{Heard, Kind, Sent},
    scene::Scene,
    shell::{eventually, say},
};

/// No remote frames: QEMU's adapters break when they receive one that asks for bytes.
const KINDS: [Kind; 2] = [Kind::Classic, Kind::Extended];
const BITRATE: u32 = 500_000;
const ROUNDS: u32 = 3;

/// Two buses on one wire: two containers on the left one, one on the right.
struct Wired {
    // Kept for its end.
    _scene: Scene,
    ecus: [Container; 3],
}

impl Wired {
    fn new() -> Self {
        for adapter in [KV0, KV1] {
            adapter.configure(BITRATE);
        }
        let scene = Scene::new();
        scene.undo(|| [KV0, KV1].iter().for_each(Adapter::put_back));
        let bus =
            |adapter: &Adapter| scene.network(&[&format!("adapter={}", adapter.interface), "frames=classic"]);
        let (left, right) = (bus(&KV0), bus(&KV1));
        let ecus = [&left, &left, &right].map(|bus| scene.container(bus));
        Self { _scene: scene, ecus }
    }

    fn members(&self) -> [Member; 3] {
        [0, 1, 2].map(|at| self.ecus[at].member("can0", at as u8 + 1))
    }
}

/// All hear so many frames of each kind of these senders, each once and in order.
///
/// QEMU's wire is faster than any real one, and a kernel whose other processor is busy drops what comes faster than
/// it can hand on. So the senders take their time, as 500 kbit/s would make them.
fn hear(all: &[&Member], senders: &[&Member], count: u32) -> Result<(), String> {
    let background = BACKGROUND.to_string();
    let listen = |member: &&Member| member.try_listen(&["--deaf-to", &background]);
    let listening: Vec<Running> = all.iter().map(listen).collect::<Result<_, _>>()?;
    let (kinds, count_arg) = (list(&KINDS), count.to_string());
    let send =
        |member: &&Member| member.start_sending(&["--kind", &kinds, "--count", &count_arg, "--gap", "2"]);
    let sending: Vec<Running> = senders.iter().map(send).collect();
    for sender in sending {
        let Sent { sent, own } = sender.try_end()?;
        assert_eq!((sent, own), (count * KINDS.len() as u32, 0));
    }
    for (member, listener) in all.iter().zip(listening) {
        compare(member, &listener.try_end()?, &from_all(senders, &KINDS, count))?;
    }
    Ok(())
}

#[test]
fn containers_on_two_adapters_hear_each_other_through_the_wire() {
    if !is_there("hardware::containers_on_two_adapters_hear_each_other_through_the_wire") {
        return;
    }
    let wired = Wired::new();
    let [one, two, far] = wired.members();

    let hosts = [KV0, KV1].map(|adapter| Member::host(adapter.interface, 9));
    let started = Instant::now();
    hear(&[&one, &two, &far, &hosts[0], &hosts[1]], &[&one, &far], 500).unwrap_or_else(|err| panic!("{err}"));
    say(&format!("1,000 frames each way at once through the wire: {} ms", started.elapsed().as_millis()));
}

#[test]
fn an_adapter_that_is_pulled_out_and_plugged_in_again_carries_the_same_containers() {
    if !is_there("hardware::an_adapter_that_is_pulled_out_and_plugged_in_again_carries_the_same_containers") {
        return;
    }
    let wired = Wired::new();
    let [one, two, far] = wired.members();
    for round in 1..=ROUNDS {
        // A stream that its neighbour never loses, and that goes through the wire whenever it can.
        let background = BACKGROUND.to_string();
        let [neighbour, distant] =
            [&two, &far].map(|member| member.try_listen(&["--only", &background]).expect("the bus works"));
        let mut stream = one.clone();
        stream.number = BACKGROUND;
        let stream = stream.start_sending(&["--gap", "10"]);

        let began = Instant::now();
        KV0.unplug();
        let unplugged = began.elapsed();
        hear(&[&one, &two], &[&one, &two], 20).unwrap_or_else(|err| panic!("{err}"));
        let began = Instant::now();
        KV0.plug();
        let plugged = began.elapsed();
        KV0.configure(BITRATE);
        let began = Instant::now();
        eventually("all hear all again", || hear(&[&one, &two, &far], &[&one, &two, &far], 20));
        let healed = began.elapsed();

        stream.finish();
        let Heard { streams, longest_gap_ms, .. } = neighbour.heard();
        assert!(matches!(&streams[..], [stream] if is_unbroken(stream)), "on the same host: {streams:#?}");
        let beyond = distant.heard();
        assert!(matches!(&beyond.streams[..], [stream] if stream.missing > 0), "{beyond:#?}");
        say(&format!(
            "round {round}: unplugged in {} ms, plugged in again in {} ms, seen to be well {} ms after it had its \
             bitrate; silence beyond the wire {} ms, on the same host {longest_gap_ms} ms",
            unplugged.as_millis(),
            plugged.as_millis(),
            healed.as_millis(),
            beyond.longest_gap_ms,
        ));
    }
    for ecu in &wired.ecus {
        ecu.assert_untouched();
    }
}

#[test]
fn error_frames_of_an_adapter_reach_containers_that_ask_for_them() {
    if !is_there("hardware::error_frames_of_an_adapter_reach_containers_that_ask_for_them") {
        return;
    }
    let wired = Wired::new();
    let [one, two, far] = wired.members();

    let (errors, _) = one.start_tool("candump -n 1 -T 20000 can0,0~0,#FFFFFFFF");
    // Its buffer overruns, and does so with every frame until the adapter is another one.
    for _ in 0..20 {
        far.run(&["cansend", "can0", "123#R8"]);
    }
    let seen = errors.finish();
    assert!(seen.contains("ERRORFRAME"), "{seen}");

    KV0.unplug();
    KV0.plug();
    KV0.configure(BITRATE);
    eventually("all hear all again", || hear(&[&one, &two, &far], &[&one, &far], 20));
}
