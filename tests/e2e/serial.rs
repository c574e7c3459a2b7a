//! Adapters on serial lines with a simulated physical bus: unplugged, replugged, with errors and bitrate mismatches.

use crate::support::{
    canhub::{self, says},
    docker::{Container, Network},
    frames::{all_hear_all, assert_all_hear_all, assert_hears},
    hardware::controller,
    host::{Journal, configure_adapter, ip_link, link},
    member::Member,
    report::Kind,
    scene::Scene,
    shell::{assert_refused, eventually, run, say},
    slcan::{Adapter, State, Wire},
};

const KINDS: [Kind; 3] = [Kind::Classic, Kind::Extended, Kind::Remote];

/// A bus with this adapter at that bitrate.
#[track_caller]
fn bus(scene: &Scene, adapter: &str, bitrate: u32) -> Network {
    let (adapter, bitrate) = (format!("adapter={adapter}"), format!("bitrate={bitrate}"));
    scene.network(&[&adapter, &bitrate, "frames=classic", "txqueuelen=4096"])
}

/// Two adapters on one physical bus, each with a bus of its own, and three containers.
struct Wired {
    scene: Scene,
    wire: Wire,
    left: Adapter,
    right: Adapter,
    ecus: [Container; 3],
}

impl Wired {
    fn new() -> Self {
        Self::with_bitrates(500_000, 500_000)
    }

    fn with_bitrates(left_bitrate: u32, right_bitrate: u32) -> Self {
        let wire = Wire::default();
        let [left, right] = ["slcan-left", "slcan-right"].map(|name| wire.plug(name));
        let scene = Scene::new();
        let buses = [bus(&scene, "slcan-left", left_bitrate), bus(&scene, "slcan-right", right_bitrate)];
        let ecus = [&buses[0], &buses[0], &buses[1]].map(|bus| scene.container(bus));
        Self { scene, wire, left, right, ecus }
    }

    /// Two on the left, one on the right.
    fn members(&self) -> [Member; 3] {
        [0, 1, 2].map(|at| self.ecus[at].member("can0", at as u8 + 1))
    }
}

#[test]
fn containers_on_two_adapters_reach_each_other_over_the_can_bus() {
    let wired = Wired::new();
    let [one, two, far] = wired.members();
    let hosts = [Member::host("slcan-left", 8), Member::host("slcan-right", 9)];
    assert_all_hear_all(&[&one, &two, &far, &hosts[0], &hosts[1]], &KINDS, 50);
}

#[test]
fn a_replugged_adapter_carries_the_same_containers() {
    let Wired { scene, wire, left, right, ecus } = Wired::new();
    let [one, two, far] = [0, 1, 2].map(|at| ecus[at].member("can0", at as u8 + 1));
    let mut left = left;
    for round in 1..=3 {
        left.unplug();
        assert_hears(&one, &[&two], &KINDS, 50);

        let journal = Journal::mark();
        left = wire.plug("slcan-left");
        eventually("all members receive all frames again", || {
            all_hear_all(&[&one, &two, &far], &[Kind::Classic], 20)
        });
        assert_eq!(controller("slcan-left"), (Some(500_000), "ERROR-ACTIVE".into()));
        let told = journal.until("of the replug", |told| told.contains("healed"));
        let lines: Vec<&str> = told.lines().filter(|line| line.contains("healed")).collect();
        assert!(matches!(&lines[..], [line] if line.contains("the adapter appeared")), "one line: {told}");
        say(&format!("replugged {round}"));
    }
    for ecu in &ecus {
        ecu.assert_untouched();
    }
    drop(scene);
    drop((left, right));
}

#[test]
fn bus_errors_reach_containers_that_subscribe() {
    let wired = Wired::new();
    let [one, two, far] = wired.members();
    assert_eq!(wired.left.state(), "ERROR-ACTIVE");

    let (errors, _) = one.start_tool("candump -n 1 -T 20000 can0,0~0,#FFFFFFFF");
    wired.left.report(State::Passive, 128, 0);
    let seen = errors.finish();
    assert!(seen.contains("ERRORFRAME"), "{seen}");
    assert_eq!(wired.left.state(), "ERROR-PASSIVE");
    wired.left.report(State::Active, 0, 0);
    becomes(&wired.left, "ERROR-ACTIVE");
    assert_hears(&one, &[&two, &far], &KINDS, 20);
}

/// Waits for a state of the controller, as shown by `ip`.
#[track_caller]
fn becomes(adapter: &Adapter, wanted: &str) {
    eventually(&format!("{} is {wanted}", adapter.interface), || match adapter.state() {
        state if state == wanted => Ok(()),
        state => Err(state),
    });
}

#[test]
fn a_bitrate_mismatch_is_explained() {
    let journal = Journal::mark();
    let wired = Wired::with_bitrates(500_000, 250_000);
    let [one, ..] = wired.members();
    one.run(&["cansend", "can0", "123#DEADBEEF"]);
    becomes(&wired.left, "BUS-OFF");
    becomes(&wired.right, "ERROR-PASSIVE");

    let words = [
        "slcan-left is bus-off",
        "slcan-right is error-passive",
        "common causes are a bitrate mismatch",
        "missing termination (120 ohms at both ends)",
    ];
    // The output for people is wrapped.
    let lines = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown = lines(says("status"));
    // There is no event when a controller becomes error-passive; the audit finds it.
    let told = journal.until("both", |told| words.iter().all(|word| told.contains(word)));
    for word in words {
        assert!(shown.contains(word) && told.contains(word), "{word:?} is not in:\n{shown}\nor in:\n{told}");
    }
    assert!(told.contains("adapter went bus-off"), "{told}");
    let doctor = lines(says("doctor"));
    let health = eventually("health reports both", || {
        let health = canhub::ask("/v1/health");
        if words.iter().all(|word| health.contains(word)) { Ok(health) } else { Err(health) }
    });
    for word in words {
        assert!(
            doctor.contains(word) && health.contains(word),
            "{word:?} is not in:\n{doctor}\nor in:\n{health}"
        );
    }
    for word in
        ["slcan-left is bus-off at 500000 bit/s", "slcan-right is error-passive at 250000 bit/s", "PROBLEM"]
    {
        assert!(shown.contains(word), "{word:?} is not in:\n{shown}");
    }
    assert!(shown.contains("ip link set slcan-left down && ip link set slcan-left up"), "{shown}");

    // As the message says: the right bitrate, and up again.
    let Wired { scene, left, right, .. } = wired;
    scene.remove_all();
    let buses = [bus(&scene, "slcan-left", 500_000), bus(&scene, "slcan-right", 500_000)];
    let ecus = [&buses[0], &buses[1]].map(|bus| scene.container(bus));
    for adapter in [&left, &right] {
        ip_link(&["set", &adapter.interface, "down"]);
        ip_link(&["set", &adapter.interface, "up"]);
        becomes(adapter, "ERROR-ACTIVE");
    }
    let [one, far] = [0, 1].map(|at| ecus[at].member("can0", at as u8 + 1));
    eventually("both receive both", || all_hear_all(&[&one, &far], &KINDS, 20));
    drop(scene);
    drop((left, right));
}

#[test]
fn a_lone_sender_becomes_error_passive_and_stays_on_the_bus() {
    let wire = Wire::default();
    let adapter = wire.plug("slcan-alone");
    let scene = Scene::new();
    // An FD bus forwards error frames just as well.
    let bus = scene.network(&["adapter=slcan-alone", "bitrate=500000"]);
    let ecu = scene.container(&bus).member("can0", 1);

    // Nobody acknowledges, so the transmit error counter rises.
    let (errors, _) = ecu.start_tool("candump -e -n 2 -T 20000 can0,0~0,#FFFFFFFF");
    ecu.run(&["cansend", "can0", "123#DEADBEEF"]);
    becomes(&adapter, "ERROR-PASSIVE");
    let seen = errors.finish();
    assert!(seen.contains("no-acknowledgement-on-tx"), "{seen}");
    drop(scene);
    drop(adapter);
}

#[test]
fn settings_made_by_the_operator_stay_unless_options_override_them() {
    let wire = Wire::default();
    let adapter = wire.plug("slcan-own");
    configure_adapter("slcan-own", 125_000);
    let scene = Scene::new();
    let own = scene.network(&["adapter=slcan-own", "frames=classic"]);
    let _ecu = scene.container(&own);
    assert_eq!(controller("slcan-own").0, Some(125_000));
    configure_adapter("slcan-own", 250_000);
    // Another fault has been healed, so canhub has made a pass since.
    let hub = scene.network(&[]).hub();
    ip_link(&["set", &hub, "down"]);
    eventually("canhub makes a pass", || match link(&hub) {
        Some(link) if link.is_up() => Ok(()),
        link => Err(format!("{link:?}")),
    });
    assert_eq!(controller("slcan-own").0, Some(250_000));
    scene.remove_all();
    assert_eq!(controller("slcan-own"), (Some(250_000), "ERROR-ACTIVE".into()));

    let _asked = bus(&scene, "slcan-own", 500_000);
    assert_eq!(controller("slcan-own").0, Some(500_000));
    // Between two steps canhub would bring it up, and then it could not be configured.
    let canhub = canhub::pid();
    run("kill", &["-STOP", &canhub]);
    configure_adapter("slcan-own", 250_000);
    run("kill", &["-CONT", &canhub]);
    eventually("the bitrate is restored", || match controller("slcan-own") {
        (Some(500_000), state) if state == "ERROR-ACTIVE" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    scene.remove_all();
    assert_eq!(controller("slcan-own"), (Some(250_000), "ERROR-ACTIVE".into()), "the original settings");
    drop(scene);
    drop(adapter);
}

#[test]
fn unsupported_settings_are_refused_by_name() {
    let wire = Wire::default();
    let adapter = wire.plug("slcan-poor");
    let scene = Scene::new();
    for (options, words) in [
        (
            &["bitrate=123456"][..],
            &["slcan-poor", "bitrate=123456", "supported are 10000", "1000000 bit/s"][..],
        ),
        (&["bitrate=500000", "one-shot=on"], &["slcan-poor", "one-shot", "listen-only"]),
        (&["bitrate=500000", "dbitrate=2000000"], &["dbitrate=2000000", "does not support CAN FD"]),
        (&["bitrate=500000", "termination=120"], &["termination=120", "no switchable termination"]),
        // None of these reaches the adapter.
        (&["bitrate=fast"], &["bitrate=fast", "like 500000"]),
        (&["bitrate=500000", "sample-point=87.5"], &["sample-point=87.5", "like 0.875"]),
        (&["sample-point=0.8"], &["sample-point=0.8", "requires bitrate"]),
        (&["bitrate=500000", "dbitrate=250000"], &["dbitrate=250000", "lower than bitrate=500000"]),
        (&["dsample-point=0.8"], &["dsample-point=0.8", "requires dbitrate"]),
        (&["restart-ms=soon"], &["restart-ms=soon", "milliseconds"]),
        (&["fd-non-iso=1"], &["fd-non-iso=1", "on or off"]),
        (&["listen-only=yes"], &["listen-only=yes", "on or off"]),
        (&["loopback=yes"], &["loopback=yes", "on or off"]),
        (&["one-shot=2"], &["one-shot=2", "on or off"]),
        (&["triple-sampling=3"], &["triple-sampling=3", "on or off"]),
        (&["berr-reporting=loud"], &["berr-reporting=loud", "on or off"]),
        (&["presume-ack=maybe"], &["presume-ack=maybe", "on or off"]),
        (&["termination=lots"], &["termination=lots", "ohms"]),
        (&["txqueuelen=-1"], &["txqueuelen=-1", "frames"]),
        (&["adapter-wait=no"], &["adapter-wait=no", "on or fail"]),
        (&["hub=vcan-too"], &["hub=vcan-too", "mutually exclusive"]),
        (&["bitrat=500000"], &["bitrat=500000", "did you mean bitrate?"]),
        // Only the kernel can tell, when the change is made: the adapter's settings are restored. A bitrate cannot be
        // unset.
        (
            &["bitrate=500000", "restart-ms=100"],
            &[
                "slcan-poor",
                "restart-ms 100",
                "restart from Bus Off",
                "does not support all of these settings",
            ],
        ),
    ] {
        assert_eq!(controller("slcan-poor"), (None, "STOPPED".into()), "it was changed");
        assert_refused(scene.try_bus(&[&["adapter=slcan-poor"], options].concat()), words);
    }
    assert_eq!(controller("slcan-poor"), (Some(500_000), "STOPPED".into()));
    scene.assert_nothing_is_left();
    drop(scene);
    drop(adapter);
}
