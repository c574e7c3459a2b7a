//! Measures how long the start and the end of a container wait for its bus: canhub, the floor, and a baseline that
//! forks `ip` and `cangw`.
//!
//! `make bench`, or as root on a kernel with vxcan and can-gw: `join --canhub target/release/canhub`. All are measured
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
#[path = "../floor/mod.rs"]
#[allow(dead_code, reason = "the other bench repairs more than pairs")]
mod floor;

use std::{
    path::PathBuf,
    process::exit,
    thread,
    time::{Duration, Instant},
};

use baseline::{Sandbox, run};
use daemon::{Daemon, host_end};
use figures::{Figures, Row, Teardown, Times, median};
use floor::{Bare, Pair};

/// The hub of the measured bus.
const HUB: &str = "benchhub";
/// Existing members of the bus; number of joins to measure for canhub and the floor, and for the baseline; whether the
/// goal for the floor applies; the goal for the ratio to the baseline.
const SIZES: [(u32, usize, usize, bool, Option<u32>); 4] = [
    (1, 15, 5, true, Some(20)),
    (8, 15, 5, false, None),
    (32, 15, 3, true, Some(200)),
    (100, 15, 1, true, None),
];
/// Members of a bus that leave one after another, and how often that is measured.
const TEARDOWN: (u32, usize) = (64, 3);
const STARTS: usize = 20;
const EMPTY_CALLS: usize = 20;
/// After this time canhub rests: it makes no more passes because of a Join, and has given back what the Joins needed once
/// nothing happened for an audit interval (30 s).
const REST: Duration = Duration::from_secs(40);
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
    let bare = Bare::open();
    for (size, joins, baseline_joins, near_the_floor, goal) in SIZES {
        eprintln!("a bus of {size}: {joins} joins of canhub and the floor, {baseline_joins} of the baseline");
        while members.len() < size as usize {
            let number = members.len() as u32;
            let sandbox = Sandbox::new(number);
            daemon.join(number, &sandbox.path);
            members.push(sandbox);
        }
        let canhub = Times::of((0..joins).map(|_| one_of_canhubs(&daemon)).collect());
        let attached = Times::of((0..joins).map(|_| one_attachment(&daemon)).collect());
        let floor = Times::of((0..joins).map(|_| one_of_the_floor(&daemon, &bare)).collect());
        let ends: Vec<String> = (0..size).map(host_end).chain([HUB.to_owned()]).collect();
        // Otherwise its loop would process each of the baseline's links, on the same CPU.
        daemon.signal("-STOP");
        let forked = Times::of((0..baseline_joins).map(|_| one_of_the_baselines(&ends)).collect());
        daemon.signal("-CONT");
        thread::sleep(SETTLE);
        rows.push(Row { size, canhub, attached, floor, forked, near_the_floor, goal });
    }
    thread::sleep(REST);
    let (resident, all) = (daemon.resident_kib(), members.len());
    let empty = Times::of((0..EMPTY_CALLS).map(|_| daemon.two_empty_calls()).collect());
    let (size, rounds) = TEARDOWN;
    eprintln!("{size} members leave, {rounds} times");
    for number in size..all as u32 {
        daemon.part(number);
    }
    members.truncate(size as usize);
    let (canhub, floor) = (0..rounds).map(|_| one_teardown(&daemon, &bare, &members)).unzip();
    let teardown = Teardown { size, canhub: Times::of(canhub), floor: Times::of(floor) };
    let figures = Figures { rows, teardown, empty, start, resident, members: all };
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

/// The same namespace and bus without Docker.
fn one_attachment(daemon: &Daemon) -> Duration {
    let sandbox = Sandbox::new(GUESTS);
    thread::sleep(SETTLE);
    let took = daemon.attach(HUB, &sandbox.path);
    assert!(sandbox.has("can0"), "the attachment has no can0");
    daemon.detach();
    took
}

/// canhub joins first, so that the floor knows what to create.
fn one_of_the_floor(daemon: &Daemon, bare: &Bare) -> Duration {
    let sandbox = Sandbox::new(GUESTS);
    daemon.join(GUESTS, &sandbox.path);
    let pair = Pair::capture(&[(host_end(GUESTS), sandbox.path.clone().into())]).remove(0);
    // Otherwise its loop would process each of the floor's links, on the same CPU.
    daemon.signal("-STOP");
    pair.delete(bare);
    thread::sleep(SETTLE);
    let home = floor::home();
    let started = Instant::now();
    pair.make(bare, &home);
    let took = started.elapsed();
    assert!(sandbox.has("can0"), "the member has no can0");
    daemon.signal("-CONT");
    daemon.part(GUESTS);
    took
}

/// All members leave, first with canhub and then with the floor; afterwards they are back on the bus.
fn one_teardown(daemon: &Daemon, bare: &Bare, members: &[Sandbox]) -> (Duration, Duration) {
    let numbers = || 0..members.len() as u32;
    let ends: Vec<_> = members
        .iter()
        .zip(numbers())
        .map(|(at, number)| (host_end(number), at.path.clone().into()))
        .collect();
    let pairs = Pair::capture(&ends);
    let home = floor::home();
    thread::sleep(SETTLE);
    let started = Instant::now();
    numbers().for_each(|number| daemon.part(number));
    let canhubs = started.elapsed();
    thread::sleep(SETTLE);
    daemon.signal("-STOP");
    pairs.iter().for_each(|pair| pair.make(bare, &home));
    let started = Instant::now();
    pairs.iter().for_each(|pair| pair.delete(bare));
    let floor = started.elapsed();
    daemon.signal("-CONT");
    for (number, sandbox) in numbers().zip(members) {
        daemon.join(number, &sandbox.path);
    }
    (canhubs, floor)
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
