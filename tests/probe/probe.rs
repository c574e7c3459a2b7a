//! A member of a bus, for the tests: sends numbered frames, and counts those that it receives.
//!
//! Runs in containers and on the host. It is static and has no dependencies, so it can be the only file in an image.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the rules for canhub do not apply to its test program"
)]

mod cannelloni;
mod clock;
mod echo;
mod frames;
mod isotp;
mod listen;
mod pulse;
mod report;
mod send;
mod serial;
mod socket;

use std::{
    io::{self, Read, Write},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::Parser;

/// Sends and hears numbered CAN frames
#[derive(Debug, Parser)]
enum Command {
    /// Send one frame and end: the first thing that a container does
    First {
        interface: String,
        #[arg(long)]
        from: u8,
    },
    /// Send numbered frames
    Send(send::Send),
    /// Count what is heard until the input ends
    Listen(listen::Listen),
    /// Send without waiting until the kernel accepts no more; print how many it accepted, and why it then did not
    Fill {
        interface: String,
        #[arg(long)]
        from: u8,
    },
    /// Send frames in a cycle that changes by plan
    Pulse(pulse::Pulse),
    /// Be a serial CAN adapter on one wire with that of another probe
    Serial(serial::Serial),
    /// Answer the frames of a sender until the input ends
    Echo(echo::Echo),
    /// Be the other side of a tunnel: speak cannelloni until killed
    Cannelloni(cannelloni::Cannelloni),
    /// Send ISO-TP messages of these sizes
    IsotpSend { interface: String, sends: u16, hears: u16, sizes: Vec<usize> },
    /// Receive so many ISO-TP messages
    IsotpReceive {
        interface: String,
        sends: u16,
        hears: u16,
        count: usize,
        /// Consecutive frames between two flow controls; 0: all without another one
        #[arg(long, default_value_t = 8)]
        block: u8,
    },
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::First { interface, from } => send::first(&interface, from),
        Command::Send(args) => send::run(&args),
        Command::Fill { interface, from } => send::fill(&interface, from),
        Command::Listen(args) => listen::run(&args),
        Command::Pulse(args) => pulse::run(&args),
        Command::Serial(args) => serial::run(&args),
        Command::Echo(args) => echo::run(&args),
        Command::Cannelloni(args) => cannelloni::run(&args),
        Command::IsotpSend { interface, sends, hears, sizes } => {
            isotp::Peer::open(&interface, sends, hears).and_then(|peer| peer.send_all(&sizes))
        }
        Command::IsotpReceive { interface, sends, hears, count, block } => {
            isotp::Peer::open(&interface, sends, hears).and_then(|peer| peer.receive_all(count, block))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            let _ = writeln!(io::stderr(), "probe: {err}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a line and flushes it.
fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Closing the probe's input tells it to stop.
struct StopSignal(Arc<AtomicBool>);

impl StopSignal {
    fn on_stdin_closed() -> Self {
        let told = Self(Arc::default());
        let flag = told.0.clone();
        std::thread::spawn(move || {
            let _ = io::stdin().read_to_end(&mut Vec::new());
            flag.store(true, Ordering::Release);
        });
        told
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
