//! Names: those of containers as Docker has them now, and those of interfaces, which never depend on chance.

use serde_json::Value;

use crate::support::{
    canhub::{self, is_service, says},
    docker::{Container, docker},
    frames::assert_hears,
    host::{Journal, ip_link},
    report::Kind,
    scene::{Scene, unique},
    shell::{assert_refused, eventually},
};

/// Enough starts that a random order shows: with two networks, six in the same order by chance are one in 32.
const STARTS: usize = 6;

#[test]
fn a_renamed_container_has_its_new_name_in_status_json_metrics_and_log() {
    if !is_service("names::a_renamed_container_has_its_new_name_in_status_json_metrics_and_log") {
        return;
    }
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-renamed"]);
    let ecu = scene.container(&bus);
    ecu.member("can0", 1);
    let shown = || {
        let metrics = canhub::ask("/metrics");
        let series: Vec<&str> = metrics.lines().filter(|line| line.contains("container=")).collect();
        [says("status"), says("status --json"), series.join("\n")]
    };
    // As the old name may be a part of the new one, words are compared.
    let has = |text: &str, name: &str| {
        text.split(|c: char| !c.is_alphanumeric() && c != '-').any(|word| word == name)
    };
    let until_named = |name: &str, before: Option<&str>| {
        eventually(&format!("status, JSON and metrics say {name}"), || {
            let shown = shown();
            let old = |text: &String| before.is_some_and(|before| has(text, before));
            match shown.iter().find(|text| !has(text, name) || old(text)) {
                None => Ok(()),
                Some(text) => Err(text.clone()),
            }
        });
    };
    until_named(&ecu.name, None);

    let new = unique("renamed");
    docker(&["rename", &ecu.name, &new]);
    scene.undo({
        let (new, old) = (new.clone(), ecu.name.clone());
        move || drop(crate::support::docker::try_docker(&["rm", "--force", &new, &old]))
    });
    until_named(&new, Some(&ecu.name));
    let journal = Journal::mark();
    ip_link(&["del", &ecu.host_end("can0").ifname]);
    let told = journal.until("of the heal", |told| told.contains("the pair was missing"));
    let line = told.lines().find(|line| line.contains("the pair was missing")).unwrap_or_default();
    assert!(has(line, &new) && !has(line, &ecu.name), "{line}");
    // For the scene, which removes it under the name that it gave.
    docker(&["rename", &new, &ecu.name]);
    until_named(&ecu.name, Some(&new));
}

#[test]
fn a_container_on_two_networks_with_the_same_prefix_is_refused_and_both_are_named() {
    let scene = Scene::new();
    let buses = ["1", "2"]
        .map(|id| scene.network(&["vxcan.dev=vcan-same", &format!("vxcan.id={id}"), "vxcan.peer=p"]));
    if !canhub::is_plugin() {
        until_status_names(&buses.each_ref().map(|bus| &*bus.name));
    }
    let names = buses.each_ref().map(|bus| if canhub::is_plugin() { &bus.id[..12] } else { &bus.name });
    let args = ["--network", &buses[0].name, "--network", &buses[1].name];
    // It may be refused at the one or the other, and never runs.
    for _ in 0..STARTS {
        let refused = scene.try_run(&args, &["sleep", "infinity"]);
        assert_refused(refused, &[names[0], names[1], "random order", "vxcan.peer=", "ifname="]);
    }
}

fn until_status_names(names: &[&str]) {
    eventually(&format!("canhub knows the networks as {names:?}"), || {
        let status = says("status --json");
        let status: Value = serde_json::from_str(&status).map_err(|err| err.to_string())?;
        let known: Vec<&str> = status["buses"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|bus| bus["network_name"].as_str())
            .collect();
        if names.iter().all(|name| known.contains(name)) { Ok(()) } else { Err(format!("{known:?}")) }
    });
}

#[test]
fn with_distinct_prefixes_each_bus_keeps_its_interface_across_restarts() {
    let scene = Scene::new();
    let [left, right] = [("1", "p"), ("2", "q")].map(|(id, peer)| {
        let options = ["vxcan.dev=vcan-two".into(), format!("vxcan.id={id}"), format!("vxcan.peer={peer}")];
        scene.network(&options.each_ref().map(String::as_str))
    });
    let name = scene.container_with(&["--network", &left.name, "--network", &right.name]).name;
    for start in 0..STARTS {
        if start > 0 {
            docker(&["restart", "--time", "0", &name]);
        }
        let ecu = Container::running(&name);
        let [p0, q0] = [ecu.member("p0", 1), ecu.member("q0", 2)];
        assert_eq!(ecu.can_links(), ["p0", "q0"], "at start {start}");
        // Each is on its own bus, whatever it is called.
        for (end, bus) in [(p0, &left), (q0, &right)] {
            assert_hears(&bus.host(9), &[&end], &[Kind::Classic], 5);
        }
    }
}
