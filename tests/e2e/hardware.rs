//! CAN hardware on a stock kernel: two adapters on one wire, unplugged and plugged in again while frames flow.

use std::time::Instant;

use crate::support::{
    docker::Container,
    frames::{all_hear_all, assert_all_hear_all, assert_hears, is_unbroken},
    hardware::{Adapter, KV0, KV1, is_there},
    member::Member,
    report::{Heard, Kind},
    scene::Scene,
    shell::{attempt, eventually, say},
};

const KINDS: [Kind; 3] = [Kind::Classic, Kind::Extended, Kind::Remote];
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

#[test]
fn containers_on_two_adapters_hear_each_other_through_the_wire() {
    if !is_there("hardware::containers_on_two_adapters_hear_each_other_through_the_wire") {
        return;
    }
    let wired = Wired::new();
    let [one, two, far] = wired.members();

    let started = Instant::now();
    assert_hears(&one, &[&two, &far, &Member::host(KV1.interface, 9)], &[Kind::Classic], 1000);
    assert_hears(&far, &[&one, &two, &Member::host(KV0.interface, 8)], &[Kind::Classic], 1000);
    say(&format!("1,000 frames each way through the wire: {} ms", started.elapsed().as_millis()));
    assert_all_hear_all(&[&one, &two, &far], &KINDS, 100);
}

#[test]
fn an_adapter_that_is_pulled_out_and_plugged_in_again_carries_the_same_containers() {
    if !is_there("hardware::an_adapter_that_is_pulled_out_and_plugged_in_again_carries_the_same_containers") {
        return;
    }
    let wired = Wired::new();
    let [one, two, far] = wired.members();
    for round in 1..=ROUNDS {
        // Somebody on the same host, who must not notice; and frames through the wire all the time.
        let neighbour = two.try_listen(&["--only", "1"]).expect("the bus works before");
        let near = one.start_sending(&["--gap", "10"]);
        let through = far.start_sending(&["--gap", "10"]);

        let began = Instant::now();
        KV0.unplug();
        let unplugged = began.elapsed();
        assert_hears(&two, &[&one], &[Kind::Extended], 50);
        KV0.plug();
        let plugged = began.elapsed() - unplugged;
        KV0.configure(BITRATE);
        let configured = Instant::now();
        eventually("all hear all again", || all_hear_all(&[&one, &two, &far], &[Kind::Extended], 20));
        say(&format!(
            "round {round}: unplugged in {} ms, there again {} ms after the rest, heard again {} ms after the bitrate",
            unplugged.as_millis(),
            plugged.as_millis(),
            configured.elapsed().as_millis()
        ));
        near.finish();
        through.finish();
        let Heard { streams, longest_gap_ms, .. } = neighbour.heard();
        assert!(
            matches!(&streams[..], [stream] if is_unbroken(stream)),
            "on the same host no frame is lost: {streams:#?}"
        );
        say(&format!("on the same host the longest silence was {longest_gap_ms} ms"));
    }
    for ecu in &wired.ecus {
        let alive =
            attempt("docker", &["inspect", "--format", "{{.State.Pid}} {{.RestartCount}}", &ecu.name]);
        assert_eq!(alive, Ok(format!("{} 0", ecu.pid)), "the container's first process stays the same");
    }
}
