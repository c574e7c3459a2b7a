//! CAN adapters without hardware: a wire of ours, and on it adapters that speak the serial protocol of `slcan` to
//! the kernel over pseudo terminals. They can be unplugged, they know their bitrate, and what goes wrong on a real
//! wire goes wrong here: nobody who acknowledges, another bitrate, states and counters of errors.
//!
//! The protocol, a line each, ended by a carriage return. From the kernel: `C`, `S6`, `O` (close, bitrate, open) and
//! frames (`t1232AABB`). To the kernel: frames, `sp128000` (state, counters of received and of sent errors) and
//! `e2as` (how many kinds of error, and which).

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
    thread,
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

/// What a controller thinks of its wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// All is well.
    Active,
    /// 96 errors.
    Warning,
    /// 128 errors: it only listens to what goes wrong.
    Passive,
    /// 256 errors of its own: it does not send any more.
    BusOff,
}

/// A pair of wires with a resistor at each end, and nothing on it yet.
#[derive(Debug, Clone, Default)]
pub struct Wire(Arc<Mutex<Vec<Node>>>);

/// What is plugged in, as the wire knows it.
#[derive(Debug)]
struct Node {
    name: String,
    master: File,
    /// The digit of its bitrate.
    rate: Option<u8>,
    open: bool,
}

/// An adapter that is plugged in; dropped, it is unplugged.
#[derive(Debug)]
pub struct Adapter {
    wire: Wire,
    /// The interface that it is.
    pub interface: String,
    line: Option<OwnedFd>,
}

impl Wire {
    /// Plugs an adapter in that becomes this interface; as with any adapter, it is down and has no bitrate.
    #[track_caller]
    pub fn plug(&self, interface: &str) -> Adapter {
        let pair = openpty(None, None).expect("there are pseudo terminals");
        for end in [&pair.master, &pair.slave] {
            // Whoever is started by the tests meanwhile would keep the adapter plugged in.
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("it is open");
        }
        let master = File::from(pair.master);
        let reader = master.try_clone().expect("it is open");
        let name = interface.to_owned();
        self.0.lock().push(Node { name: name.clone(), master, rate: None, open: false });
        let wire = self.clone();
        thread::spawn(move || wire.carry(&name, reader));

        let path =
            fs::read_link(format!("/proc/self/fd/{}", pair.slave.as_raw_fd())).expect("/proc is mounted");
        // It ends at once, and the line stays an adapter as long as we hold it open.
        run("slcan_attach", &["-n", interface, &path.to_string_lossy()]);
        assert!(link(interface).is_some(), "slcan_attach made no {interface}");
        Adapter { wire: self.clone(), interface: interface.into(), line: Some(pair.slave) }
    }

    /// Carries what one adapter is told by the kernel, until it is unplugged.
    fn carry(&self, name: &str, mut line: File) {
        let (mut said, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(read @ 1..) = line.read(&mut buffer) {
            said.extend_from_slice(&buffer[..read]);
            while let Some(end) = said.iter().position(|byte| *byte == b'\r') {
                let command: Vec<u8> = said.drain(..=end).collect();
                obey(&mut self.0.lock(), name, &command);
            }
        }
    }
}

fn obey(nodes: &mut [Node], name: &str, command: &[u8]) {
    let Some(at) = nodes.iter().position(|node| node.name == name) else { return };
    match command {
        [b'S', digit, ..] => nodes[at].rate = Some(*digit),
        [b'O' | b'L', ..] => nodes[at].open = true,
        [b'C', ..] => nodes[at].open = false,
        [b't' | b'T' | b'r' | b'R', ..] if nodes[at].open => transmit(nodes, at, command),
        _ => {}
    }
}

/// One node sends; a controller does not give up before it is bus-off.
fn transmit(nodes: &mut [Node], from: usize, frame: &[u8]) {
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
    } else if hear.is_empty() {
        // Nobody acknowledges. That alone never makes a controller leave the bus.
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
        // It may have been unplugged this very moment.
        let _ = self.master.write_all(line);
    }

    /// `a`: nobody acknowledged; `b`, `B`: another bit than was sent; `s`: bits in a wrong order; and others.
    fn error(&mut self, kinds: &str) {
        // The kernel takes lines of four bytes and less for answers, which say nothing to it.
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
    /// The controller tells its state, and how many errors it has received and sent.
    pub fn report(&self, state: State, received: u32, sent: u32) {
        let mut nodes = self.wire.0.lock();
        if let Some(node) = nodes.iter_mut().find(|node| node.name == self.interface) {
            node.state(state, received, sent);
            node.open &= state != State::BusOff;
        }
    }

    /// As `ip` tells it: `ERROR-ACTIVE`, `BUS-OFF`, …
    #[track_caller]
    pub fn state(&self) -> String {
        super::hardware::controller(&self.interface).1
    }

    /// Pulls it out; its interface is gone when this returns.
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
        // The kernel hangs up when nobody holds the line any more; that ends the reader too.
        drop(self.line.take());
        self.wire.0.lock().retain(|node| node.name != self.interface);
    }
}
