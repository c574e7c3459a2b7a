//! Measures how long a bus is interrupted by a fault: from the fault to the first frame that arrives again.
//!
//! `make bench`, or as root on a kernel with vxcan and can-gw: `heal --canhub target/release/canhub`. Only covers
//! faults with a link event; rules have none and wait for the audit. Slow results are not an error; the goal is printed
//! next to the figures.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot measure panics")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "figures are for people")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a listener enters the container's namespace"
)]

#[path = "../join/baseline.rs"]
#[allow(dead_code, reason = "the other bench joins the slow way too")]
mod baseline;
#[path = "../../tests/driver/bodies.rs"]
mod bodies;
#[path = "../../tests/driver/client.rs"]
mod client;
#[path = "../join/daemon.rs"]
#[allow(dead_code, reason = "the other bench measures more of it")]
mod daemon;
mod wire;

use std::{
    path::{Path, PathBuf},
    process::exit,
    thread,
    time::Duration,
};

use baseline::Sandbox;
use canhub::kernel::{Kernel, LinkChange, Linux};
use daemon::{Daemon, host_end};
use wire::Wire;

const HUB: &str = "benchhub";
/// As often as canhub heals a recurring fault immediately; after that the pauses grow.
const ROUNDS: usize = 5;
/// After a Join the loop leaves the host alone for a second.
const SETTLE: Duration = Duration::from_millis(1500);
/// Pause between two faults, so that each counts as a separate one.
const BETWEEN: Duration = Duration::from_millis(300);
/// The goal for the median of each fault.
const GOAL: Duration = Duration::from_millis(50);

/// A fault: its name, the location of the link, and the operation.
type Fault = (&'static str, Place, Option<LinkChange>);

#[derive(Clone, Copy)]
enum Place {
    Hub,
    HostEnd,
    ContainerEnd,
}

fn main() {
    let canhub = std::env::args().skip_while(|argument| argument != "--canhub").nth(1).map(PathBuf::from);
    let Some(canhub) = canhub else {
        eprintln!("usage: heal --canhub PATH (as root, on a kernel with vxcan and can-gw)");
        exit(2)
    };
    let down = || Some(LinkChange { up: Some(false), ..LinkChange::default() });
    let faults: [Fault; 6] = [
        ("hub deleted", Place::Hub, None),
        ("hub down", Place::Hub, down()),
        ("host end deleted", Place::HostEnd, None),
        ("host end down", Place::HostEnd, down()),
        ("container end deleted", Place::ContainerEnd, None),
        ("container end down", Place::ContainerEnd, down()),
    ];
    let folder = tempfile::tempdir().unwrap();
    let (daemon, _) = Daemon::start(&canhub, folder.path(), "bench");
    daemon.create_network(HUB);
    // One member per fault: two faults of one link would count as a recurring fault.
    let sandboxes: Vec<Sandbox> = (0..faults.len() as u32).map(Sandbox::new).collect();
    for (number, sandbox) in sandboxes.iter().enumerate() {
        daemon.join(number as u32, &sandbox.path);
    }
    thread::sleep(SETTLE);

    println!(
        "from the fault to the first frame that arrives again: median / best / worst of {ROUNDS}, in ms (goal: median < {})",
        GOAL.as_millis()
    );
    let mut slow = 0;
    for (number, (name, place, change)) in faults.iter().enumerate() {
        let sandbox = Path::new(&sandboxes[number].path);
        let wire = Wire::start(HUB, sandbox);
        let mut silences: Vec<Duration> = (0..ROUNDS)
            .map(|_| {
                thread::sleep(BETWEEN);
                wire.silence_after(|| harm(*place, number as u32, sandbox, change.as_ref()))
            })
            .collect();
        silences.sort();
        let [best, median, worst] = [0, ROUNDS / 2, ROUNDS - 1].map(|at| silences[at].as_secs_f64() * 1e3);
        slow += usize::from(silences[ROUNDS / 2] >= GOAL);
        println!("{name:>24} {median:8.1} / {best:.1} / {worst:.1}");
    }
    println!("{} of {} within the goal", faults.len() - slow, faults.len());
    daemon.delete_network();
}

/// Breaks it over netlink, so that no process start is measured.
fn harm(place: Place, number: u32, sandbox: &Path, change: Option<&LinkChange>) {
    let kernel = Linux::default();
    let (sandbox, name) = match place {
        Place::Hub => (None, HUB.to_owned()),
        Place::HostEnd => (None, host_end(number)),
        Place::ContainerEnd => (Some(sandbox), "can0".to_owned()),
    };
    let links = match sandbox {
        None => kernel.links().unwrap(),
        Some(path) => kernel.sandbox_links(path).unwrap().unwrap(),
    };
    let index = links.iter().find(|link| link.name == name).map(|link| link.index);
    let index = index.unwrap_or_else(|| panic!("{name} does not exist"));
    match change {
        None => kernel.delete_link(sandbox, index).unwrap(),
        Some(change) => kernel.change_link(sandbox, index, change).unwrap(),
    }
}
