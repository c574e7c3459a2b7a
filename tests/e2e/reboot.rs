//! Across a reboot, in two parts: before and after. A normal run excludes both: `--skip reboot_`.

use std::{fs, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::support::{
    canhub,
    docker::{Container, IMAGE, Network, docker, try_docker},
    frames::{ALL_KINDS, assert_all_hear_all},
    host::{Traces, link},
    member::Member,
    report::Kind,
    scene::prepare,
    shell::{eventually, host_folder, run, sh},
};

/// What was created before, stored where it survives the reboot.
#[derive(Debug, Serialize, Deserialize)]
struct Before {
    boot: String,
    networks: Vec<Network>,
}

const HUB: &str = "vcan-reboot";
/// A bus without Docker, and its interface.
const MADE: &str = "e2e-reboot-made";
const MADE_HUB: &str = "vcan-made";
const MEMBERS: [&str; 3] = ["e2e-reboot-one", "e2e-reboot-two", "e2e-reboot-gate"];

fn note() -> PathBuf {
    host_folder().join("reboot-state.json")
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("/proc is mounted")
}

#[test]
fn reboot_before_containers_talk() {
    prepare();
    let network = |name: &str, option: &str| {
        let make = ["network", "create", "--driver", canhub::driver(), "--ipam-driver", "null"];
        let id = docker(&[&make, &["-o", option, name][..]].concat());
        Network { name: name.into(), id }
    };
    let networks =
        vec![network("e2e-reboot-body", &format!("hub={HUB}")), network("e2e-reboot-drive", "ifname=can1")];
    for name in MEMBERS {
        let bus = ["--network", "e2e-reboot-body", IMAGE, "sleep", "infinity"];
        docker(&[&["run", "--detach", "--restart", "always", "--name", name], &bus[..]].concat());
    }
    docker(&["network", "connect", "e2e-reboot-drive", MEMBERS[2]]);
    assert_they_talk(&networks);
    let made = canhub::says(&format!("bus create {MADE} -o hub={MADE_HUB}"));
    assert!(made.contains(MADE_HUB), "{made}");
    canhub::says(&format!("expect add {} 7A0 --every 1s", &networks[0].id[..12]));
    // With the boot a fault ends, even one without an end.
    let fault = canhub::says(&format!("fault {} cut --until-cleared", &networks[0].id[..12]));
    assert!(fault.contains("on purpose"), "{fault}");

    fs::write(note(), serde_json::to_vec(&Before { boot: boot(), networks }).unwrap()).unwrap();
    // So that even after a power cut Docker's files are on disk.
    run("sync", &[]);
}

#[test]
fn reboot_after_containers_talk_again_without_help() {
    let before: Before = serde_json::from_slice(&fs::read(note()).expect("reboot_before ran")).unwrap();
    assert_ne!(boot(), before.boot, "the machine was not rebooted");
    prepare();

    assert_they_talk(&before.networks);
    assert!(canhub::says("fault list").contains("No faults are in effect"));
    // What was expected still is, and is missed: nobody sends it.
    let network = &before.networks[0].id[..12];
    eventually("an expectation has survived the reboot", || {
        let listed = canhub::says("expect ls --json");
        if listed.contains("\"7A0\"") && listed.contains("\"down\"") { Ok(()) } else { Err(listed) }
    });
    canhub::says(&format!("expect rm {network} 7A0"));
    assert!(!canhub::says("expect ls --json").contains("7A0"));
    let drive = before.networks[1].hub();
    eventually("the journal has all hubs", || {
        let story =
            sh(&format!("journalctl -q --no-pager -b -u {} -g healed || true", canhub::journal_unit()));
        let told =
            |hub: &str| story.lines().any(|line| line.contains(hub) && line.contains("the hub was missing"));
        if told(HUB) && told(&drive) && told(MADE_HUB) { Ok(()) } else { Err(story) }
    });

    assert!(link(MADE_HUB).is_some(), "a bus without Docker comes back too");
    assert_eq!(canhub::says(&format!("bus rm {MADE}")), format!("{MADE}: removed"));

    docker(&[&["rm", "--force"], &MEMBERS[..]].concat());
    let names: Vec<&str> = before.networks.iter().map(|network| network.name.as_str()).collect();
    docker(&[&["network", "rm"], &names[..]].concat());
    fs::remove_file(note()).unwrap();
    eventually("nothing is left", || {
        let traces = Traces::now();
        let left = traces.of_canhub();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:#?}")) }
    });
    sh("! docker network ls | grep -q docker_gwbridge");
}

#[track_caller]
fn assert_they_talk(networks: &[Network]) {
    let running = MEMBERS.map(|name| {
        eventually(&format!("{name} runs"), || {
            let state = try_docker(&["inspect", "--format", "{{.State.Running}} {{.State.Error}}", name])?;
            if state.starts_with("true") { Ok(()) } else { Err(state) }
        });
        Container::running(name)
    });
    let [one, two, gate] = [0, 1, 2].map(|at| running[at].member("can0", at as u8 + 1));
    assert_all_hear_all(&[&one, &two, &gate, &Member::host(HUB, 9)], &ALL_KINDS, 50);
    let drive = running[2].member("can1", 4);
    assert_all_hear_all(&[&drive, &networks[1].host(5)], &[Kind::Classic, Kind::Fd], 50);
    assert_eq!(running[2].can_links(), ["can0", "can1"]);
}
