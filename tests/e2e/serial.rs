//! Adapters on serial lines, on a wire of our own: unplugged, replugged, with errors and another bitrate.

use crate::support::{
    docker::{Container, Network},
    frames::{all_hear_all, assert_all_hear_all, assert_hears},
    member::Member,
    report::Kind,
    scene::Scene,
    shell::{eventually, say},
    slcan::{Adapter, State, Wire},
};

const KINDS: [Kind; 3] = [Kind::Classic, Kind::Extended, Kind::Remote];

/// Two adapters on one wire, each with a bus, and three containers on them.
struct Wired {
    scene: Scene,
    wire: Wire,
    left: Adapter,
    right: Adapter,
    ecus: [Container; 3],
}

impl Wired {
    fn new() -> Self {
        let wire = Wire::default();
        let [left, right] = ["slcan-left", "slcan-right"].map(|name| {
            let adapter = wire.plug(name);
            adapter.configure(500_000);
            adapter
        });
        let scene = Scene::new();
        let bus =
            |adapter: &Adapter| scene.network(&[&format!("adapter={}", adapter.interface), "frames=classic"]);
        let buses: [Network; 2] = [&left, &right].map(bus);
        let ecus = [&buses[0], &buses[0], &buses[1]].map(|bus| scene.container(bus));
        Self { scene, wire, left, right, ecus }
    }

    /// Two on the left, one on the right.
    fn members(&self) -> [Member; 3] {
        [0, 1, 2].map(|at| self.ecus[at].member("can0", at as u8 + 1))
    }
}

#[test]
fn containers_on_two_adapters_hear_each_other_through_the_wire() {
    let wired = Wired::new();
    let [one, two, far] = wired.members();
    let hosts = [Member::host("slcan-left", 8), Member::host("slcan-right", 9)];
    assert_all_hear_all(&[&one, &two, &far, &hosts[0], &hosts[1]], &KINDS, 50);
}

#[test]
fn an_adapter_that_is_pulled_out_and_plugged_in_again_carries_the_same_containers() {
    let Wired { scene, wire, left, right, ecus } = Wired::new();
    let [one, two, far] = [0, 1, 2].map(|at| ecus[at].member("can0", at as u8 + 1));
    let mut left = left;
    for round in 1..=3 {
        left.unplug();
        assert_hears(&one, &[&two], &KINDS, 50);

        left = wire.plug("slcan-left");
        left.configure(500_000);
        eventually("all hear all again", || all_hear_all(&[&one, &two, &far], &[Kind::Classic], 20));
        say(&format!("replugged {round}"));
    }
    for ecu in &ecus {
        ecu.assert_untouched();
    }
    drop(scene);
    drop((left, right));
}

#[test]
fn errors_on_the_wire_reach_containers_that_ask_for_them() {
    let wired = Wired::new();
    let [one, two, far] = wired.members();
    assert_eq!(wired.left.state(), "ERROR-ACTIVE");

    let (errors, _) = one.start_tool("candump -n 1 -T 20000 can0,0~0,#FFFFFFFF");
    wired.left.report(State::Passive, 128, 0);
    let seen = errors.finish();
    assert!(seen.contains("ERRORFRAME"), "{seen}");
    assert_eq!(wired.left.state(), "ERROR-PASSIVE");
    wired.left.report(State::Active, 0, 0);
    assert_eq!(wired.left.state(), "ERROR-ACTIVE");
    assert_hears(&one, &[&two, &far], &KINDS, 20);
}

/// Waits for a state of the controller, as `ip` tells it.
#[track_caller]
fn becomes(adapter: &Adapter, wanted: &str) {
    eventually(&format!("{} is {wanted}", adapter.interface), || match adapter.state() {
        state if state == wanted => Ok(()),
        state => Err(state),
    });
}

#[test]
fn another_bitrate_on_the_wire_takes_a_sender_off_the_bus() {
    let wired = Wired::new();
    let [one, _, far] = wired.members();
    wired.right.configure(250_000);
    one.run(&["cansend", "can0", "123#DEADBEEF"]);
    becomes(&wired.left, "BUS-OFF");
    becomes(&wired.right, "ERROR-PASSIVE");

    for adapter in [&wired.left, &wired.right] {
        adapter.configure(500_000);
        becomes(adapter, "ERROR-ACTIVE");
    }
    assert_hears(&one, &[&far], &KINDS, 20);
}

#[test]
fn a_sender_alone_on_the_wire_becomes_passive_and_stays_on_the_bus() {
    let wire = Wire::default();
    let adapter = wire.plug("slcan-alone");
    adapter.configure(500_000);
    let scene = Scene::new();
    let ecu = scene.container(&scene.network(&["adapter=slcan-alone", "frames=classic"])).member("can0", 1);

    // Nobody acknowledges, the counter of sent errors rises.
    let (errors, _) = ecu.start_tool("candump -e -n 2 -T 20000 can0,0~0,#FFFFFFFF");
    ecu.run(&["cansend", "can0", "123#DEADBEEF"]);
    becomes(&adapter, "ERROR-PASSIVE");
    let seen = errors.finish();
    assert!(seen.contains("no-acknowledgement-on-tx"), "{seen}");
}
