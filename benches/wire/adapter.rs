//! A serial CAN adapter on a pseudo terminal. The other end takes as long for a frame as a bus, and counts frames.

use std::{
    fs::{self, File},
    io::Read,
    os::fd::{AsRawFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, sleep},
    time::{Duration, Instant},
};

use nix::pty::openpty;

use super::{PATIENCE, baseline::run};

/// A clock that ticks a hundred times a second wakes late; so much is caught up with.
const CATCH_UP: Duration = Duration::from_millis(50);
/// Shorter sleeps last longer than asked for.
const WORTH_A_SLEEP: Duration = Duration::from_millis(2);

/// Plugged in until dropped.
pub struct Adapter {
    carried: Arc<AtomicU32>,
    line: Option<OwnedFd>,
    interface: String,
}

impl Adapter {
    pub fn plug(interface: &str, bitrate: u32, frame_bits: u32) -> Self {
        let pair = openpty(None, None).unwrap();
        let carried = Arc::new(AtomicU32::new(0));
        let time = Duration::from_secs_f64(f64::from(frame_bits) / f64::from(bitrate));
        let (master, counter) = (File::from(pair.master), carried.clone());
        thread::spawn(move || carry(master, time, &counter));
        let path = fs::read_link(format!("/proc/self/fd/{}", pair.slave.as_raw_fd())).unwrap();
        run("slcan_attach", &["-n", interface, &path.to_string_lossy()]);
        Self { carried, line: Some(pair.slave), interface: interface.into() }
    }

    /// Frames per second from the first to the last of so many that are sent now.
    pub fn rate_of(&self, frames: u32, send: impl FnOnce()) -> f64 {
        let before = self.carried.load(Ordering::SeqCst);
        let started = Instant::now();
        send();
        while self.carried.load(Ordering::SeqCst) - before < frames {
            let carried = self.carried.load(Ordering::SeqCst) - before;
            assert!(started.elapsed() < PATIENCE, "only {carried} of {frames} frames arrived");
            sleep(Duration::from_millis(1));
        }
        f64::from(frames) / started.elapsed().as_secs_f64()
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        drop(self.line.take());
        let interface = format!("/sys/class/net/{}", self.interface);
        while fs::exists(&interface).unwrap_or(false) {
            sleep(Duration::from_millis(1));
        }
    }
}

fn carry(mut line: File, time: Duration, carried: &AtomicU32) {
    let mut free = Instant::now();
    let (mut buffer, mut begins) = ([0; 512], true);
    while let Ok(read @ 1..) = line.read(&mut buffer) {
        for byte in &buffer[..read] {
            if begins && *byte == b't' {
                free = free.max(Instant::now().checked_sub(CATCH_UP).unwrap_or(free)) + time;
                carried.fetch_add(1, Ordering::SeqCst);
            }
            begins = *byte == b'\r';
        }
        let ahead = free.saturating_duration_since(Instant::now());
        if ahead > WORTH_A_SLEEP {
            sleep(ahead);
        }
    }
}
