//! Podman: canhub as a netavark plugin.

use std::thread;

use serde_json::Value;

use crate::restart::Flow;
use crate::support::{
    canhub::{self, is_service},
    frames::{ALL_KINDS, assert_all_hear_all, each_bus_hears_itself},
    host::link,
    member::Member,
    podman::{Pods, members, podman, running, try_podman},
    report::Kind,
    scene::Scene,
    shell::{assert_refused, eventually, run, sh},
};

#[test]
fn containers_on_two_buses_hear_every_kind_of_frame_once_and_in_order() {
    let scene = Scene::new();
    let pods = Pods::new();
    let (body, drive) =
        (pods.network(&["hub=vcan-pod-body"]), pods.network(&["hub=vcan-pod-drive", "ifname=can1"]));
    let [one, two] = [(), ()].map(|()| pods.container(&[&body]));
    let gate = pods.container(&[&body, &drive]);
    let engine = pods.container(&[&format!("{drive}:interface_name=can7")]);
    assert_eq!(gate.can_links(), ["can0", "can1"]);
    assert_eq!(engine.can_links(), ["can7"]);

    let on_body = members(&[&one, &two, &gate]);
    let on_drive = [gate.member("can1", 4), engine.member("can7", 5)];
    let hosts = [Member::host("vcan-pod-body", 8), Member::host("vcan-pod-drive", 9)];
    let body_bus: Vec<&Member> = on_body.iter().chain([&hosts[0]]).collect();
    let drive_bus: Vec<&Member> = on_drive.iter().chain([&hosts[1]]).collect();
    each_bus_hears_itself(&[&body_bus, &drive_bus], &ALL_KINDS, 50).unwrap_or_else(|err| panic!("{err}"));

    // A bus that Podman's containers made ends with the last of them.
    drop(pods);
    assert_eq!(link("vcan-pod-body").map(|link| link.ifname), None);
    scene.assert_nothing_is_left();
}

#[test]
fn a_running_container_can_be_connected_and_disconnected() {
    let scene = Scene::new();
    let pods = Pods::new();
    let (home, bus) = (pods.network(&["ifname=can9"]), pods.network(&["hub=vcan-pod-visit"]));
    let (resident, visitor) = (pods.container(&[&bus]), pods.container(&[&home]));
    let (resident, host) = (resident.member("can0", 1), Member::host("vcan-pod-visit", 2));
    let before = scene.traces();
    for _ in 0..2 {
        podman(&["network", "connect", &bus, &visitor.name]);
        assert_eq!(visitor.can_links(), ["can0", "can9"]);
        assert_all_hear_all(&[&resident, &host, &visitor.member("can0", 3)], &[Kind::Classic, Kind::Fd], 20);
        podman(&["network", "disconnect", &bus, &visitor.name]);
        assert_eq!(visitor.can_links(), ["can9"]);
        assert_eq!(scene.traces(), before);
    }
}

#[test]
fn however_a_podman_container_ends_nothing_is_left_behind() {
    let scene = Scene::new();
    let pods = Pods::new();
    let bus = pods.network(&["hub=vcan-pod-end"]);
    let stays = pods.container(&[&bus]);
    let with_one = scene.traces();
    let [stopped, killed, removed, restarted] = [(), (), (), ()].map(|()| pods.container(&[&bus]));

    podman(&["stop", "--time", "0", &stopped.name]);
    run("kill", &["-KILL", &killed.pid.to_string()]);
    podman(&["rm", "--force", "--time", "0", &removed.name]);
    podman(&["restart", "--time", "0", &restarted.name]);
    let again = running(&restarted.name);
    assert_ne!(again.pid, restarted.pid);
    assert_all_hear_all(
        &[&stays.member("can0", 1), &again.member("can0", 2), &Member::host("vcan-pod-end", 3)],
        &[Kind::Classic, Kind::Fd],
        20,
    );
    podman(&["rm", "--force", "--time", "0", &restarted.name]);
    eventually("all but one container are gone", || {
        let left = scene.traces();
        if left == with_one { Ok(()) } else { Err(format!("{left:#?}")) }
    });
    // A stopped container comes back and joins the bus again.
    podman(&["start", &stopped.name]);
    let back = running(&stopped.name);
    assert_all_hear_all(&[&stays.member("can0", 1), &back.member("can0", 2)], &[Kind::Classic], 20);
}

#[test]
fn canhub_killed_under_traffic_of_podman_loses_nothing() {
    if !is_service("podman::canhub_killed_under_traffic_of_podman_loses_nothing") {
        return;
    }
    let scene = Scene::new();
    let pods = Pods::new();
    let bus = pods.network(&["hub=vcan-pod-kill"]);
    let (one, two) = (pods.container(&[&bus]).member("can0", 1), pods.container(&[&bus]).member("can0", 2));
    let host = Member::host("vcan-pod-kill", 9);
    let before = scene.traces();
    let flow = Flow::start(&one, &[&two, &host]);
    for _ in 0..3 {
        canhub::crash();
    }
    assert_eq!(scene.traces(), before, "existing links and rules are adopted and left alone");
    // A container that starts while canhub restarts waits for it.
    let late = thread::scope(|scope| {
        scope.spawn(canhub::crash);
        pods.container(&[&bus])
    });
    flow.end_unharmed();
    assert_all_hear_all(&[&one, &two, &late.member("can0", 3), &host], &[Kind::Classic, Kind::Fd], 20);
}

#[test]
fn containers_of_podman_and_docker_share_a_bus() {
    let scene = Scene::new();
    let bus = scene.network(&[]);
    let pods = Pods::new();
    pods.try_network(&bus.name, &[]).unwrap_or_else(|err| panic!("{err}"));
    let (docker, pod) = (scene.container(&bus), pods.container(&[&bus.name]));
    let all = [docker.member("can0", 1), pod.member("can0", 2), bus.host(3)];
    assert_all_hear_all(&all.each_ref(), &ALL_KINDS, 50);
    // The network is Docker's, and outlives Podman's containers.
    drop(pods);
    assert_all_hear_all(&[&all[0], &all[2]], &[Kind::Classic], 20);
}

#[test]
fn a_podman_container_has_its_own_name_options_and_health() {
    let scene = Scene::new();
    let pods = Pods::new();
    let bus = pods.network(&["hub=vcan-pod-own"]);
    let ecu = pods.container(&[&format!("{bus}:interface_name=can7,rate=50000,allow-tx=100-1ff")]);
    assert_eq!(ecu.can_links(), ["can7"]);
    assert!(ecu.qdisc("show dev can7").contains("tbf") || !ecu.qdisc("show dev can7").is_empty());
    let status: Value = serde_json::from_str(&canhub::says("status --json")).unwrap();
    let of_bus = status["buses"].as_array().unwrap().iter().find(|one| one["hub"] == "vcan-pod-own");
    let text = of_bus.unwrap_or_else(|| panic!("{status:#}")).to_string();
    assert!(text.contains(&ecu.name) && text.contains("50000"), "{text}");
    // A part of the connection that disappears is put back.
    let end = ecu.host_end("can7").ifname;
    run("ip", &["link", "set", &end, "down"]);
    eventually("the host end is up again", || match link(&end) {
        Some(link) if link.is_up() => Ok(()),
        other => Err(format!("{other:?}")),
    });
    drop(pods);
    scene.assert_nothing_is_left();
}

#[test]
fn wrong_podman_networks_are_refused_in_one_sentence() {
    let scene = Scene::new();
    let pods = Pods::new();
    for (options, words) in [
        (&["hubb=body"][..], &["hubb=body", "did you mean hub?"][..]),
        (&["bitrate=500000"], &["bitrate=500000", "add adapter=can0"]),
        (&["hub=sixteen-bytes-xx"], &["16 bytes", "allows 15"]),
        (&["ifname=can/0"], &["ifname=can/0", "'/'"]),
        (&["frames=canfd"], &["frames=canfd", "classic, fd or xl"]),
        (&["hub=vcan-x", "adapter=can0"], &["mutually exclusive"]),
    ] {
        assert_refused(pods.try_network("e2e-wrong", options), words);
    }
    let create = |flags: &[&str]| {
        try_podman(&[&["network", "create", "--driver", "canhub"], flags, &["e2e-wrong"]].concat())
    };
    assert_refused(create(&["--subnet", "10.99.0.0/24"]), &["--subnet", "no IP addresses"]);
    assert_refused(create(&["--interface-name", "vcan-x"]), &["-o hub=vcan-x"]);
    assert_refused(create(&["--ipam-driver", "host-local"]), &["--ipam-driver none"]);
    assert!(!podman(&["network", "ls", "--quiet"]).contains("e2e-wrong"));

    // What only turns out when a container starts.
    let bus = pods.network(&[]);
    assert_refused(pods.try_run(&[&format!("{bus}:rate=fast")]), &["rate=fast"]);
    assert_refused(pods.try_run(&[&format!("{bus}:mac=aa:bb:cc:dd:ee:ff")]), &["no MAC address"]);
    let second = pods.network(&[]);
    assert_refused(pods.try_run(&[&bus, &second]), &["can0"]);
    let missing = pods.network(&["adapter=e2e-none", "adapter-wait=fail"]);
    assert_refused(pods.try_run(&[&missing]), &["e2e-none", "not found"]);
    drop(pods);
    scene.assert_nothing_is_left();
}

/// The plugin as `make install` puts it: netavark's description of what it must answer.
#[test]
fn the_plugin_describes_itself() {
    let plugin = sh("ls /usr/local/lib/netavark/canhub");
    let info: Value = serde_json::from_str(&run(&plugin, &["info"])).unwrap();
    assert_eq!(info["api_version"], "1.0.0");
    assert!(info["version"].as_str().is_some_and(|version| !version.is_empty()));
    let broken = sh(&format!("echo '{{' | {plugin} create || true"));
    let broken: Value = serde_json::from_str(&broken).unwrap();
    assert!(broken["error"].as_str().unwrap().contains("cannot read Podman's request"), "{broken}");
}
