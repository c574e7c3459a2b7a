//! Two hosts send to a third over wires that delay, lose, repeat and reorder batches, and are cut; clocks differ, drift and are
//! set; the bus of the third takes frames slowly or not at all; programs are killed and start again. Whatever happens: what
//! was sent is what was delivered and what was counted, in order, each once, and none too old.

use std::{collections::BTreeMap, time::Duration};

use canhub::frames::{CanAnyFrame, Timestamp};
use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestRng},
};
use socketcan::EmbeddedFrame as _;

use super::{clock::PeerClock, inbound::Inbound, outbound::Outbound, time::nanos, *};
use crate::batch::{Encoder, decode};

const AGE: Duration = Duration::from_millis(100);
const STEP: Duration = Duration::from_micros(250);
/// Without a sign of life for this long, a host is offline; it is online again this long after its wire is back.
const LEASE: Duration = Duration::from_millis(500);
const RETURN: Duration = Duration::from_millis(200);
const OWN: u64 = 99;

/// What a wire does.
#[derive(Debug, Clone, Copy)]
struct Wire {
    /// One way, in µs.
    delay: u64,
    /// Of 100 batches.
    lost: u32,
    repeated: u32,
    overtaken: u32,
    /// Nothing passes. What is on the way comes afterwards, as out of a socket's buffer.
    is_cut: bool,
}

/// A part of the time.
#[derive(Debug, Clone)]
struct Phase {
    steps: u32,
    wires: [Wire; 2],
    /// Frames that each sender sends in a step.
    sent: [u8; 2],
    /// Frames that the bus takes in a step.
    taken: u8,
    /// Seconds by which the senders' wall clocks are set.
    set: i64,
    /// Whose program is killed at the start of it, and for how many milliseconds it does not run.
    killed: Option<(Killed, u64)>,
}

#[derive(Debug, Clone, Copy)]
enum Killed {
    Sender(usize),
    Receiver,
}

const CLEAR: Wire = Wire { delay: 300, lost: 0, repeated: 0, overtaken: 0, is_cut: false };

fn wire() -> impl Strategy<Value = Wire> {
    let faulty =
        (100..40_000_u64, 0..30_u32, 0..20_u32, 0..10_u32).prop_map(|(delay, lost, repeated, overtaken)| {
            Wire { delay, lost, repeated, overtaken, is_cut: false }
        });
    prop_oneof![2 => Just(CLEAR), 2 => faulty, 2 => Just(Wire { is_cut: true, ..CLEAR })]
}

fn phase() -> impl Strategy<Value = Phase> {
    let set = prop_oneof![3 => Just(0), 1 => Just(3600_i64), 1 => Just(-3600)];
    let taken = prop_oneof![Just(0_u8), Just(1), Just(3), Just(100)];
    let who = prop_oneof![Just(Killed::Receiver), (0..2_usize).prop_map(Killed::Sender)];
    let killed = prop::option::of((who, 0..800_u64));
    (4..4000_u32, [wire(), wire()], [0..5_u8, 0..5_u8], taken, set, killed)
        .prop_map(|(steps, wires, sent, taken, set, killed)| Phase { steps, wires, sent, taken, set, killed })
}

/// What is on a wire.
enum Message {
    Batch(Vec<u8>),
    Answer(Pong),
}

/// A sending host, its wire, and what the receiver knows of it.
struct Sender {
    instance: u64,
    /// Its clock is ahead by this, and fast by this.
    ahead: u64,
    ppm: u64,
    wall: i64,
    entries: Entries,
    out: Outbound,
    /// Frames that entered its port.
    pushed: u64,
    taken: Taken,
    /// What the next run finds: of `out`, how many frames waited, and of `taken`.
    kept: ([u64; 6], u64, [u64; 3]),
    /// When its program starts again, if it was killed.
    dead_until: Option<u64>,
    /// Before this, it is not online.
    away_until: u64,
    on_the_way: Vec<(u64, Message)>,
    last_delivery: u64,
    cut_since: Option<u64>,
    back_since: Option<u64>,
    is_online: bool,
    clock: PeerClock,
    inbound: Inbound,
    /// The shortest way of a batch, in ns.
    shortest: u64,
}

impl Sender {
    fn new(instance: u64, ahead: u64, ppm: u64) -> Self {
        let mut sender = Self {
            instance,
            ahead,
            ppm,
            wall: 0,
            entries: Entries::new(Clocks { now: Moment(0), wall: Timestamp(0) }),
            out: Outbound::new(instance, AGE),
            pushed: 0,
            taken: Taken::default(),
            kept: Default::default(),
            dead_until: None,
            away_until: 0,
            on_the_way: Vec::new(),
            last_delivery: 0,
            cut_since: None,
            back_since: None,
            is_online: true,
            clock: PeerClock::default(),
            inbound: Inbound::new(OWN, AGE),
            shortest: u64::MAX,
        };
        sender.starts(START);
        sender.clock.up(Moment(START), instance);
        sender
    }

    /// Its clocks at a true time.
    fn clocks(&self, now: u64) -> Clocks {
        let wall = (1_800_000_000 * SECOND + now).saturating_add_signed(self.wall);
        Clocks { now: Moment(self.ahead + now + now / 1_000_000 * self.ppm), wall: Timestamp(wall) }
    }

    /// Its program starts. It finds what the one before kept.
    fn starts(&mut self, now: u64) {
        let clocks = self.clocks(now);
        self.entries = Entries::new(clocks);
        self.taken.opened(clocks.now, PORT);
        self.keeps();
    }

    fn keeps(&mut self) {
        self.kept = (self.out.kept(), self.out.waiting() as u64, self.taken.kept());
    }

    /// Its program is killed. What it gave to the kernel may still arrive.
    fn is_killed(&mut self, until: u64, arrives: bool) {
        let (out, waiting, taken) = self.kept;
        self.out = Outbound::restored(self.instance, AGE, out);
        self.taken = Taken::restored(taken);
        self.taken.abandoned(waiting);
        (self.dead_until, self.away_until) = (Some(until), self.away_until.max(until));
        if !arrives {
            self.on_the_way.clear();
        }
        self.goes_offline();
    }

    fn goes_offline(&mut self) {
        if self.is_online {
            self.is_online = false;
            self.inbound.offline();
            self.clock.down();
        }
    }

    /// In order, unless it is overtaken; after a cut, if there is one.
    fn put(&mut self, now: u64, wire: &Wire, is_overtaken: bool, message: Message) {
        let mut arrives = now + wire.delay * 1000;
        if is_overtaken {
            arrives += 20 * wire.delay * 1000;
        } else {
            arrives = arrives.max(self.last_delivery);
            self.last_delivery = arrives;
        }
        self.on_the_way.push((arrives, message));
    }

    fn online_or_not(&mut self, now: u64, wire: &Wire) {
        match (wire.is_cut, self.cut_since) {
            (true, None) => (self.cut_since, self.back_since) = (Some(now), None),
            (true, Some(since)) if now - since > nanos(LEASE) => self.goes_offline(),
            (false, Some(_)) => (self.cut_since, self.back_since) = (None, Some(now)),
            _ => {}
        }
        let back = self.away_until.max(self.back_since.unwrap_or_default()) + nanos(RETURN);
        if !self.is_online && !wire.is_cut && now > back {
            self.is_online = true;
            self.out.start_anew();
            self.clock.up(Moment(now), self.instance);
        }
    }
}

const SECOND: u64 = 1_000_000_000;
/// The number of every port's interface.
const PORT: u64 = 5;
/// The receiver's clock is the true time.
const START: u64 = 1000 * SECOND;

struct World {
    now: u64,
    rng: TestRng,
    encoder: Encoder,
    senders: [Sender; 2],
    waiting: Waiting,
    /// True times at which frames entered, and what their age may be wrong by, by sender and number.
    entered: BTreeMap<(usize, u32), (u64, u64)>,
    /// The numbers of the frames that the bus took, by sender.
    delivered: [Vec<u32>; 2],
    oldest: u64,
    /// The receiver's program does not run.
    deaf_until: u64,
    /// Frames that waited when it was killed.
    unwritten: u64,
}

fn frame(sender: usize, number: u32) -> CanAnyFrame {
    CanAnyFrame::new(socketcan::StandardId::new(sender as u16).unwrap(), &number.to_be_bytes()).unwrap()
}

fn number(frame: &CanAnyFrame) -> (usize, u32) {
    let socketcan::Id::Standard(id) = frame.id() else { panic!("not one of ours") };
    (id.as_raw().into(), u32::from_be_bytes(frame.data().try_into().unwrap()))
}

impl World {
    fn new(seed: u64) -> Self {
        let seed: Vec<u8> = seed.to_be_bytes().iter().cycle().take(16).copied().collect();
        let mut world = Self {
            now: START,
            rng: TestRng::from_seed(RngAlgorithm::XorShift, &seed),
            encoder: Encoder::default(),
            senders: [Sender::new(1, 77_777 * SECOND, 60), Sender::new(2, 5, 0)],
            waiting: Waiting::new(AGE),
            entered: BTreeMap::new(),
            delivered: [Vec::new(), Vec::new()],
            oldest: 0,
            deaf_until: 0,
            unwritten: 0,
        };
        // So that the receiver knows where to start to count.
        world.run(&Phase { steps: 40, wires: [CLEAR; 2], sent: [0; 2], taken: 1, set: 0, killed: None });
        world
    }

    fn happens(&mut self, of_100: u32) -> bool {
        self.rng.next_u32() % 100 < of_100
    }

    fn run(&mut self, phase: &Phase) {
        for sender in &mut self.senders {
            sender.wall += phase.set * SECOND as i64;
        }
        let arrives = self.happens(50);
        let until = |millis| self.now + millis * 1_000_000;
        match phase.killed {
            Some((Killed::Sender(at), millis)) => self.senders[at].is_killed(until(millis), arrives),
            Some((Killed::Receiver, millis)) => {
                self.deaf_until = until(millis);
                self.receiver_is_killed();
            }
            None => {}
        }
        for _ in 0..phase.steps {
            self.now += nanos(STEP);
            for at in 0..2 {
                self.members_send(at, phase.sent[at]);
                self.batches_leave(at, &phase.wires[at]);
                self.batches_arrive(at, &phase.wires[at]);
            }
            self.bus_takes(phase.taken);
        }
    }

    fn receiver_is_killed(&mut self) {
        for sender in &mut self.senders {
            sender.inbound = Inbound::restored(OWN, AGE, sender.inbound.kept());
            sender.is_online = false;
            (sender.clock, sender.shortest) = (PeerClock::default(), u64::MAX);
            sender.on_the_way.retain(|(_, message)| matches!(message, Message::Batch(_)));
            sender.away_until = sender.away_until.max(self.deaf_until);
        }
        self.unwritten += self.waiting.len() as u64;
        self.waiting = Waiting::restored(AGE, self.waiting.kept());
    }

    fn members_send(&mut self, at: usize, frames: u8) {
        let sender = &mut self.senders[at];
        if sender.dead_until.is_some_and(|until| until <= self.now) {
            sender.dead_until = None;
            sender.starts(self.now);
        }
        // The frames of this step came in its first half.
        let (entered, clocks) = (self.now - nanos(STEP) / 2, sender.clocks(self.now));
        let stamp = sender.clocks(entered).wall;
        for _ in 0..frames {
            self.entered.insert((at, sender.pushed as u32), (entered, 0));
            if sender.dead_until.is_none() {
                let moment = sender.entries.entered(&clocks, stamp);
                sender.out.push(clocks.now, moment, frame(at, sender.pushed as u32));
                sender.taken.took(1);
            }
            sender.pushed += 1;
        }
        if sender.dead_until.is_none() {
            sender.entries.is_empty(clocks);
            if sender.taken.wants_look(clocks.now) {
                sender.taken.looked(clocks.now, PORT, sender.pushed);
            }
        }
    }

    fn batches_leave(&mut self, at: usize, wire: &Wire) {
        let [lost, repeated, overtaken] =
            [wire.lost, wire.repeated, wire.overtaken].map(|of_100| self.happens(of_100));
        let sender = &mut self.senders[at];
        let clocks = sender.clocks(self.now);
        if sender.dead_until.is_some() {
            return;
        }
        if let Some(bytes) = sender.out.take(&clocks, &mut self.encoder) {
            let bytes = bytes.to_vec();
            sender.keeps();
            if repeated {
                sender.put(self.now, wire, true, Message::Batch(bytes.clone()));
            }
            if !lost {
                sender.put(self.now, wire, overtaken, Message::Batch(bytes));
            }
        }
        // The answer is on its way as soon as the ping is there; both take as long, and no batch waits for them.
        if sender.clock.ping_due().is_some_and(|due| due <= Moment(self.now)) && !wire.is_cut {
            let ping = sender.clock.ping(Moment(self.now), OWN);
            let there = sender.clocks(self.now + wire.delay * 1000).now;
            let pong = Pong { ping, instance: sender.instance, received: there, sent: there };
            sender.on_the_way.push((self.now + 2 * wire.delay * 1000, Message::Answer(pong)));
        }
    }

    fn batches_arrive(&mut self, at: usize, wire: &Wire) {
        let now = self.now;
        let sender = &mut self.senders[at];
        sender.online_or_not(now, wire);
        if wire.is_cut {
            return;
        }
        sender.on_the_way.sort_by_key(|(arrives, _)| *arrives);
        let come = sender.on_the_way.partition_point(|(arrives, _)| *arrives <= now);
        let messages: Vec<_> = sender.on_the_way.drain(..come).collect();
        if now < self.deaf_until {
            return;
        }
        for (_, message) in messages {
            let bytes = match message {
                Message::Answer(pong) => {
                    assert!(
                        sender.clock.answered(Moment(now), OWN, &pong) || now - pong.ping.sent.0 > SECOND
                    );
                    continue;
                }
                Message::Batch(bytes) => bytes,
            };
            let batch = decode(&bytes).unwrap();
            let uncertain =
                sender.clock.offset(Moment(now)).map(|offset| nanos(offset.uncertainty - offset.drift));
            if let Some(last) = batch.frames().last() {
                let entered = self.entered[&number(&last.frame)].0;
                sender.shortest = sender.shortest.min(now - entered);
            }
            let slack = uncertain.unwrap_or(sender.shortest).saturating_add(1000);
            sender.inbound.receive(&batch, Moment(now), &sender.clock, |arrived| {
                self.entered.get_mut(&number(&arrived.frame)).unwrap().1 = slack;
                self.waiting.push(arrived);
            });
        }
    }

    fn bus_takes(&mut self, frames: u8) {
        for _ in 0..frames {
            let Some(frame) = self.waiting.upcoming(Moment(self.now)).next() else { return };
            let (at, number) = number(frame);
            let (entered, slack) = self.entered[&(at, number)];
            let age = self.now - entered;
            assert!(
                age <= nanos(AGE) + slack,
                "frame {number} of {at} is {age} ns old, uncertain by {slack}"
            );
            self.oldest = self.oldest.max(age);
            self.delivered[at].push(number);
            self.waiting.sent();
        }
    }

    /// Everything that is on its way arrives; then the sums must be right.
    fn end(mut self) -> Self {
        self.run(&Phase { steps: 6000, wires: [CLEAR; 2], sent: [0; 2], taken: 100, set: 0, killed: None });
        let mut accepted = 0;
        for (sender, delivered) in self.senders.iter().zip(&self.delivered) {
            let (sent, received) = (sender.out.sent(), sender.inbound.received());
            assert_eq!(sender.out.waiting(), 0);
            let missed = sender.taken.missed();
            assert_eq!(sender.pushed, sent.frames + sent.too_old + sent.queue_full + missed, "{sent:?}");
            assert_eq!(
                sent.frames,
                received.frames + received.lost + received.too_old,
                "{sent:?} {received:?}"
            );
            assert!(delivered.is_sorted_by(|a, b| a < b), "in order, each once");
            assert_eq!((received.refused, received.from_future, sender.clock.jumps()), (0, 0, 0));
            accepted += received.frames;
        }
        let (taken, dropped) =
            (self.delivered.iter().map(Vec::len).sum::<usize>() as u64, self.waiting.dropped());
        assert_eq!(accepted, taken + dropped.too_old + dropped.queue_full + self.unwritten, "{dropped:?}");
        self
    }
}

/// Each takes some 50 ms. `make soak` asks for more.
fn cases() -> ProptestConfig {
    let is_asked = std::env::var_os("PROPTEST_CASES").is_some();
    if is_asked { ProptestConfig::default() } else { ProptestConfig::with_cases(32) }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn what_was_sent_is_what_was_delivered_and_counted(phases in prop::collection::vec(phase(), 1..6), seed: u64) {
        let mut world = World::new(seed);
        for phase in &phases {
            world.run(phase);
        }
        world.end();
    }
}

#[test]
fn all_arrives_over_good_wires_whatever_the_wall_clocks_do() {
    let mut world = World::new(1);
    for set in [0, 3600, -3600, 0, -3600] {
        world.run(&Phase { steps: 2000, wires: [CLEAR; 2], sent: [2; 2], taken: 100, set, killed: None });
    }
    let world = world.end();
    assert_eq!(world.delivered.map(|delivered| delivered.len()), [20_000; 2]);
    assert!(world.oldest < 3_000_000, "{} ns", world.oldest);
}

#[test]
fn what_is_lost_with_a_program_that_is_killed_is_counted_by_the_next_run() {
    for (killed, millis) in
        [(Killed::Sender(0), 0), (Killed::Sender(0), 700), (Killed::Receiver, 0), (Killed::Receiver, 700)]
    {
        let mut world = World::new(millis);
        let flows = Phase { steps: 2000, wires: [CLEAR; 2], sent: [2; 2], taken: 4, set: 0, killed: None };
        world.run(&flows);
        world.run(&Phase { steps: 4000, killed: Some((killed, millis)), ..flows.clone() });
        let before = world.delivered[0].len();
        world.run(&flows);
        assert!(world.delivered[0].len() - before >= 3990, "{killed:?} {millis}");
        let world = world.end();
        if let Killed::Sender(_) = killed {
            let (dead, whole) = (&world.senders[0], &world.senders[1]);
            let missed = dead.taken.missed();
            assert!((8 * millis..8 * millis + 16).contains(&missed), "{missed} missed in {millis} ms");
            assert_eq!(world.delivered[1].len() as u64, whole.pushed, "the other host is not disturbed");
        }
    }
}

#[test]
fn a_wire_that_is_cut_for_any_time_delivers_nothing_old_and_soon_all_that_is_new() {
    for cut in [200, 700, 3000, 60_000] {
        let mut world = World::new(cut);
        let wires = [Wire { is_cut: true, ..CLEAR }, CLEAR];
        world.run(&Phase { steps: 4 * cut as u32, wires, sent: [1, 1], taken: 100, set: 0, killed: None });
        world.run(&Phase {
            steps: 4 * 400,
            wires: [CLEAR; 2],
            sent: [1, 1],
            taken: 100,
            set: 0,
            killed: None,
        });
        let before = world.delivered[0].len();
        world.run(&Phase { steps: 4000, wires: [CLEAR; 2], sent: [1, 1], taken: 100, set: 0, killed: None });
        assert!(world.delivered[0].len() - before >= 3990, "after a cut of {cut} ms");
        let world = world.end();
        assert_eq!(
            world.delivered[1].len() as u64,
            world.senders[1].pushed,
            "the other host is not disturbed"
        );
        assert!(world.oldest <= nanos(AGE) + 1_000_000, "{} ns", world.oldest);
    }
}
