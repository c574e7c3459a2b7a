//! Whatever is broken of an attachment is healed.

use std::time::Instant;

use serde_json::Value;

use super::{bus, canhub};
use crate::support::{
    canhub::{Configured, is_service},
    frames::all_hear_all,
    host::{gateway_is_a_module, rules},
    member::Member,
    netns::{Netns, Process},
    report::Kind,
    scene::Scene,
    shell::{attempt, eventually, say, sh},
};

/// Where a fault happens.
#[derive(Clone, Copy, PartialEq)]
enum Where {
    /// On the host, once for each attachment.
    Host,
    /// In the namespace of each attachment.
    Inside,
    /// Once for the whole bus.
    Bus,
}
use Where::{Bus, Host, Inside};

/// Faults of attachments: a shell line, with the host end of one, that of the other, and the hub for `$end`, `$other` and
/// `$hub`.
const FAULTS: [(&str, Where); 17] = [
    ("ip link del $end", Host),
    ("ip link set $end down", Host),
    ("ip link set $end name x$end", Host),
    ("ip link set $end down; ip link set $end mtu 16; ip link set $end up", Host),
    ("ip link set $end alias ''", Host),
    ("ip netns add e2e-away; ip link set $end netns e2e-away; ip netns del e2e-away", Host),
    ("ip link del can0", Inside),
    ("ip link set can0 down", Inside),
    ("ip link set can0 down; ip link set can0 name mine; ip link set mine up", Inside),
    ("ip link set can0 down; ip link set can0 mtu 16; ip link set can0 up", Inside),
    ("ip link set can0 alias ''", Inside),
    ("cangw -D -s $end -d $other -i -l 1", Host),
    ("cangw -A -s $end -d $other -e", Host),
    ("cangw -F", Bus),
    ("ip link del $hub", Bus),
    ("ip link set $hub down", Bus),
    ("ip link set $hub name elsewhere", Bus),
];

/// The interfaces in a namespace as they should stay.
fn inside(netns: &str) -> Option<Vec<String>> {
    let json =
        attempt("nsenter", &[&format!("--net={netns}"), "ip", "-d", "-j", "link", "show", "type", "vxcan"]);
    let links: Value = serde_json::from_str(&json.ok()?).ok()?;
    let of =
        |link: &Value| format!("{} {} {} {}", link["ifname"], link["mtu"], link["flags"], link["ifalias"]);
    Some(links.as_array()?.iter().map(of).collect())
}

#[test]
fn every_fault_of_a_named_namespace_and_of_a_process_is_healed() {
    if !is_service("attach::healing::every_fault_of_a_named_namespace_and_of_a_process_is_healed") {
        return;
    }
    // Rules have no events, so the audit interval must be short.
    let _configured = Configured::with(&["CANHUB_AUDIT_INTERVAL=1"]);
    let scene = Scene::new();
    let (made, hub) = bus(&scene, "");
    let (named, process) = (Netns::new(), Process::new());
    canhub(&format!("attach {made} --netns {}", named.name));
    canhub(&format!("attach {made} --netns {}", process.pid()));
    let paths = [named.path(), process.path()];
    let of = |path: &String, number| Member::of_namespace(path, "can0", number);
    let members = || [of(&paths[0], 1), of(&paths[1], 2), Member::host(&hub, 9)];
    let works = || all_hear_all(&members().each_ref(), &[Kind::Classic, Kind::Fd], 5);
    works().unwrap_or_else(|err| panic!("{err}"));
    let ends: Vec<String> =
        sh("ls /sys/class/net").lines().filter(|name| name.starts_with("chx")).map(str::to_owned).collect();
    let [one, other] = &ends[..] else { panic!("two host ends: {ends:?}") };
    let state = || (scene.traces(), paths.each_ref().map(|path| inside(path)));
    let before = state();
    let mut faults = FAULTS.to_vec();
    match gateway_is_a_module() {
        true => faults.push(("rmmod can_gw; modprobe can-gw", Bus)),
        false => say("this kernel has can-gw built in, so it was not unloaded"),
    }
    for (line, place) in faults {
        let both = [(one, other, &paths[0]), (other, one, &paths[1])];
        let times = if place == Bus { 1 } else { both.len() };
        for (end, other, path) in &both[..times] {
            let line = format!("end={end}; other={other}; hub={hub}; {line}");
            let enter = if place == Inside { format!("nsenter --net={path} ") } else { String::new() };
            // canhub may be faster than two steps of a fault.
            let _ = attempt("sh", &["-c", &format!("{enter}sh -c \"$0\""), &line]);
        }
        let started = Instant::now();
        eventually(&format!("healed: {line}"), || {
            works()?;
            let now = state();
            if now == before { Ok(()) } else { Err(format!("now there is {now:#?} and was {before:#?}")) }
        });
        say(&format!("healed after {} ms: {line}", started.elapsed().as_millis()));
        let listed: Value = serde_json::from_str(&canhub("attach ls --json")).expect("it is JSON");
        for one in listed["attachments"].as_array().expect("they are a list") {
            assert_eq!(one["problems"], Value::Array(Vec::new()), "{line}: {one}");
        }
    }
    assert!(!rules().is_empty());
    for path in &paths {
        canhub(&format!("detach {made} --netns {path}"));
    }
}
