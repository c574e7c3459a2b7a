//! CAN adapters without hardware: a simulated physical bus with adapters that speak the serial protocol of `slcan` to
//! the kernel over pseudo terminals. They can be unplugged and have a bitrate, and real bus errors are simulated:
//! missing acknowledgements, bitrate mismatches, states and error counters.
//!
//! The protocol has one line per message, ended by a carriage return. From the kernel: `C`, `S6`, `O` (close, bitrate,
//! open) and frames (`t1232AABB`). To the kernel: frames, `sp128000` (state, counters of receive and transmit errors)
//! and `e2as` (the number of error classes, and which).

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
    thread::{self, sleep},
    time::{Duration, Instant},
};

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    pty::openpty,
};
use parking_lot::Mutex;

use super::{
    host::link,
    shell::{eventually, run},
};

/// The error state of a controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No problems.
    Active,
    /// 96 errors.
    Warning,
    /// 128 errors: it no longer signals errors.
    Passive,
    /// 256 transmit errors: it no longer sends.
    BusOff,
}

/// A physical bus with termination at both ends and no nodes yet.
#[derive(Debug, Clone, Default)]
pub struct Wire {
    nodes: Arc<Mutex<Vec<Node>>>,
    medium: Option<Arc<Mutex<Medium>>>,
}

/// A bus that carries frames no faster than a real one. Something acknowledges them all, and notes them.
#[derive(Debug)]
struct Medium {
    /// When the frames so far have been transmitted.
    free: Instant,
    /// In addition to the frames, in parts of the bitrate: what other nodes use.
    others: f64,
    frames: Vec<Vec<u8>>,
}

/// A late wake-up may be caught up with for this long, as a controller sends back to back however late its driver is.
const CATCH_UP: Duration = Duration::from_millis(50);
/// The bitrates of `S0` to `S8`.
const BITRATES: [u32; 9] = [10_000, 20_000, 50_000, 100_000, 125_000, 250_000, 500_000, 800_000, 1_000_000];

/// A node on the bus.
#[derive(Debug)]
struct Node {
    name: String,
    master: File,
    /// The digit of its bitrate.
    rate: Option<u8>,
    open: bool,
}

/// An adapter that is plugged in; unplugged on drop.
#[derive(Debug)]
pub struct Adapter {
    wire: Wire,
    /// Its interface.
    pub interface: String,
    line: Option<OwnedFd>,
}

impl Medium {
    /// When a frame that is given to the bus now has been transmitted.
    fn transmit(&mut self, frame: &[u8], rate: Option<u8>) -> Instant {
        // The longest of 8 bytes with a standard and with an extended identifier.
        let bits = if frame[0].is_ascii_lowercase() { 135.0 } else { 160.0 };
        let digit = usize::from(rate.unwrap_or(b'6') - b'0');
        let time = bits / f64::from(BITRATES[digit]) / (1.0 - self.others);
        let earliest = Instant::now().checked_sub(CATCH_UP).unwrap_or(self.free);
        self.free = self.free.max(earliest) + Duration::from_secs_f64(time);
        self.frames.push(frame.to_vec());
        self.free
    }
}

impl Wire {
    /// A bus that takes as long for a frame as a real one, of which other nodes use a part.
    pub fn timed(others: f64) -> Self {
        let medium = Medium { free: Instant::now(), others, frames: Vec::new() };
        Self { medium: Some(Arc::new(Mutex::new(medium))), ..Self::default() }
    }

    /// The frames that a timed bus has transmitted, as lines.
    pub fn frames(&self) -> Vec<Vec<u8>> {
        self.medium.as_ref().map(|medium| medium.lock().frames.clone()).unwrap_or_default()
    }

    /// Waits until a timed bus carries nothing any more.
    pub fn until_silent(&self) {
        let mut before = (self.count(), Instant::now());
        while before.1.elapsed() < Duration::from_millis(500) {
            sleep(Duration::from_millis(20));
            if self.count() != before.0 {
                before = (self.count(), Instant::now());
            }
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.medium.as_ref().map_or(0, |medium| medium.lock().frames.len())
    }

    /// Plugs in an adapter with this interface name; like any adapter, it is down and has no bitrate.
    #[track_caller]
    pub fn plug(&self, interface: &str) -> Adapter {
        // The kernel may not be done yet with one of this name that was just unplugged.
        eventually(&format!("no other {interface}"), || match link(interface) {
            None => Ok(()),
            Some(_) => Err("it is still there".into()),
        });
        let pair = openpty(None, None).expect("there are pseudo terminals");
        for end in [&pair.master, &pair.slave] {
            // Otherwise processes started by the tests meanwhile would keep the adapter plugged in.
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("it is open");
        }
        let master = File::from(pair.master);
        let reader = master.try_clone().expect("it is open");
        let name = interface.to_owned();
        self.nodes.lock().push(Node { name: name.clone(), master, rate: None, open: false });
        let wire = self.clone();
        thread::spawn(move || wire.carry(&name, reader));

        let path =
            fs::read_link(format!("/proc/self/fd/{}", pair.slave.as_raw_fd())).expect("/proc is mounted");
        // It exits at once, and the line remains an adapter as long as we hold it open.
        run("slcan_attach", &["-n", interface, &path.to_string_lossy()]);
        eventually(&format!("slcan_attach creates {interface}"), || {
            link(interface).map(|_| ()).ok_or_else(|| run("ip", &["-brief", "link"]))
        });
        Adapter { wire: self.clone(), interface: interface.into(), line: Some(pair.slave) }
    }

    /// Processes what the kernel sends to one adapter, until it is unplugged.
    fn carry(&self, name: &str, mut line: File) {
        // Little at a time: what is read has left the adapter.
        let (mut said, mut buffer) = (Vec::new(), [0; 512]);
        while let Ok(read @ 1..) = line.read(&mut buffer) {
            said.extend_from_slice(&buffer[..read]);
            while let Some(end) = said.iter().position(|byte| *byte == b'\r') {
                let command: Vec<u8> = said.drain(..=end).collect();
                let mut nodes = self.nodes.lock();
                let is_frame = matches!(command[0], b't' | b'T' | b'r' | b'R');
                let node = nodes.iter().find(|node| node.name == name && node.open && is_frame);
                let timed = self
                    .medium
                    .as_ref()
                    .zip(node)
                    .map(|(medium, node)| medium.lock().transmit(&command, node.rate));
                obey(&mut nodes, name, &command, timed.is_some());
                drop(nodes);
                // Short sleeps last longer than asked for.
                let ahead =
                    timed.map_or(Duration::ZERO, |free| free.saturating_duration_since(Instant::now()));
                if ahead > Duration::from_millis(2) {
                    sleep(ahead);
                }
            }
        }
    }
}

/// `acknowledged`: by something that is no node.
fn obey(nodes: &mut [Node], name: &str, command: &[u8], acknowledged: bool) {
    let Some(at) = nodes.iter().position(|node| node.name == name) else { return };
    match command {
        [b'S', digit, ..] => nodes[at].rate = Some(*digit),
        [b'O' | b'L', ..] => nodes[at].open = true,
        [b'C', ..] => nodes[at].open = false,
        [b't' | b'T' | b'r' | b'R', ..] if nodes[at].open => {
            transmit(nodes, at, command, acknowledged);
        }
        _ => {}
    }
}

/// One node sends; a controller retries until it is bus-off.
fn transmit(nodes: &mut [Node], from: usize, frame: &[u8], acknowledged: bool) {
    let rate = nodes[from].rate;
    let mut others: Vec<&mut Node> = Vec::new();
    let mut sender = None;
    for (at, node) in nodes.iter_mut().enumerate() {
        if at == from {
            sender = Some(node);
        } else if node.open {
            others.push(node);
        }
    }
    let Some(sender) = sender else { return };
    let (hear, disturbed): (Vec<_>, Vec<_>) = others.into_iter().partition(|node| node.rate == rate);
    if !disturbed.is_empty() {
        // They cannot read it and destroy it with error flags, again and again.
        for node in disturbed {
            node.error("s");
            node.state(State::Passive, 128, 0);
        }
        sender.error("bB");
        for (state, errors) in [(State::Warning, 96), (State::Passive, 128), (State::BusOff, 256)] {
            sender.state(state, 0, errors);
        }
        sender.open = false;
    } else if hear.is_empty() && !acknowledged {
        // Nobody acknowledges. That alone never makes a controller go bus-off.
        sender.error("a");
        sender.state(State::Warning, 0, 96);
        sender.state(State::Passive, 0, 128);
    } else {
        for node in hear {
            node.tell(frame);
        }
    }
}

impl Node {
    fn tell(&mut self, line: &[u8]) {
        // It may have just been unplugged.
        let _ = self.master.write_all(line);
    }

    /// `a`: no acknowledgement; `b`, `B`: another bit than was sent; `s`: wrong bit order; and others.
    fn error(&mut self, kinds: &str) {
        // The kernel takes lines of up to four bytes for acknowledgements, which it ignores.
        self.tell(format!("e{}{kinds:4}\r", kinds.len()).as_bytes());
    }

    fn state(&mut self, state: State, received: u32, sent: u32) {
        let letter = match state {
            State::Active => 'a',
            State::Warning => 'w',
            State::Passive => 'p',
            State::BusOff => 'b',
        };
        self.tell(format!("s{letter}{received:03}{sent:03}\r").as_bytes());
    }
}

impl Adapter {
    /// The controller reports its state and its receive and transmit error counters.
    pub fn report(&self, state: State, received: u32, sent: u32) {
        let mut nodes = self.wire.nodes.lock();
        if let Some(node) = nodes.iter_mut().find(|node| node.name == self.interface) {
            node.state(state, received, sent);
            node.open &= state != State::BusOff;
        }
    }

    /// As shown by `ip`: `ERROR-ACTIVE`, `BUS-OFF`, …
    #[track_caller]
    pub fn state(&self) -> String {
        super::hardware::controller(&self.interface).1
    }

    /// Unplugs it; its interface is gone when this returns.
    #[track_caller]
    pub fn unplug(self) {
        let interface = self.interface.clone();
        drop(self);
        eventually(&format!("{interface} goes with its adapter"), || match link(&interface) {
            None => Ok(()),
            Some(link) => Err(format!("{link:?}")),
        });
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        // The kernel hangs up when nobody holds the line any more, which also ends the reader.
        drop(self.line.take());
        self.wire.nodes.lock().retain(|node| node.name != self.interface);
    }
}
