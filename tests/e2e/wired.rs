//! CAN hardware across reboots: adapters in another order, and one that is plugged in late. `tests/suite` reboots the
//! machine; the name of each part starts with `reboot_`, so that a normal run excludes it.

use std::{fs, thread::sleep, time::Duration};

use crate::{
    hardware::hear,
    support::{
        canhub::says,
        docker::{Container, IMAGE, docker, try_docker},
        hardware::{BITRATE, KV0, KV1, controller, in_slot},
        host::Journal,
        member::Member,
        scene::prepare,
        shell::{eventually, run, say},
    },
};

const LEFT: &str = "e2e-wired-left";
const RIGHT: &str = "e2e-wired-right";
const MEMBERS: [(&str, &str); 3] =
    [("e2e-wired-one", LEFT), ("e2e-wired-two", LEFT), ("e2e-wired-far", RIGHT)];
/// How long after the boot the missing adapter is plugged in.
const LATE: Duration = Duration::from_secs(60);

#[test]
fn reboot_wired_before() {
    prepare();
    for (name, adapter) in [(LEFT, &KV0), (RIGHT, &KV1)] {
        let driver = crate::support::canhub::driver();
        let make = ["network", "create", "--driver", driver, "--ipam-driver", "null"];
        let identity = format!("adapter={}", adapter.path());
        let bitrate = format!("bitrate={BITRATE}");
        let options = ["-o", &*identity, "-o", &bitrate, "-o", "frames=classic", "-o", "txqueuelen=4096"];
        docker(&[&make, &options[..], &[name]].concat());
    }
    for (name, bus) in MEMBERS {
        let run = ["run", "--detach", "--restart", "always", "--name", name, "--network", bus];
        docker(&[&run[..], &[IMAGE, "sleep", "infinity"]].concat());
    }
    let [one, two, far] = members();
    hear(&[&one, &two, &far], &[&one, &two, &far], 20).unwrap_or_else(|err| panic!("{err}"));
    run("sync", &[]);
}

/// Their names are swapped; their identities are not.
#[test]
fn reboot_wired_swapped() {
    prepare();
    // udev may load the driver after Docker has started.
    eventually("the adapters swapped their names", || match [&KV0, &KV1].map(in_slot) {
        [Some(left), Some(right)] if (&*left, &*right) == ("can1", "can0") => Ok(()),
        names => Err(format!("{names:?}")),
    });
    let [one, two, far] = members();
    eventually("all members receive all frames", || hear(&[&one, &two, &far], &[&one, &two, &far], 50));
    // The host side of the left bus is the adapter in the left one's slot.
    let (left, right) = (Member::host("can1", 8), Member::host("can0", 9));
    hear(&[&one, &two, &left, &right], &[&one], 20).unwrap_or_else(|err| panic!("{err}"));
    let status: serde_json::Value = serde_json::from_str(&says("status --json")).expect("it is JSON");
    let carrier = |name: &str| {
        let buses = status["buses"].as_array().cloned().unwrap_or_default();
        let bus = buses.into_iter().find(|bus| bus["network_name"] == name);
        bus.map(|bus| bus["adapter"]["interface"].clone()).unwrap_or_default()
    };
    assert_eq!((carrier(LEFT), carrier(RIGHT)), ("can1".into(), "can0".into()), "{status:#}");
}

/// The left one was not plugged in at boot.
#[test]
fn reboot_wired_missing() {
    prepare();
    assert_eq!(in_slot(&KV0), None);
    let [one, two, far] = members();
    hear(&[&one, &two], &[&one, &two], 20).unwrap_or_else(|err| panic!("{err}"));
    hear(&[&far], &[&far], 20).unwrap_or_else(|err| panic!("{err}"));
    eventually("the status names the missing adapter", || {
        let shown = says("status");
        if shown.contains(&format!("waiting for adapter {}", KV0.path())) { Ok(()) } else { Err(shown) }
    });

    let uptime = fs::read_to_string("/proc/uptime").expect("/proc is mounted");
    let uptime = uptime.split('.').next().and_then(|seconds| seconds.parse().ok()).expect("it is a number");
    sleep(LATE.saturating_sub(Duration::from_secs(uptime)));
    let before: Vec<Container> = MEMBERS.iter().map(|(name, _)| Container::running(name)).collect();
    let journal = Journal::mark();
    KV0.plug_anywhere();
    eventually("all members receive all frames", || hear(&[&one, &two, &far], &[&one, &two, &far], 20));
    let interface = in_slot(&KV0).expect("it is plugged in");
    assert_eq!(controller(&interface), (Some(u64::from(BITRATE)), "ERROR-ACTIVE".into()));
    before.iter().for_each(Container::assert_untouched);
    let told = journal.until("of the adapter", |told| told.contains("healed"));
    assert_eq!(told.lines().filter(|line| line.contains("healed")).count(), 1, "{told}");
    say(&told);

    docker(&[&["rm", "--force"], &MEMBERS.map(|(name, _)| name)[..]].concat());
    docker(&["network", "rm", LEFT, RIGHT]);
}

fn members() -> [Member; 3] {
    [0, 1, 2].map(|at| {
        let (name, _) = MEMBERS[at];
        eventually(&format!("{name} runs"), || {
            let state = try_docker(&["inspect", "--format", "{{.State.Running}} {{.State.Error}}", name])?;
            if state.starts_with("true") { Ok(()) } else { Err(state) }
        });
        Container::running(name).member("can0", at as u8 + 1)
    })
}
