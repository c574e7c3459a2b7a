//! Whatever is broken of an attachment is healed.

use std::time::Instant;

use serde_json::Value;

use super::{bus, canhub};
use crate::support::{
    canhub::{Configured, is_service},
    frames::all_hear_all,
    host::{gateway_is_a_module, rules},
    member::Member,
    netns::Netns,
    report::Kind,
    scene::Scene,
    shell::{attempt, eventually, run, say, sh},
};

/// Faults of an attachment: a shell line, with the host end, the other host end and the hub for `$end`, `$other` and
/// `$hub`, and whether it is run in the namespace.
const FAULTS: [(&str, bool); 17] = [
    ("ip link del $end", false),
    ("ip link set $end down", false),
    ("ip link set $end name somethingelse", false),
    ("ip link set $end down; ip link set $end mtu 16; ip link set $end up", false),
    ("ip link set $end alias ''", false),
    ("ip netns add e2e-away; ip link set $end netns e2e-away; ip netns del e2e-away", false),
    ("ip link del can0", true),
    ("ip link set can0 down", true),
    ("ip link set can0 down; ip link set can0 name mine; ip link set mine up", true),
    ("ip link set can0 down; ip link set can0 mtu 16; ip link set can0 up", true),
    ("ip link set can0 alias ''", true),
    ("cangw -D -s $end -d $other -i -l 1", false),
    ("cangw -A -s $end -d $other -e", false),
    ("cangw -F", false),
    ("ip link del $hub", false),
    ("ip link set $hub down", false),
    ("ip link set $hub name elsewhere", false),
];

#[test]
fn every_fault_of_an_attachment_is_healed() {
    if !is_service("attach::healing::every_fault_of_an_attachment_is_healed") {
        return;
    }
    // Rules have no events, so the audit interval must be short.
    let _configured = Configured::with(&["CANHUB_AUDIT_INTERVAL=1"]);
    let scene = Scene::new();
    let (made, hub) = bus(&scene, "");
    let spaces = [Netns::new(), Netns::new()];
    for space in &spaces {
        canhub(&format!("attach {made} --netns {} --id {}", space.name, space.name));
    }
    let members = || [spaces[0].member("can0", 1), spaces[1].member("can0", 2), Member::host(&hub, 9)];
    let works = || all_hear_all(&members().each_ref(), &[Kind::Classic, Kind::Fd], 5);
    works().unwrap_or_else(|err| panic!("{err}"));
    let ends: Vec<String> =
        sh("ls /sys/class/net").lines().filter(|name| name.starts_with("chx")).map(str::to_owned).collect();
    let [end, other] = &ends[..] else { panic!("two host ends: {ends:?}") };
    let state = || {
        (
            scene.traces(),
            spaces
                .each_ref()
                .map(|space| {
                    run("ip", &["-netns", &space.name, "-details", "-json", "link", "show", "type", "vxcan"])
                })
                .map(|json| {
                    serde_json::from_str::<Value>(&json)
                        .map(|links| {
                            let of = |link: &Value| {
                                format!(
                                    "{} {} {} {}",
                                    link["ifname"], link["mtu"], link["flags"], link["ifalias"]
                                )
                            };
                            links.as_array().map(|all| all.iter().map(of).collect::<Vec<_>>())
                        })
                        .unwrap_or_default()
                }),
        )
    };
    let before = state();
    let mut faults = FAULTS.to_vec();
    match gateway_is_a_module() {
        true => faults.push(("rmmod can_gw; modprobe can-gw", false)),
        false => say("this kernel has can-gw built in, so it was not unloaded"),
    }
    for (line, is_inside) in faults {
        let line = format!("end={end}; other={other}; hub={hub}; {line}");
        let enter = if is_inside { format!("ip netns exec {} ", spaces[0].name) } else { String::new() };
        // The end that is named may be that of either namespace, and canhub may be faster than two steps of a fault.
        let _ = attempt("sh", &["-c", &format!("{enter}sh -c \"$0\""), &line]);
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
}
