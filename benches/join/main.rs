//! Measures how long the start of a container waits for its bus: canhub, and a baseline that forks `ip` and `cangw`.
//!
//! `make bench`, or as root on a kernel with vxcan and can-gw: `join --canhub target/release/canhub`. Both are measured
//! in one run on the same bus, so the ratios are valid even if the times are not: a User Mode Linux guest takes about
//! 40 µs per system call. Slow results are not an error; the goals are printed next to the figures.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot measure panics")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "figures are for people")]
#![allow(clippy::disallowed_methods, reason = "the baseline is made of processes")]

#[path = "../../tests/driver/bodies.rs"]
mod bodies;
#[path = "../../tests/driver/client.rs"]
mod client;

mod baseline;
mod daemon;
mod figures;
mod first;

use std::{path::PathBuf, process::exit, thread, time::Duration};

use baseline::{Sandbox, run};
use daemon::Daemon;
use figures::{Figures, Row, Times, median};

/// The hub of the measured bus.
const HUB: &str = "benchhub";
/// Existing members of the bus; number of joins to measure for canhub and the baseline; the goal for the ratio.
const SIZES: [(u32, usize, usize, Option<u32>); 4] =
    [(1, 15, 5, Some(20)), (8, 15, 5, None), (32, 11, 3, Some(200)), (100, 9, 1, None)];
const STARTS: usize = 20;
/// Numbers of the endpoint that comes and goes start here; those that stay start at 0.
const GUESTS: u32 = 1000;
/// Docker leaves more time than this between the calls for two containers.
const SETTLE: Duration = Duration::from_millis(150);

fn main() {
    let Some(canhub) = canhub() else {
        eprintln!("usage: join --canhub PATH (as root, on a kernel with vxcan and can-gw)");
        exit(2)
    };
    first::go();
    let folder = tempfile::tempdir().unwrap();
    eprintln!("start of the process, {STARTS} times");
    let starts = (0..STARTS).map(|number| Daemon::start(&canhub, folder.path(), &format!("start{number}")).1);
    let start = median(starts.collect());

    let (daemon, _) = Daemon::start(&canhub, folder.path(), "bench");
    daemon.create_network(HUB);
    let mut members: Vec<Sandbox> = Vec::new();
    let mut rows = Vec::new();
    for (size, joins, baseline_joins, goal) in SIZES {
        eprintln!("a bus of {size}: {joins} joins of canhub, {baseline_joins} of the baseline");
        while members.len() < size as usize {
            let number = members.len() as u32;
            let sandbox = Sandbox::new(number);
            daemon.join(number, &sandbox.path);
            members.push(sandbox);
        }
        let canhub = Times::of((0..joins).map(|_| one_of_canhubs(&daemon)).collect());
        let ends: Vec<String> = (0..size).map(daemon::host_end).chain([HUB.to_owned()]).collect();
        // Otherwise its loop would process each of the baseline's links, on the same CPU.
        daemon.signal("-STOP");
        let forked = Times::of((0..baseline_joins).map(|_| one_of_the_baselines(&ends)).collect());
        daemon.signal("-CONT");
        thread::sleep(SETTLE);
        rows.push(Row { size, canhub, forked, goal });
    }
    let figures = Figures { rows, start, resident: daemon.resident_kib(), members: members.len() };
    daemon.delete_network();
    print!("{figures}");
    println!("{}", figures.json());
}

fn one_of_canhubs(daemon: &Daemon) -> Duration {
    let sandbox = Sandbox::new(GUESTS);
    thread::sleep(SETTLE);
    let took = daemon.join(GUESTS, &sandbox.path);
    assert!(sandbox.has("can0"), "the member has no can0");
    daemon.part(GUESTS);
    took
}

fn one_of_the_baselines(ends: &[String]) -> Duration {
    let sandbox = Sandbox::new(GUESTS);
    thread::sleep(SETTLE);
    let took = baseline::join(&sandbox, ends);
    assert!(sandbox.has("can0"), "the member has no can0");
    run("ip", &["link", "del", baseline::HOST_END]);
    took
}

/// The program to measure. Cargo adds its own `--bench`.
fn canhub() -> Option<PathBuf> {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--canhub");
    arguments.nth(1).map(PathBuf::from)
}
