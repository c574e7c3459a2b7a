//! Counts received frames until told to stop.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    thread::sleep,
    time::{Duration, Instant},
};

use socketcan::{CanFdSocket, SocketOptions};

use crate::{
    StopSignal,
    clock::Clock,
    frames, line,
    report::{Age, Heard, Kind, Silence, Stream},
    socket,
};

/// How often a listener checks whether it should stop.
const TICK: Duration = Duration::from_millis(20);
/// When told to stop, it waits for this much silence: on a busy machine the kernel delivers frames a while after their
/// sender has ended.
const SILENCE: Duration = Duration::from_millis(100);
/// A silence to report.
const LONG: Duration = Duration::from_millis(150);

/// What `probe listen` was asked for.
#[derive(Debug, clap::Args)]
pub struct Listen {
    interface: String,
    /// Where the interface is lost, wait for it and go on
    #[arg(long)]
    persist: bool,
    /// Do not hear the classic frames of this sender, who sends all the time
    #[arg(long)]
    deaf_to: Option<u8>,
    /// Hear nothing but the classic frames of this sender
    #[arg(long, conflicts_with = "deaf_to")]
    only: Option<u8>,
    /// Ask for error frames too
    #[arg(long)]
    errors: bool,
}

impl Listen {
    fn filter(&self, socket: &CanFdSocket) -> io::Result<()> {
        if self.errors {
            socket.set_error_filter_accept_all()?;
        }
        match (self.deaf_to, self.only) {
            (Some(from), _) => socket.set_filters(&[frames::all_but_classic_from(from)]),
            (None, Some(from)) => socket.set_filters(&[frames::only_classic_from(from)]),
            (None, None) => Ok(()),
        }
    }
}

/// Prints `ready` when it listens, counts until its input ends and everything queued has been read, then reports.
pub fn run(args: &Listen) -> io::Result<()> {
    let mut socket = socket::open(&args.interface)?;
    args.filter(&socket)?;
    if args.deaf_to.or(args.only).is_some() {
        // Frames that arrived before the filter was set.
        while socket::receive(&socket, Duration::ZERO)?.is_some() {}
    }
    let stop_signal = StopSignal::on_stdin_closed();
    line("ready")?;

    let mut tally = Tally::new();
    loop {
        let stopped = stop_signal.is_set();
        match socket::receive(&socket, if stopped { SILENCE } else { TICK }) {
            Ok(Some(frame)) => tally.count(frames::read(&frame)),
            Ok(None) if stopped => break,
            Ok(None) => {}
            Err(err) if args.persist && socket::is_lost(&err) => {
                match socket::open_when_there(&args.interface, || stop_signal.is_set())? {
                    Some(again) => socket = again,
                    None => break,
                }
                args.filter(&socket)?;
            }
            Err(err) => return Err(err),
        }
    }
    line(&serde_json::to_string(&tally.into_report())?)
}

/// How many frames of one sender are queued here. Others may keep sending, so it does not wait for silence: after some
/// time for stragglers it reads everything in the queue, however long that takes.
pub fn count_from(socket: &CanFdSocket, from: u8) -> io::Result<u32> {
    sleep(TICK);
    let mut count = 0;
    while let Some(frame) = socket::receive(socket, Duration::ZERO)? {
        count += u32::from(frames::read(&frame).is_some_and(|numbered| numbered.from == from));
    }
    Ok(count)
}

#[derive(Debug)]
struct Tally {
    clock: Clock,
    /// In microseconds.
    ages: Vec<u64>,
    silences: Vec<Silence>,
    streams: BTreeMap<(u8, Kind), Counter>,
    others: u32,
    last: Option<Instant>,
    longest_gap: Duration,
}

#[derive(Debug, Default)]
struct Counter {
    seen: BTreeSet<u32>,
    doubled: u32,
    disordered: u32,
    damaged: u32,
}

impl Tally {
    fn new() -> Self {
        Self {
            clock: Clock::now(),
            ages: Vec::new(),
            silences: Vec::new(),
            streams: BTreeMap::new(),
            others: 0,
            last: None,
            longest_gap: Duration::ZERO,
        }
    }

    fn count(&mut self, frame: Option<frames::Numbered>) {
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            self.longest_gap = self.longest_gap.max(now - last);
            if now - last > LONG {
                let until_ms = self.clock.wall().as_millis() as u64;
                let from_ms = until_ms - (now - last).as_millis() as u64;
                self.silences.push(Silence { from_ms, until_ms });
            }
        }
        let Some(frame) = frame else {
            self.others += 1;
            return;
        };
        self.ages.extend(frame.stamp.map(|stamp| stamp.until(self.clock.stamp())));
        let counter = self.streams.entry((frame.from, frame.kind)).or_default();
        counter.disordered += u32::from(counter.seen.last().is_some_and(|last| frame.sequence < *last));
        counter.doubled += u32::from(!counter.seen.insert(frame.sequence));
        counter.damaged += u32::from(!frame.intact);
    }

    fn into_report(mut self) -> Heard {
        self.ages.sort_unstable();
        let at =
            |part: usize| self.ages.get((self.ages.len() * part / 100).min(self.ages.len().wrapping_sub(1)));
        let age = at(50).zip(at(99)).zip(self.ages.last());
        let age = age.map(|((p50, p99), max)| Age { p50_us: *p50, p99_us: *p99, max_us: *max });
        let stream = |((from, kind), counter): ((u8, Kind), Counter)| {
            let frames = counter.seen.len() as u32;
            let first = counter.seen.first().copied().unwrap_or_default();
            let last = counter.seen.last().copied().unwrap_or_default();
            let Counter { doubled, disordered, damaged, .. } = counter;
            let missing = last + 1 - first - frames;
            Stream { from, kind, frames, first, last, missing, doubled, disordered, damaged }
        };
        Heard {
            streams: self.streams.into_iter().map(stream).collect(),
            others: self.others,
            longest_gap_ms: self.longest_gap.as_millis() as u64,
            silences: self.silences,
            age,
        }
    }
}
