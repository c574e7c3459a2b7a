//! Invalid requests: one sentence says what, why and what to do, and nothing half-created is left.

use crate::support::{
    canhub::{self, Second, is_service},
    docker::try_docker,
    frames::assert_all_hear_all,
    host::link,
    member::Member,
    report::Kind,
    scene::Scene,
    shell::{assert_refused, run, sh},
};

/// Asserts that `docker network create` fails like this, and leaves neither a network nor anything of canhub.
#[track_caller]
fn create_is_refused(args: &[&str], words: &[&str]) {
    let scene = Scene::new();
    let networks = || run("docker", &["network", "ls", "--quiet"]);
    let before = networks();
    assert_refused(scene.try_network(canhub::driver(), args), words);
    assert_eq!(networks(), before);
    scene.assert_nothing_is_left();
}

#[test]
fn an_unknown_option_is_refused_with_the_closest_known_one() {
    create_is_refused(&["-o", "hubb=body"], &["hubb=body", "did you mean hub?", "adapter", "ifname"]);
}

#[test]
fn a_name_of_16_bytes_is_refused() {
    create_is_refused(
        &["-o", "hub=sixteen-bytes-xx"],
        &["hub=sixteen-bytes-xx", "16 bytes", "allows 15", "use a name like"],
    );
}

#[test]
fn an_invalid_interface_name_is_refused() {
    create_is_refused(&["-o", "ifname=can/0"], &["ifname=can/0", "'/'", "use a name like can0"]);
}

#[test]
fn an_adapter_that_is_not_can_is_refused() {
    let words = ["docker0", "is not a CAN interface", "ip link show type can"];
    create_is_refused(&["-o", "adapter=docker0"], &words);
}

#[test]
fn ipv6_is_refused() {
    // Not with null IPAM: Docker 26 itself refuses that combination with IPv6.
    let scene = Scene::new();
    let asked = ["network", "create", "--driver", canhub::driver(), "--ipv6", "--subnet", "fd00:e2e::/64"];
    let result = try_docker(&[&asked[..], &["e2e-ipv6"]].concat());
    assert_refused(result, &["IPv6 is not possible on CAN", "without --ipv6"]);
    scene.assert_nothing_is_left();
}

#[test]
fn a_comma_in_a_value_is_refused() {
    create_is_refused(&["-o", "hub=one,two"], &["hub=one,two", "comma"]);
}

#[test]
fn the_name_of_an_interface_that_is_not_canhubs_is_refused_as_a_hub() {
    let scene = Scene::new();
    scene.foreign_vcan("vcan-mine");
    let words = ["vcan-mine", "is not canhub's", "choose another name", "adapter=vcan-mine"];
    create_is_refused(&["-o", "hub=vcan-mine"], &words);
    assert!(link("vcan-mine").is_some_and(|link| link.is_up() && link.ifalias.is_empty()));
}

#[test]
fn a_second_network_with_the_same_hub_is_refused() {
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-once"]);
    let ecu = scene.container(&bus);
    create_is_refused(&["-o", "hub=vcan-once"], &["vcan-once", "already the bus", "choose another hub"]);
    assert_all_hear_all(&[&ecu.member("can0", 1), &bus.host(2)], &[Kind::Classic], 20);
}

/// Asserts that the container does not start, and that nothing of it is left.
#[track_caller]
fn run_is_refused(scene: &Scene, args: &[&str], words: &[&str]) {
    let before = scene.traces();
    assert_refused(scene.try_run(args, &["sleep", "infinity"]), words);
    assert_eq!(scene.traces(), before);
}

#[test]
fn with_adapter_wait_fail_the_missing_adapter_is_named() {
    let scene = Scene::new();
    let bus = scene.network(&["adapter=can-absent", "adapter-wait=fail"]);
    let words = ["adapter can-absent not found", "plug it in", "ip -br link", "start the container again"];
    run_is_refused(&scene, &["--network", &bus.name], &words);

    scene.foreign_vcan("can-absent");
    let ecu = scene.container(&bus);
    let adapter = Member::host("can-absent", 2);
    assert_all_hear_all(&[&ecu.member("can0", 1), &adapter], &[Kind::Classic], 20);
}

#[test]
fn a_mac_address_is_refused() {
    let scene = Scene::new();
    let bus = scene.network(&[]);
    run_is_refused(
        &scene,
        &["--network", &bus.name, "--mac-address", "02:42:ac:11:00:02"],
        &["no MAC address", "--mac-address", "02:42:ac:11:00:02"],
    );
}

#[test]
fn two_networks_with_the_same_interface_name_are_refused() {
    let scene = Scene::new();
    let (one, two) = (scene.network(&[]), scene.network(&[]));
    let ecu = scene.container(&one);
    assert_refused(
        try_docker(&["network", "connect", &two.name, &ecu.name]),
        &["already has an interface can0", "-o ifname=", "com.docker.network.endpoint.ifname"],
    );
    assert_all_hear_all(&[&ecu.member("can0", 1), &one.host(2)], &[Kind::Classic], 20);
}

#[test]
fn an_unwritable_state_folder_is_named() {
    const DIR: &str = "/run/e2e-state";
    if !is_service("bad_input::an_unwritable_state_folder_is_named") {
        return;
    }
    let scene = Scene::new();
    for (name, mount) in [
        ("canhub-full", "mount -t tmpfs -o size=64k none DIR && head -c 64k /dev/zero >DIR/fill"),
        ("canhub-readonly", "mount -t tmpfs -o ro none DIR"),
    ] {
        sh(&format!("mkdir -p {DIR} && {}", mount.replace("DIR", DIR)));
        let second = Second::start(name, &[], &["--state-dir", DIR]);
        second.undo(&format!("umount {DIR}; rmdir {DIR}"));
        assert_refused(
            scene.try_network(second.driver(), &[]),
            &["cannot write", "/run/e2e-state/state.json", "free some space", "--state-dir"],
        );
        drop(second);
        scene.assert_nothing_is_left();
    }
}

#[test]
fn a_missing_capability_is_named() {
    if !is_service("bad_input::a_missing_capability_is_named") {
        return;
    }
    let scene = Scene::new();
    let bound = ["--property=CapabilityBoundingSet=CAP_SYS_ADMIN CAP_SYS_MODULE CAP_DAC_OVERRIDE"];
    let second = Second::start("canhub-bound", &bound, &["--state-dir", "/run/e2e-bound"]);
    second.undo("rm -rf /run/e2e-bound");
    let refused = scene.try_network(second.driver(), &[]);
    assert_refused(refused, &["CAP_NET_ADMIN", "run it as root or from its systemd unit"]);
    scene.assert_nothing_is_left();
}
