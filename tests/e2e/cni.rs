//! containerd and whoever else uses CNI: `canhub-cni` alone and in a chain.

use serde_json::{Value, json};

use crate::support::{
    canhub::{self, is_service},
    cni::{Ctr, call, conf},
    frames::{ALL_KINDS, assert_all_hear_all},
    host::{link, links},
    member::Member,
    netns::Netns,
    report::Kind,
    scene::Scene,
    shell::{eventually, run, sh},
};

#[test]
fn containers_of_containerd_hear_every_kind_of_frame_once_and_in_order() {
    let scene = Scene::new();
    let ctr = Ctr::new(
        "e2e-cni",
        &json!([{ "type": "canhub-cni", "interface": "can0", "options": { "hub": "vcan-ctr" } }]),
    );
    let [one, two] = [(), ()].map(|()| ctr.container());
    assert_eq!(one.can_links(), ["can0"]);
    let all = [one.member("can0", 1), two.member("can0", 2), Member::host("vcan-ctr", 3)];
    assert_all_hear_all(&all.each_ref(), &ALL_KINDS, 50);
    ctr.remove(&two.name);
    assert_all_hear_all(&[&all[0], &all[2]], &[Kind::Classic], 20);
    drop(ctr);
    eventually("the bus ends with its last container", || match link("vcan-ctr") {
        None => Ok(()),
        Some(link) => Err(format!("{link:?}")),
    });
    scene.assert_nothing_is_left();
}

#[test]
fn behind_other_plugins_a_container_has_their_interface_and_its_bus() {
    let scene = Scene::new();
    let ptp = json!({ "type": "ptp", "ipam": { "type": "host-local", "subnet": "10.99.0.0/24" } });
    let plugin = json!({ "type": "canhub-cni", "bus": "e2e-chain", "options": { "hub": "vcan-chain" } });
    let ctr = Ctr::new("e2e-lan", &json!([ptp, plugin]));
    let [one, two] = [(), ()].map(|()| ctr.container());
    assert!(one.run(&["ip", "-4", "addr", "show", "eth0"]).contains("10.99.0."));
    assert_eq!(one.can_links(), ["can0"]);
    let all = [one.member("can0", 1), two.member("can0", 2), Member::host("vcan-chain", 3)];
    assert_all_hear_all(&all.each_ref(), &ALL_KINDS, 50);
    drop(ctr);
    eventually("nothing of ptp is left", || {
        let left: Vec<_> = links().into_iter().filter(|link| link.ifname.starts_with("veth")).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    scene.assert_nothing_is_left();
}

#[test]
fn behind_loopback_check_finds_what_is_wrong_in_a_container() {
    let scene = Scene::new();
    let options = json!({ "hub": "vcan-lo", "heal": "off" });
    // `loopback` leaves the runtime's `eth0` to the next plugin.
    let plugin = json!({ "type": "canhub-cni", "bus": "e2e-lo", "interface": "can0", "options": options });
    let ctr = Ctr::new("e2e-lo", &json!([{ "type": "loopback" }, plugin]));
    let one = ctr.container();
    assert!(one.run(&["ip", "link", "show", "lo"]).contains("LOOPBACK,UP"), "the other plugin ran");
    assert_eq!(one.can_links(), ["can0"]);
    assert_all_hear_all(&[&one.member("can0", 1), &Member::host("vcan-lo", 2)], &ALL_KINDS, 20);
    let check = || ctr.call("CHECK", &plugin, &one);
    assert_eq!(check(), Ok(Value::Null));
    let ip = |args: &str| sh(&format!("nsenter --net=/proc/{}/ns/net ip {args}", one.pid));
    ip("link set can0 down");
    let wrong = check().expect_err("it is damaged");
    assert_eq!(wrong["code"], 102, "{wrong}");
    assert!(wrong["msg"].as_str().is_some_and(|msg| msg.contains("can0")), "{wrong}");
    ip("link set can0 up");
    assert_eq!(check(), Ok(Value::Null));
    for _ in 0..2 {
        assert_eq!(ctr.call("DEL", &plugin, &one), Ok(Value::Null));
        assert_eq!(one.can_links(), [""; 0]);
    }
    assert_eq!(check().expect_err("it is detached")["code"], 101);
    drop(ctr);
    scene.assert_nothing_is_left();
}

/// What `cnitool` does: each command with its environment and stdin.
#[test]
fn the_plugin_does_what_the_specification_says() {
    let scene = Scene::new();
    let versions = call("VERSION", "", &[]).expect("VERSION needs nothing");
    assert_eq!(versions["cniVersion"], "1.1.0");
    let speaks = |version: &str| versions["supportedVersions"].as_array().unwrap().contains(&version.into());
    assert!(speaks("0.4.0") && speaks("1.0.0") && speaks("1.1.0"), "{versions}");

    let sandbox = Netns::new();
    let options = json!({ "hub": "vcan-spec", "heal": "off" });
    let alone =
        |version: &str| conf(version, "e2e-spec", &json!({ "interface": "can0", "options": options }));
    assert_eq!(sandbox.call("STATUS", &alone("1.1.0")), Ok(Value::Null));

    for version in ["0.4.0", "1.0.0", "1.1.0"] {
        let conf = alone(version);
        let result = sandbox.call("ADD", &conf).expect("ADD works");
        assert_eq!(result["cniVersion"], version);
        let mut interface = json!({ "name": "can0", "sandbox": sandbox.path() });
        if version == "1.1.0" {
            interface["mtu"] = 72.into();
        }
        assert_eq!(result["interfaces"], json!([interface]));
        assert_eq!(result["ips"], json!([]));
        assert_eq!(sandbox.can_links(), "can0");

        let mut with_result = conf.clone();
        with_result["prevResult"] = result;
        assert_eq!(sandbox.call("CHECK", &with_result), Ok(Value::Null));
        assert_eq!(sandbox.call("DEL", &with_result), Ok(Value::Null));
        assert_eq!(sandbox.call("DEL", &with_result), Ok(Value::Null), "DEL again");
        let gone = sandbox.call("CHECK", &with_result).expect_err("it is detached");
        assert_eq!(gone["code"], 101, "{gone}");
        assert_eq!(sandbox.can_links(), "");
    }
    assert!(link("vcan-spec").is_none(), "the bus ends with its last container");
    scene.assert_nothing_is_left();
}

#[test]
fn check_names_the_damage_until_it_is_repaired() {
    let scene = Scene::new();
    let sandbox = Netns::new();
    let options = json!({ "hub": "vcan-check", "heal": "off" });
    let mut conf = conf("1.1.0", "e2e-check", &json!({ "interface": "can0", "options": options }));
    conf["prevResult"] = sandbox.call("ADD", &conf).expect("ADD works");
    assert_eq!(sandbox.call("CHECK", &conf), Ok(Value::Null));
    for (damage, repair, words) in [
        ("link set can0 down", "link set can0 up", "can0"),
        ("link set can0 mtu 16", "link set can0 mtu 72", "MTU"),
    ] {
        sandbox.ip("link set can0 down");
        sandbox.ip(damage);
        if damage.contains("mtu") {
            sandbox.ip("link set can0 up");
        }
        let wrong = sandbox.call("CHECK", &conf).expect_err("it is damaged");
        assert_eq!(wrong["code"], 102, "{wrong}");
        assert!(wrong["msg"].as_str().unwrap().contains(words), "{words}: {wrong}");
        sandbox.ip("link set can0 down");
        sandbox.ip(repair);
        sandbox.ip("link set can0 up");
        assert_eq!(sandbox.call("CHECK", &conf), Ok(Value::Null), "{repair}");
    }
    sandbox.call("DEL", &conf).unwrap();

    // With healing, the check passes again by itself.
    conf["options"] = json!({ "hub": "vcan-check" });
    conf.as_object_mut().unwrap().remove("prevResult");
    conf["prevResult"] = sandbox.call("ADD", &conf).expect("ADD works");
    run("ip", &["link", "set", "vcan-check", "down"]);
    eventually("the bus is healed", || {
        sandbox.call("CHECK", &conf).map(|_| ()).map_err(|err| err.to_string())
    });
    sandbox.call("DEL", &conf).unwrap();
    scene.assert_nothing_is_left();
}

#[test]
fn gc_detaches_what_the_runtime_no_longer_has() {
    let scene = Scene::new();
    let [kept, lost, other] = [(), (), ()].map(|()| Netns::new());
    let fields = json!({ "bus": "e2e-gc", "interface": "can0", "options": { "hub": "vcan-gc" } });
    let (ours, others) = (conf("1.1.0", "e2e-gc", &fields), conf("1.1.0", "e2e-gc-other", &fields));
    for sandbox in [&kept, &lost] {
        sandbox.call("ADD", &ours).expect("ADD works");
    }
    other.call("ADD", &others).expect("ADD works");
    let mut gc = ours.clone();
    let refused = call("GC", &gc.to_string(), &[]).expect_err("without a list nothing is removed");
    assert_eq!(refused["code"], 7, "{refused}");
    gc["cni.dev/valid-attachments"] = json!([{ "containerID": kept.name, "ifname": "eth0" }]);
    assert_eq!(call("GC", &gc.to_string(), &[]), Ok(Value::Null));
    assert_eq!([&kept, &lost, &other].map(Netns::can_links), ["can0", "", "can0"]);
    kept.call("DEL", &ours).unwrap();
    other.call("DEL", &others).unwrap();
    scene.assert_nothing_is_left();
}

#[test]
fn a_pod_has_its_own_name_and_options() {
    let scene = Scene::new();
    let sandbox = Netns::new();
    let mut conf =
        conf("1.1.0", "e2e-pod", &json!({ "interface": "can0", "options": { "hub": "vcan-k8s" } }));
    // As Multus passes `cni-args` and the interface of a pod's annotation.
    conf["args"] = json!({ "cni": { "rate": "50000" } });
    let pod =
        [("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=lab;K8S_POD_NAME=engine"), ("CNI_IFNAME", "can5")];
    let result = sandbox.call_with("ADD", &conf, &pod).expect("ADD works");
    assert_eq!(result["interfaces"][0]["name"], "can5");
    let status = canhub::says("status --json");
    assert!(status.contains("lab/engine") && status.contains("50000"), "{status}");
    sandbox.call_with("DEL", &conf, &pod).unwrap();
    scene.assert_nothing_is_left();
}

#[test]
fn del_works_without_canhub_and_the_connection_ends_with_the_namespace() {
    if !is_service("cni::del_works_without_canhub_and_the_connection_ends_with_the_namespace") {
        return;
    }
    let scene = Scene::new();
    let sandbox = Netns::new();
    let conf = conf("1.1.0", "e2e-down", &json!({ "interface": "can0", "options": { "hub": "vcan-down" } }));
    sandbox.call("ADD", &conf).expect("ADD works");
    canhub::stop();
    let add = Netns::new().call("ADD", &conf).expect_err("canhub is down");
    let status = sandbox.call("STATUS", &conf).expect_err("canhub is down");
    let del = sandbox.call("DEL", &conf);
    drop(sandbox);
    canhub::start();
    assert_eq!((&add["code"], &status["code"]), (&11.into(), &50.into()), "{add} {status}");
    assert!(add["msg"].as_str().unwrap().contains("systemctl"), "{add}");
    assert_eq!(del, Ok(Value::Null));
    eventually("nothing is left", || {
        if scene.traces().is_empty() { Ok(()) } else { Err(format!("{:#?}", scene.traces())) }
    });
}

#[test]
fn wrong_calls_are_refused_with_the_number_and_the_reason() {
    let scene = Scene::new();
    let sandbox = Netns::new();
    let with = |fields: &Value| conf("1.1.0", "e2e-wrong", fields);
    let no_namespace = [("CNI_NETNS", "/run/netns/e2e-none")];
    let no_file_system = [("CNI_NETNS", "/etc/hostname")];
    let host = [("CNI_NETNS", "/proc/1/ns/net")];
    for (fields, variables, code, words) in [
        (json!({ "cniVersion": "0.2.0" }), &[][..], 1, "0.2.0"),
        (json!({ "buss": "body" }), &[], 2, "did you mean bus?"),
        (json!({ "ipam": { "type": "host-local" } }), &[], 2, "no addresses"),
        (json!({ "name": "a/b" }), &[], 7, "a/b"),
        (json!({ "options": { "bitrat": "500000" } }), &[], 7, "did you mean bitrate?"),
        (json!({ "options": { "bitrate": 500000 } }), &[], 6, "expected a string"),
        (json!({ "containerOptions": { "rate": "fast" } }), &[], 7, "rate=fast"),
        (json!({}), &[("CNI_CONTAINERID", "../x")], 4, "CNI_CONTAINERID"),
        (json!({}), &[("CNI_IFNAME", "sixteen-bytes-xx")], 4, "16 bytes"),
        (json!({ "options": { "adapter": "e2e-none", "adapter-wait": "fail" } }), &[], 100, "e2e-none"),
        (json!({}), &no_namespace, 100, "/run/netns/e2e-none"),
        (json!({}), &no_file_system, 100, "/etc/hostname"),
        (json!({}), &host, 100, "host"),
        (json!({ "interface": "lo" }), &[], 100, "lo"),
    ] {
        let refused = sandbox.call_with("ADD", &with(&fields), variables).expect_err(words);
        assert_eq!(refused["code"], code, "{refused}");
        assert!(refused["msg"].as_str().unwrap().contains(words), "{words}: {refused}");
        assert!(refused["cniVersion"].is_string());
    }
    assert_eq!(
        call("ADD", "{", &[("CNI_CONTAINERID", "a"), ("CNI_NETNS", "b"), ("CNI_IFNAME", "c")]).unwrap_err()["code"],
        6
    );
    assert_eq!(sandbox.can_links(), "");
    scene.assert_nothing_is_left();
}
