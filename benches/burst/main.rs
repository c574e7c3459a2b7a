//! Measures the largest burst of frames that loses none, beside the kernel's own limit, and whether the rules for error
//! frames slow down other frames.
//!
//! `make bench`, or as root on a kernel with vxcan, can-gw and sch_plug: `burst --canhub target/release/canhub`. A burst is
//! held back in a qdisc and let go in one softirq, as a J1939 transfer or a paced queue sends it. The kernel guarantees
//! (backlog + 1) / (members - 1) frames; the host is a member too.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot measure panics")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "figures are for people")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a sender enters the container's namespace, and qdiscs are set by `tc`"
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
mod traffic;

use std::{fs, path::PathBuf, process::exit};

use baseline::{Sandbox, run};
use canhub::kernel::{Filter, Kernel, Linux, Rule};
use daemon::Daemon;
use serde_json::json;
use traffic::{Member, best};

const HUB: &str = "benchhub";
/// Containers on the bus.
const SIZES: [u32; 3] = [2, 8, 32];
const BACKLOG_FILE: &str = "/proc/sys/net/core/netdev_max_backlog";
/// The kernel's default: a larger limit only makes bursts longer.
const BACKLOG: u32 = 1000;
/// Frames per measurement of the speed, and how often each way is measured twice, in turns.
const FRAMES: u32 = 10_000;
const ROUNDS: usize = 5;
/// The number of containers for the speed.
const SPEED_AT: u32 = 8;
/// The goal for the speed with rules for error frames, relative to that without.
const GOAL: f64 = 0.98;

fn main() {
    let canhub = std::env::args().skip_while(|argument| argument != "--canhub").nth(1).map(PathBuf::from);
    let Some(canhub) = canhub else {
        eprintln!("usage: burst --canhub PATH (as root, on a kernel with vxcan, can-gw and sch_plug)");
        exit(2)
    };
    let folder = tempfile::tempdir().unwrap();
    let (daemon, _) = Daemon::start(&canhub, folder.path(), "bench");
    let sandboxes: Vec<Sandbox> = (0..SIZES[SIZES.len() - 1]).map(Sandbox::new).collect();
    daemon.create_network(HUB);
    let backlog = Backlog::set(BACKLOG);
    let (mut joined, mut bursts, mut speed) = (0, Vec::new(), None);
    for size in SIZES {
        for number in joined..size {
            daemon.join(number, &sandboxes[number as usize].path);
        }
        joined = size;
        // Healing would put the rules back that are taken out, and its dumps take time.
        daemon.signal("-STOP");
        let members: Vec<Member> =
            sandboxes[..size as usize].iter().map(|sandbox| Member::new(&sandbox.path)).collect();
        let burst = largest_burst(&members);
        eprintln!("{size} containers: {burst} frames");
        bursts.push((size, burst));
        if size == SPEED_AT {
            speed = Some(speed_of(&members));
        }
        daemon.signal("-CONT");
    }
    drop(backlog);
    let (with, without) = speed.unwrap();
    let ratio = with / without;
    println!("The largest burst that loses no frame, with net.core.netdev_max_backlog={BACKLOG}");
    println!("{:>10} {:>10} {:>18}", "containers", "frames", "guaranteed");
    for (size, burst) in &bursts {
        println!("{size:>10} {burst:>10} {:>18}", (BACKLOG + 1) / size);
    }
    println!(
        "{SPEED_AT} containers: {with:.0} frames/s to all of them with rules for error frames, {without:.0} without: {ratio:.3} (goal: >= {GOAL})"
    );
    let bursts: Vec<_> = bursts
        .iter()
        .map(|(size, burst)| json!({ "containers": size, "frames": burst, "guaranteed": (BACKLOG + 1) / size }))
        .collect();
    println!(
        "{}",
        json!({ "bench": "burst", "backlog": BACKLOG, "bursts": bursts, "speed": { "containers": SPEED_AT,
            "frames_per_s": with.round(), "without_error_rules": without.round(), "ratio": ratio, "goal": GOAL } })
    );
}

/// The largest burst of the first member that all others and the host receive.
fn largest_burst(members: &[Member]) -> u32 {
    let (mut passes, mut fails) = (1, 2 * BACKLOG);
    while fails - passes > 1 {
        let frames = passes.midpoint(fails);
        match loses(members, frames) {
            false => passes = frames,
            true => fails = frames,
        }
    }
    passes
}

/// Whether a burst of so many frames loses any, by the counters of the CPUs.
fn loses(members: &[Member], frames: u32) -> bool {
    let before = softnet_drops();
    members[0].burst(frames);
    softnet_drops() > before
}

fn softnet_drops() -> u64 {
    let text = fs::read_to_string("/proc/net/softnet_stat").unwrap();
    let column = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
    text.lines().filter_map(column).sum()
}

/// Frames per second from the first member to all others, with and without the rules for error frames, in turns.
fn speed_of(members: &[Member]) -> (f64, f64) {
    let kernel = Linux::default();
    let errors: Vec<Rule> = kernel
        .rules()
        .unwrap()
        .iter()
        .map(|status| status.rule)
        .filter(|rule| rule.filter == Filter::ERRORS)
        .collect();
    assert!(!errors.is_empty(), "there are no rules for error frames");
    let measure = || f64::from(FRAMES) / traffic::send_to_all(members, FRAMES).as_secs_f64();
    measure();
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        with.push(measure());
        kernel.delete_rules(&errors).unwrap();
        without.push(measure());
        without.push(measure());
        kernel.add_rules(&errors).unwrap();
        with.push(measure());
    }
    (best(with), best(without))
}

/// The kernel's backlog at another size, until dropped.
struct Backlog(String);

impl Backlog {
    fn set(size: u32) -> Self {
        let before = fs::read_to_string(BACKLOG_FILE).unwrap();
        run("sysctl", &["-qw", &format!("net.core.netdev_max_backlog={size}")]);
        Self(before)
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        let _ = fs::write(BACKLOG_FILE, &self.0);
    }
}
