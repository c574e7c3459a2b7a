//! Measures how many frames per second a container sends through an adapter, next to the host itself on the same one, and what
//! a frame costs on a bus whose members have `allow-rx`, next to one without.
//!
//! `make bench`, or as root on a kernel with vxcan, can-gw, slcan and sch_tbf, and with `slcan_attach` of can-utils:
//! `wire --canhub target/release/canhub`. The adapter is a serial one on a pseudo terminal that takes as long for a frame
//! as a bus of its bitrate. Slow results are not an error; no frame may be lost.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot measure panics")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "figures are for people")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a sender enters the container's namespace"
)]

mod adapter;
#[path = "../join/baseline.rs"]
#[allow(dead_code, reason = "the other bench joins the slow way too")]
mod baseline;
#[path = "../../tests/driver/bodies.rs"]
mod bodies;
#[path = "../../tests/driver/client.rs"]
mod client;
#[path = "../join/daemon.rs"]
#[allow(dead_code, reason = "the other benches measure more of it")]
mod daemon;

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::exit,
    thread::{self, sleep},
    time::{Duration, Instant},
};

use adapter::Adapter;
use baseline::Sandbox;
use daemon::Daemon;
use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
};
use serde_json::json;
use socketcan::{CanFrame, CanSocket, Frame, Socket};

const INTERFACE: &str = "slcan-bench";
const BITRATES: [u32; 3] = [125_000, 500_000, 1_000_000];
/// Seconds that a bus needs for one measurement.
const SECONDS: u32 = 4;
/// The longest frame of 8 bytes with a standard identifier.
const FRAME_BITS: u32 = 135;
/// Members of the bus on which the cost of filters is measured.
const MEMBERS: u32 = 8;
/// The frame that is sent, 123, is among them.
const EIGHT_ENTRIES: &str = "100 123 200 300 400 500 600 700";
/// Frames of one measurement of that.
const FRAMES: u32 = 5000;
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the host waits when the adapter's queue is full, which the kernel does not do for it.
const QUEUE_FULL: Duration = Duration::from_micros(200);

fn main() {
    let canhub = std::env::args().skip_while(|argument| argument != "--canhub").nth(1).map(PathBuf::from);
    let Some(canhub) = canhub else {
        eprintln!("usage: wire --canhub PATH (as root, on a kernel with vxcan, can-gw, slcan and sch_tbf)");
        exit(2)
    };
    let folder = tempfile::tempdir().unwrap();
    let (daemon, _) = Daemon::start(&canhub, folder.path(), "wire");
    let sandbox = Sandbox::new(0);
    println!("frames per second that arrive, of classic frames with 8 bytes");
    println!("{:>10} {:>10} {:>10} {:>10} {:>10}", "bit/s", "bus", "host", "container", "ratio");
    let mut rows = Vec::new();
    for bitrate in BITRATES {
        let adapter = Adapter::plug(INTERFACE, bitrate, FRAME_BITS);
        let frames = SECONDS * bitrate / FRAME_BITS;
        daemon.create_network_with(json!({ "adapter": INTERFACE, "bitrate": bitrate.to_string() }));
        daemon.join(0, &sandbox.path);
        let host = adapter.rate_of(frames, || send(INTERFACE, frames));
        let container = adapter.rate_of(frames, || send_inside(&sandbox.path, frames));
        daemon.part(0);
        daemon.delete_network();
        let bus = f64::from(bitrate) / f64::from(FRAME_BITS);
        let ratio = container / host;
        println!("{bitrate:>10} {bus:>10.0} {host:>10.0} {container:>10.0} {ratio:>10.3}");
        rows.push(
            json!({ "bitrate": bitrate, "bus": bus, "host": host, "container": container, "ratio": ratio }),
        );
    }
    println!("{}", json!({ "wire": rows }));

    let open = frame_cost(&daemon, json!({ "hub": "vcan-bench" }));
    let filtered = frame_cost(&daemon, json!({ "hub": "vcan-bench", "allow-rx": EIGHT_ENTRIES }));
    let ratio = filtered.as_secs_f64() / open.as_secs_f64();
    println!(
        "a frame to {} members takes {open:?}, with allow-rx of 8 entries {filtered:?}: {ratio:.2}",
        MEMBERS - 1
    );
    println!(
        "{}",
        json!({ "allow-rx": { "open": open.as_secs_f64(), "filtered": filtered.as_secs_f64(), "ratio": ratio } })
    );
}

/// The median time to send a frame to all members of a bus: the kernel forwards it before it returns to the sender.
fn frame_cost(daemon: &Daemon, options: serde_json::Value) -> Duration {
    daemon.create_network_with(options);
    let sandboxes: Vec<Sandbox> = (1..=MEMBERS).map(Sandbox::new).collect();
    for (number, sandbox) in (1..).zip(&sandboxes) {
        daemon.join(number, &sandbox.path);
    }
    let once = || {
        let started = Instant::now();
        send_inside(&sandboxes[0].path, FRAMES);
        started.elapsed() / FRAMES
    };
    let mut times: Vec<Duration> = (0..5).map(|_| once()).collect();
    times.sort();
    (1..=MEMBERS).for_each(|number| daemon.part(number));
    daemon.delete_network();
    times[times.len() / 2]
}

fn send_inside(sandbox: impl AsRef<Path>, frames: u32) {
    let namespace = File::open(sandbox).unwrap();
    let sending = move || {
        setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
        send("can0", frames);
    };
    thread::spawn(sending).join().unwrap();
}

fn send(interface: &str, frames: u32) {
    let socket = CanSocket::open(interface).unwrap();
    let started = Instant::now();
    for number in 0..frames {
        let data = [&number.to_be_bytes()[..], &[0xff; 4]].concat();
        let frame = CanFrame::from_raw_id(0x123, &data).unwrap();
        while let Err(err) = socket.write_frame(&frame) {
            assert_eq!(err.raw_os_error(), Some(Errno::ENOBUFS as i32), "{err}");
            assert!(started.elapsed() < PATIENCE, "the adapter takes nothing");
            sleep(QUEUE_FULL);
        }
    }
}
