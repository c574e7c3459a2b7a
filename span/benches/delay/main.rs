//! Measures how long frames take from one host's bus to another's through `canhub-span`, beside a tunnel that sends each
//! frame in a datagram at once, and the least that TLS over TCP costs; what `canhub-span` costs at rest; and what many spans and
//! hosts take of memory.
//!
//! As root on a kernel with vcan: `delay --canhub-span target/release/canhub-span`. All hosts are processes on this one, and
//! meet on the loopback address: the network's part of the delay is the same for all ways, and small.
//!
//! `delay floor INTERFACE FOLDER listen|connect ADDRESS` is one end of that least, for `tests/hosts`: FOLDER has the
//! certificates of a host. `delay engine`, likewise, is one end of the least that the engine costs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot measure panics")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "figures are for people")]
#![allow(clippy::disallowed_methods, reason = "hosts are processes, and `ip` makes their buses")]

mod engine;
mod floor;
mod hosts;
mod traffic;
mod tunnel;

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::exit,
    thread,
    time::Duration,
};

use floor::Identity;
use hosts::{Fleet, Vcan};
use traffic::{Figures, Way, exchange};

/// Frames per second: a frame at a time, a few per batch, and a busy bus of 1 Mbit/s.
const RATES: [u32; 3] = [200, 2_000, 8_000];
/// How long each measurement takes.
const SECONDS: u32 = 5;
/// The goals: how much longer than through the tunnel.
const P50_GOAL: f64 = 1.5;
const P99_GOAL: f64 = 2.0;
/// Spans at rest, and how long they are watched.
const SPANS_AT_REST: usize = 10;
const REST: Duration = Duration::from_secs(60);
/// The goal: CPU of one host at rest, in percent of one processor.
const REST_GOAL: f64 = 0.5;
/// Spans and hosts for the memory, and how long each fleet is watched: what grows with the number of hosts.
const MANY_SPANS: usize = 100;
const MANY_HOSTS: [usize; 3] = [2, 3, 8];
const WATCHED: Duration = Duration::from_secs(20);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["floor", bus, folder, end, address] = arguments[..] {
        let identity = Identity::in_folder(Path::new(folder));
        let threads = match end {
            "listen" => floor::listen(bus, &TcpListener::bind(address).unwrap(), &identity),
            _ => floor::connect(bus, address, &identity),
        };
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        return;
    }
    if let ["engine", bus, folder, end, address] = arguments[..] {
        return engine::carry(bus, Path::new(folder), end, address);
    }
    let mut arguments = std::env::args().skip_while(|argument| argument != "--canhub-span").skip(1);
    let Some(program) = arguments.next().map(PathBuf::from) else {
        eprintln!("usage: delay --canhub-span PATH [delay|rest|many] (as root, on a kernel with vcan)");
        exit(2)
    };
    let only = arguments.next();
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    if wanted("delay") {
        delay(&program);
    }
    if wanted("rest") {
        rest(&program);
    }
    if wanted("many") {
        MANY_HOSTS.into_iter().for_each(|hosts| many(&program, hosts));
    }
}

fn delay(program: &Path) {
    let buses: Vec<Vcan> = (0..6).map(|bus| Vcan::new(&format!("bench-{bus}"))).collect();
    let mut fleet = Fleet::new(program, &["a", "b"]);
    fleet.ports("a", &[("body".to_owned(), buses[0].name().to_owned())]);
    fleet.ports("b", &[("body".to_owned(), buses[1].name().to_owned())]);
    fleet.wait_until_online("a", 1);
    fleet.wait_until_online("b", 1);
    let _tunnel = tunnel::open(buses[2].name(), buses[3].name());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let _floor = thread::scope(|scope| {
        let one = scope.spawn(|| floor::listen(buses[4].name(), &listener, &fleet.identity("a")));
        [floor::connect(buses[5].name(), &address, &fleet.identity("b")), one.join().unwrap()]
    });
    thread::sleep(Duration::from_secs(1));
    println!("delay in us, both ways at once");
    println!(
        "frames/s |         span           |        tunnel          |     only TLS, TCP      | span/tunnel | TLS/tunnel"
    );
    println!(
        "each way |   p50      p99    lost |   p50      p99    lost |   p50      p99    lost |   p50   p99 |  p50   p99"
    );
    let ways = |from: usize, to: usize| {
        [
            Way { from: buses[from].name(), to: buses[to].name() },
            Way { from: buses[to].name(), to: buses[from].name() },
        ]
    };
    for rate in RATES {
        // In turns, so that both see the same machine.
        let mut measured = [(); 3].map(|()| Figures::default());
        for _ in 0..SECONDS {
            for (nth, figures) in measured.iter_mut().enumerate() {
                figures.add(exchange(&ways(2 * nth, 2 * nth + 1), rate, 1));
            }
        }
        let [span, tunnel, least] = measured;
        let [p50, p99] = [50, 99].map(|percent| span.ratio(&tunnel, percent));
        let [least_p50, least_p99] = [50, 99].map(|percent| least.ratio(&tunnel, percent));
        let miss = if p50 > P50_GOAL || p99 > P99_GOAL { "  above the goal of 1.5 and 2" } else { "" };
        println!(
            "{rate:>8} | {span} | {tunnel} | {least} | {p50:>5.2} {p99:>5.2} | {least_p50:>5.2} {least_p99:>5.2}{miss}"
        );
    }
    let burst = exchange(&ways(0, 1), 8_000, 5);
    println!(
        "40,000 frames at 8,000/s each way: {} lost, {} out of order or twice",
        burst.lost, burst.disordered
    );
}

fn rest(program: &Path) {
    let buses: Vec<Vcan> = (0..2 * SPANS_AT_REST).map(|bus| Vcan::new(&format!("bench-r{bus}"))).collect();
    let mut fleet = Fleet::new(program, &["a", "b"]);
    for (host, offset) in [("a", 0), ("b", SPANS_AT_REST)] {
        let ports =
            (0..SPANS_AT_REST).map(|span| (format!("s{span}"), buses[offset + span].name().to_owned()));
        fleet.ports(host, &ports.collect::<Vec<_>>());
    }
    fleet.wait_until_online("a", SPANS_AT_REST);
    fleet.wait_until_online("b", SPANS_AT_REST);
    thread::sleep(Duration::from_secs(5));
    let before = fleet.cpu("a");
    thread::sleep(REST);
    let percent = (fleet.cpu("a") - before).as_secs_f64() / REST.as_secs_f64() * 100.0;
    let miss = if percent > REST_GOAL { ", above the goal of 0.5 %" } else { "" };
    println!(
        "at rest, {SPANS_AT_REST} spans, 2 hosts: {percent:.2} % of a processor{miss}; {}",
        fleet.memory("a")
    );
    let before = fleet.cpu("a");
    let way = [Way { from: buses[0].name(), to: buses[SPANS_AT_REST].name() }];
    exchange(&way, 8_000, 10);
    let percent = (fleet.cpu("a") - before).as_secs_f64() / 10.0 * 100.0;
    println!("one bus that sends 8,000 frames/s: {percent:.1} % of a processor; {}", fleet.memory("a"));
}

fn many(program: &Path, hosts: usize) {
    let names: Vec<String> = (0..hosts).map(|host| format!("h{host}")).collect();
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    // All on the same ones: no frames are sent.
    let buses: Vec<Vcan> = (0..MANY_SPANS).map(|bus| Vcan::new(&format!("bench-m{bus}"))).collect();
    let mut fleet = Fleet::new(program, &names);
    for host in &names {
        let ports = (0..MANY_SPANS).map(|span| (format!("s{span}"), buses[span].name().to_owned()));
        fleet.ports(host, &ports.collect::<Vec<_>>());
    }
    fleet.wait_until_online(names[0], MANY_SPANS * (hosts - 1));
    thread::sleep(Duration::from_secs(10));
    let before = fleet.cpu(names[0]);
    thread::sleep(WATCHED);
    let percent = (fleet.cpu(names[0]) - before).as_secs_f64() / WATCHED.as_secs_f64() * 100.0;
    println!(
        "{MANY_SPANS} spans, {hosts} hosts at rest: {}; {percent:.2} % of a processor",
        fleet.memory(names[0])
    );
}
