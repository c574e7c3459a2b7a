//! Podman's containers as systemd units (Quadlet), across a reboot. Before and after, as in `reboot`.

use std::fs;

use crate::support::{
    canhub,
    docker::{IMAGE, make_image_of},
    frames::{ALL_KINDS, assert_all_hear_all},
    host::link,
    member::Member,
    podman::{members, running, try_podman},
    scene::prepare,
    shell::{eventually, host_folder, not_run, run, sh},
};

const UNITS: &str = "/etc/containers/systemd";
const HUB: &str = "vcan-quadlet";
const MEMBERS: [&str; 3] = ["e2e-quadlet-one", "e2e-quadlet-two", "e2e-quadlet-three"];

/// As in README.md.
fn write_units() {
    fs::create_dir_all(UNITS).expect("root may write /etc");
    let network = format!(
        "[Unit]\nWants=canhub.service\nAfter=canhub.service\n\n\
         [Network]\nNetworkName=e2e-quadlet\nDriver=canhub\nIPAMDriver=none\nOptions=hub={HUB}\n"
    );
    fs::write(format!("{UNITS}/e2e-quadlet.network"), network).unwrap();
    for name in MEMBERS {
        let unit = format!(
            "[Container]\nContainerName={name}\nImage=localhost/{IMAGE}\nPull=never\nNetwork=e2e-quadlet.network\n\
             Exec=sleep infinity\n\n[Service]\nRestart=always\n\n[Install]\nWantedBy=multi-user.target\n"
        );
        fs::write(format!("{UNITS}/{name}.container"), unit).unwrap();
    }
}

fn is_possible(test: &str) -> bool {
    if canhub::is_plugin() {
        not_run(test, "a managed plugin does not see the namespaces of other engines");
    }
    !canhub::is_plugin()
}

fn note() -> std::path::PathBuf {
    host_folder().join("quadlet-boot")
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("/proc is mounted")
}

#[track_caller]
fn assert_they_talk() {
    let containers = MEMBERS.map(running);
    let mut all = members(&containers.each_ref());
    all.push(Member::host(HUB, 9));
    assert_all_hear_all(&all.iter().collect::<Vec<_>>(), &ALL_KINDS, 20);
}

#[test]
fn reboot_before_units_start_containers() {
    if !is_possible("quadlet::reboot_before_units_start_containers") {
        return;
    }
    prepare();
    make_image_of("podman");
    write_units();
    run("systemctl", &["daemon-reload"]);
    run("systemctl", &[&["start"], &MEMBERS[..]].concat());
    assert_they_talk();
    fs::write(note(), boot()).unwrap();
    run("sync", &[]);
}

#[test]
fn reboot_after_units_have_started_the_containers_again() {
    if !is_possible("quadlet::reboot_after_units_have_started_the_containers_again") {
        return;
    }
    let before = fs::read_to_string(note()).expect("reboot_before ran");
    assert_ne!(boot(), before, "the machine was not rebooted");
    prepare();
    eventually("the units are active", || {
        let states = sh(&format!("systemctl is-active {} || true", MEMBERS.join(" ")));
        if states.lines().all(|state| state == "active") { Ok(()) } else { Err(states) }
    });
    assert_they_talk();

    run("systemctl", &[&["stop"], &MEMBERS[..], &["e2e-quadlet-network"]].concat());
    for name in MEMBERS {
        fs::remove_file(format!("{UNITS}/{name}.container")).unwrap();
    }
    fs::remove_file(format!("{UNITS}/e2e-quadlet.network")).unwrap();
    fs::remove_file(note()).unwrap();
    run("systemctl", &["daemon-reload"]);
    let _ = try_podman(&["network", "rm", "--force", "e2e-quadlet"]);
    eventually("the bus has ended with its last container", || match link(HUB) {
        None => Ok(()),
        Some(link) => Err(format!("{link:?}")),
    });
}
