//! Whatever bytes come from other hosts and from tunnels: never a panic, memory does not grow, and what is accepted is what
//! this host would have written.
//!
//! `CANHUB_FUZZ` sets the number of packets. With it, each run takes other ones, and prints the seed; `CANHUB_FUZZ_SEED` repeats one.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{collections::BTreeMap, env, fs, hash::BuildHasher as _, time::Duration};

use canhub::frames::{CanAnyFrame, Timestamp};
use canhub_span::{
    batch::{self, BatchError, Encoder, Header, Timed},
    cannelloni::{tcp, udp},
    flow::{Inbound, LoopGuard, Moment, Outcome, PeerClock, Ping, Pong, Waiting},
    parts::{EXTENDED, FDF, Parts, REMOTE},
};
use proptest::{
    prelude::Rng as _,
    test_runner::{RngAlgorithm, TestRng},
};

/// Some seconds without optimization.
const PACKETS: u64 = 40_000;
/// What the allocator and the test's thread may need in addition once everything has been used.
const GROWTH_MAX: u64 = 1 << 20;

#[test]
fn no_bytes_of_others_cause_a_panic_or_make_memory_grow() {
    let asked = env::var("CANHUB_FUZZ").ok();
    let packets = asked.as_ref().map_or(PACKETS, |text| text.parse().unwrap());
    let seed = env::var("CANHUB_FUZZ_SEED").map_or_else(
        |_| asked.map_or(1, |_| std::hash::RandomState::new().hash_one(0)),
        |text| text.parse().unwrap(),
    );
    let mut fuzz = Fuzz::new(seed);
    fuzz.run(packets / 10);
    let before = resident();
    fuzz.run(packets - packets / 10);
    let growth = resident().saturating_sub(before);
    println!("{packets} packets, seed {seed}: memory grew by {} KiB, {:?}", growth >> 10, fuzz.seen);
    assert!(growth <= GROWTH_MAX, "memory grew by {growth} bytes");
    for kind in [
        "batch accepted",
        "batch short",
        "batch long",
        "batch magic",
        "batch version",
        "batch header",
        "batch frame",
        "batch trailing",
        "new",
        "duplicate",
        "contradicts",
        "udp accepted",
        "udp refused",
        "tcp frames",
        "tcp given up",
        "answer",
        "useless answer",
    ] {
        assert!(
            fuzz.seen.get(kind).is_some_and(|count| *count > packets / 100_000),
            "{kind}: {:?}",
            fuzz.seen
        );
    }
}

/// Anonymous memory of this process, in bytes (proc_pid_status(5)).
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

struct Fuzz {
    rng: TestRng,
    encoder: Encoder,
    packets: udp::Encoder,
    stream: Vec<u8>,
    reader: tcp::Reader,
    bytes: Vec<u8>,
    inbound: Inbound,
    clock: PeerClock,
    waiting: Waiting,
    guard: LoopGuard,
    now: Moment,
    sequence: u64,
    frames: u64,
    seen: BTreeMap<&'static str, u64>,
}

impl Fuzz {
    fn new(seed: u64) -> Self {
        let seed: Vec<u8> = seed.to_be_bytes().iter().cycle().take(32).copied().collect();
        let mut clock = PeerClock::default();
        clock.up(Moment(0), 7);
        Self {
            rng: TestRng::from_seed(RngAlgorithm::ChaCha, &seed),
            encoder: Encoder::default(),
            packets: udp::Encoder::new(udp::PAYLOAD),
            stream: Vec::new(),
            reader: tcp::Reader::default(),
            bytes: Vec::with_capacity(1 << 17),
            inbound: Inbound::new(9, Duration::from_millis(100)),
            clock,
            waiting: Waiting::new(Duration::from_millis(100)),
            guard: LoopGuard::default(),
            now: Moment(1_000_000_000),
            sequence: 0,
            frames: 0,
            seen: BTreeMap::new(),
        }
    }

    fn run(&mut self, packets: u64) {
        for _ in 0..packets {
            self.now = self.now + Duration::from_micros(100);
            match self.below(8) {
                0..4 => self.a_batch(),
                4 | 5 => self.a_packet(),
                6 => self.a_piece_of_a_stream(),
                _ => self.an_answer(),
            }
        }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.rng.next_u64() % end
    }

    fn see(&mut self, kind: &'static str) {
        *self.seen.entry(kind).or_default() += 1;
    }

    fn frame(&mut self) -> CanAnyFrame {
        let data = self.rng.next_u64().to_be_bytes().repeat(8);
        let id = self.rng.next_u32();
        let id = if id & EXTENDED == 0 { id & 0x7FF } else { id & 0x9FFF_FFFF };
        let lengths = [0, 3, 8, 12, 16, 20, 24, 32, 48, 64];
        let (kind, length) = (self.below(3), lengths[self.below(10) as usize]);
        match kind {
            0 => Parts {
                id,
                flags: FDF | (length as u8 >> 2) & 3,
                length: length as u8,
                len8_dlc: 0,
                data: &data[..length],
            },
            1 => Parts { id: id | REMOTE, flags: 0, length: length.min(8) as u8, len8_dlc: 0, data: &[] },
            _ => {
                Parts { id, flags: 0, length: length.min(8) as u8, len8_dlc: 0, data: &data[..length.min(8)] }
            }
        }
        .frame()
    }

    /// A batch as another host could send it next.
    fn good_batch(&mut self) {
        let count = if self.below(100) == 0 { 1024 } else { self.below(6) };
        self.sequence += 1;
        let instance = if self.below(200) == 0 { self.rng.next_u64() | 1 } else { 7 };
        self.encoder.start(&Header {
            instance,
            epoch: 1,
            sequence: self.sequence,
            frames_before: self.frames,
            base: self.now,
            wall: Timestamp(0),
        });
        for at in 0..count {
            let timed = Timed { time: self.now + Duration::from_nanos(at), frame: self.frame() };
            if self.encoder.push(&timed).is_err() {
                break;
            }
        }
        self.frames += u64::from(self.encoder.count());
        self.bytes.clear();
        self.bytes.extend_from_slice(self.encoder.finish());
    }

    /// Changes some of the bytes, their number, or nothing.
    fn spoil(&mut self) {
        for _ in 0..self.below(4) {
            let length = self.bytes.len() as u64;
            let at = self.below(length.max(1)) as usize;
            match self.below(9) {
                0 => self.bytes.truncate(at),
                1 => self.bytes.extend_from_within(at..),
                2 => {
                    self.bytes.resize(length as usize + at % 300, 0xFF);
                }
                3 if self.below(20) == 0 => self.bytes.resize(70_000, 0),
                4 => {
                    let bytes = &mut self.bytes[at..];
                    let end = bytes.len().min(8);
                    self.rng.fill_bytes(&mut bytes[..end]);
                }
                5 if self.below(10) == 0 => {
                    let mut bytes = std::mem::take(&mut self.bytes);
                    self.rng.fill_bytes(&mut bytes);
                    self.bytes = bytes;
                }
                _ => {
                    let bit = 1 << self.below(8);
                    if let Some(byte) = self.bytes.get_mut(at) {
                        *byte ^= bit;
                    }
                }
            }
        }
    }

    fn a_batch(&mut self) {
        self.good_batch();
        self.spoil();
        let kind = match batch::decode(&self.bytes) {
            Ok(batch) => {
                // What was understood is written as it came.
                self.encoder.start(batch.header());
                for timed in batch.frames() {
                    if timed.time.0 < u64::MAX {
                        self.encoder.push(&timed).unwrap();
                    }
                }
                let is_late = batch.header().base.0 > u64::MAX - (1 << 33);
                assert!(is_late || self.encoder.finish() == self.bytes, "{:02X?}", self.bytes);
                self.arrives();
                "batch accepted"
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                match error {
                    BatchError::Short(_) => "batch short",
                    BatchError::Long(_) => "batch long",
                    BatchError::Magic(_) => "batch magic",
                    BatchError::Version(_) => "batch version",
                    BatchError::Header(..) => "batch header",
                    BatchError::Frame { .. } => "batch frame",
                    BatchError::Trailing(_) => "batch trailing",
                }
            }
        };
        self.see(kind);
    }

    fn arrives(&mut self) {
        let batch = batch::decode(&self.bytes).unwrap();
        let outcome =
            self.inbound.receive(&batch, self.now, &self.clock, |arrived| self.waiting.push(arrived));
        loop {
            let next = self.waiting.upcoming(self.now).next().copied();
            let Some(frame) = next else { break };
            self.guard.injected(self.now, &frame);
            self.guard.heard(self.now, &frame);
            self.waiting.sent();
        }
        self.see(match outcome {
            Outcome::New => "new",
            Outcome::Duplicate => "duplicate",
            Outcome::Own => "own",
            Outcome::Contradicts => "contradicts",
        });
        // Wrong numbers in a header make a host deaf to the right ones; then another run of it begins.
        if !matches!(outcome, Outcome::New) || self.below(50) == 0 {
            self.inbound = Inbound::new(9, Duration::from_millis(100));
        }
    }

    fn a_packet(&mut self) {
        for _ in 0..self.below(40) {
            let frame = self.frame();
            self.packets.push(&frame).unwrap();
        }
        let bytes = &mut self.bytes;
        self.packets.flush(|packet| {
            bytes.clear();
            bytes.extend_from_slice(packet);
        });
        self.spoil();
        let kind = match udp::decode(&self.bytes) {
            Ok(packet) => {
                assert!(packet.count() <= self.bytes.len() / 5);
                "udp accepted"
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                "udp refused"
            }
        };
        self.see(kind);
    }

    fn a_piece_of_a_stream(&mut self) {
        self.bytes.clear();
        if !self.reader.is_greeted() {
            self.bytes.extend_from_slice(tcp::GREETING);
        }
        for _ in 0..self.below(40) {
            let frame = self.frame();
            self.stream.clear();
            tcp::put(&mut self.stream, &frame).unwrap();
            self.bytes.extend_from_slice(&self.stream);
        }
        if self.below(4) == 0 {
            self.spoil();
        }
        let (mut frames, mut is_over) = (0, false);
        for piece in self.bytes.chunks(1 + self.rng.next_u32() as usize % 100) {
            is_over |= self.reader.read(piece, |_| frames += 1).is_err();
        }
        assert!(frames <= self.bytes.len() / 5 + 1);
        *self.seen.entry("tcp frames").or_default() += frames as u64;
        if is_over {
            self.reader = tcp::Reader::default();
            self.see("tcp given up");
        }
    }

    /// Any times in an answer.
    fn an_answer(&mut self) {
        let mut time = || match self.rng.next_u32() % 4 {
            0 => Moment(self.rng.next_u64()),
            1 => Moment(self.rng.next_u64() % 2 * u64::MAX),
            _ => Moment(self.now.0.wrapping_add(self.rng.next_u64() % 2_000_000)),
        };
        let pong =
            Pong { ping: Ping { instance: 9, sent: time() }, instance: 7, received: time(), sent: time() };
        let is_used = self.clock.answered(time(), 9, &pong);
        self.see(if is_used { "answer" } else { "useless answer" });
    }
}
