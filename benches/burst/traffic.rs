//! Frames from one container to the others: in one burst, or as fast as they go.

use std::{
    fs::File,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use nix::{
    libc,
    sched::{CloneFlags, setns},
};
use socketcan::{CanFrame, CanSocket, EmbeddedFrame, Socket, SocketOptions, StandardId};

use super::baseline::run;

/// Room for all frames of a burst or a measurement, whatever the system's limits.
const BUFFER: i32 = 64 << 20;
/// In the backlog nothing waits longer.
const SETTLED: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(20);

/// A container on the bus.
pub struct Member {
    sandbox: PathBuf,
}

impl Member {
    pub fn new(sandbox: &str) -> Self {
        Self { sandbox: sandbox.into() }
    }

    fn socket(&self) -> CanSocket {
        thread::scope(|scope| {
            let open = || {
                setns(File::open(&self.sandbox).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
                CanSocket::open("can0").unwrap()
            };
            let socket = scope.spawn(open).join().unwrap();
            for option in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
                socket.set_socket_option_int(libc::SOL_SOCKET, option, BUFFER).unwrap();
            }
            socket
        })
    }

    /// Sends frames that all arrive at the host in one softirq.
    pub fn burst(&self, frames: u32) {
        let qdisc = |words: &[&str]| {
            let sandbox = format!("--net={}", self.sandbox.display());
            run("nsenter", &[&[sandbox.as_str(), "tc", "qdisc"], words].concat());
        };
        qdisc(&["add", "dev", "can0", "root", "plug", "limit", "100000000"]);
        let socket = self.socket();
        (0..frames).for_each(|number| socket.write_frame(&frame(number)).unwrap());
        qdisc(&["change", "dev", "can0", "root", "plug", "release_indefinite"]);
        thread::sleep(SETTLED);
        qdisc(&["del", "dev", "can0", "root"]);
    }
}

/// The time from the first frame sent until the slowest of the others has received the last one.
pub fn send_to_all(members: &[Member], frames: u32) -> Duration {
    let listeners: Vec<CanSocket> = members[1..].iter().map(Member::socket).collect();
    let sender = members[0].socket();
    let started = Instant::now();
    (0..frames).for_each(|number| sender.write_frame(&frame(number)).unwrap());
    // On one CPU they read only now; none of them lets a frame go.
    for listener in listeners {
        for number in 0..frames {
            let heard = listener.read_frame_timeout(PATIENCE).unwrap();
            assert_eq!(heard.data(), number.to_be_bytes(), "a frame is missing");
        }
    }
    started.elapsed()
}

fn frame(number: u32) -> CanFrame {
    CanFrame::new(StandardId::new(0x123).unwrap(), &number.to_be_bytes()).unwrap()
}

/// The least disturbed one.
pub fn best(values: Vec<f64>) -> f64 {
    values.into_iter().fold(0.0, f64::max)
}
