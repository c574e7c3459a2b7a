//! A thousand networks come and go, and nothing is left behind: no link, rule, file, thread or byte of memory.
//!
//! `CANHUB_CYCLES` sets another number. The test plays dockerd's part, which takes seconds for what takes canhub
//! milliseconds.

#[path = "../driver/bodies.rs"]
pub mod bodies;
#[path = "../driver/client.rs"]
pub mod client;

use std::{fs, path::Path, time::Instant};

use client::Client;
use serde_json::{Value, json};

use crate::support::{
    canhub::{Second, is_service},
    host::{link, links, rules},
    scene::Scene,
    shell::{eventually, number_from, run, say, sh},
};

const STATE: &str = "/run/e2e-cycles";
const HUB: &str = "vcan-cycles";
/// After these, everything that is allocated once has been allocated.
const WARM_UP: u32 = 100;
const CYCLES: u64 = 1000;
/// The threads of an idle canhub: its own, and one each for the audit and for the health checks of the buses and of the
/// records.
const AT_REST: usize = 4;
/// Containers, represented by their namespaces.
const MEMBERS: [u32; 2] = [0, 1];
/// The allocator's pools depend on the order in which its threads run: resident memory still grows by 350 KiB in the
/// first thousand cycles and by less in the next, while what is allocated stays the same. A leak of one KiB
/// per cycle would exceed this over all cycles.
const SLACK_KIB: u64 = 1024;

/// What must not grow.
#[derive(Debug)]
struct Size {
    links: usize,
    rules: usize,
    files: usize,
    threads: usize,
    state: usize,
    resident_kib: u64,
}

impl Size {
    fn of(second: &Second) -> Self {
        let process = format!("/proc/{}", second.pid());
        let status = fs::read_to_string(format!("{process}/status")).expect("it runs");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS exists");
        let resident = resident.split_whitespace().next().and_then(|kib| kib.parse().ok());
        Self {
            links: links().len(),
            rules: rules().len(),
            files: entries(&format!("{process}/fd")),
            threads: entries(&format!("{process}/task")),
            state: entries(STATE) + entries(&format!("{STATE}/endpoints")),
            resident_kib: resident.expect("in KiB"),
        }
    }

    /// What has grown, as text.
    fn growth_since(&self, before: &Self) -> Result<(), String> {
        let grown = [
            ("links", self.links, before.links),
            ("rules", self.rules, before.rules),
            ("open files", self.files, before.files),
            ("state files", self.state, before.state),
        ];
        let grown: Vec<_> = grown.into_iter().filter(|(_, now, before)| now > before).collect();
        if grown.is_empty() && self.resident_kib <= before.resident_kib + SLACK_KIB {
            return Ok(());
        }
        Err(format!("{grown:?}, {} KiB after {}", self.resident_kib, before.resident_kib))
    }
}

fn entries(folder: &str) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

/// The lifetime of one bus with two members.
fn cycle(client: &mut Client, number: u32) {
    let network = bodies::network(number);
    let mut call = |method: &str, body: &Value| client.call(&format!("NetworkDriver.{method}"), body).ok();
    let endpoint = |member: u32| bodies::endpoint(2 * number + member);
    call("CreateNetwork", &bodies::create_network(&network, json!({ "hub": HUB })));
    for member in MEMBERS {
        call("CreateEndpoint", &bodies::create_endpoint(&network, &endpoint(member), json!({})));
        call(
            "Join",
            &bodies::join(&network, &endpoint(member), &format!("/run/netns/{}", namespace(member))),
        );
    }
    if number.is_multiple_of(100) {
        assert!(link(HUB).is_some_and(|hub| hub.is_up()), "cycle {number}");
        for member in MEMBERS {
            let can0 = run("ip", &["-n", &namespace(member), "-o", "link", "show", "can0", "up"]);
            assert!(can0.contains("can0"), "cycle {number}: member {member} is missing");
        }
        let own = rules().into_iter().filter(|rule| rule.contains(HUB)).count();
        assert_eq!(own, 12, "cycle {number}: to and from each member, classic, FD and error frames");
    }
    for method in ["Leave", "DeleteEndpoint"] {
        for member in MEMBERS {
            call(method, &bodies::both(&network, &endpoint(member)));
        }
    }
    call("DeleteNetwork", &bodies::delete_network(&network));
}

fn namespace(member: u32) -> String {
    format!("e2e-cycles{member}")
}

#[test]
fn a_thousand_networks_come_and_go_and_nothing_grows() {
    if !is_service("cycles::a_thousand_networks_come_and_go_and_nothing_grows") {
        return;
    }
    let scene = Scene::new();
    for member in MEMBERS {
        run("ip", &["netns", "add", &namespace(member)]);
        scene.undo(move || {
            run("ip", &["netns", "del", &namespace(member)]);
        });
    }
    let second = Second::start("canhub-cycles", &[], &["--state-dir", STATE, "--docker-socket", "/nowhere"]);
    second.undo(&format!("rm -rf {STATE}"));
    let mut client = Client::connect(Path::new(&second.socket()));
    client.call_raw("Plugin.Activate", b"").ok();

    (0..WARM_UP).for_each(|number| cycle(&mut client, number));
    // Idle threads end after ten seconds.
    let at_rest = || {
        eventually("canhub is idle", || match Size::of(&second) {
            size if size.threads <= AT_REST => Ok(size),
            size => Err(format!("{size:?}")),
        })
    };
    let warm = at_rest();
    let cycles = number_from("CANHUB_CYCLES").unwrap_or(CYCLES);
    let started = Instant::now();
    (WARM_UP..WARM_UP + cycles as u32).for_each(|number| cycle(&mut client, number));
    let took = started.elapsed();
    let end = at_rest();
    assert_eq!(end.growth_since(&warm), Ok(()));
    say(&format!("{cycles} cycles in {} s: before {warm:?}, after {end:?}", took.as_secs()));
    sh(&format!("test -z \"$(ls {STATE}/endpoints)\""));
}
