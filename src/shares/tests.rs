//! The controller on a wire in numbers: senders with a bucket each, a queue, and a wire that takes so many frames.

use super::*;

const TICK: Duration = Duration::from_millis(50);
const LENGTH: u32 = 8192;
/// Bits that the buckets reckon for a frame.
const FRAME: f64 = 136.0;

struct World {
    wire: Limiter,
    /// Frames per second that it takes.
    takes: f64,
    queued: f64,
    sent: f64,
    lost: f64,
    /// What each wants to send in frames per second, and what it has sent.
    senders: Vec<(f64, f64)>,
    shares: Vec<Option<u32>>,
    ceiling: u32,
    longest: f64,
}

impl World {
    fn new(bitrate: u32, senders: &[f64]) -> Self {
        Self {
            wire: Limiter::default(),
            takes: f64::from(bitrate) / FRAME,
            queued: 0.0,
            sent: 0.0,
            lost: 0.0,
            senders: senders.iter().map(|wanted| (*wanted, 0.0)).collect(),
            shares: vec![None; senders.len()],
            ceiling: bitrate,
            longest: 0.0,
        }
    }

    fn run(&mut self, seconds: f64) {
        for _ in 0..(seconds / TICK.as_secs_f64()) as u32 {
            let tick = TICK.as_secs_f64();
            for ((wanted, sent), share) in self.senders.iter_mut().zip(&self.shares) {
                let allowed = f64::from(share.unwrap_or(self.ceiling)) / FRAME;
                let frames = wanted.min(allowed) * tick;
                *sent += frames;
                self.queued += frames;
            }
            let takes = self.queued.min(self.takes * tick);
            self.queued -= takes;
            self.sent += takes;
            self.lost += (self.queued - f64::from(LENGTH)).max(0.0);
            self.queued = self.queued.min(f64::from(LENGTH));
            self.longest = self.longest.max(self.queued);
            let gauge = Gauge {
                queued: self.queued as u32,
                sent: self.sent as u64,
                from: self.senders.iter().map(|(_, sent)| Some(*sent as u64)).collect(),
            };
            let ceilings = vec![self.ceiling; self.senders.len()];
            self.shares = self.wire.read(gauge, TICK, LENGTH, &ceilings);
        }
    }

    /// Frames that each sends from now on in so many seconds, per second.
    fn rates(&mut self, seconds: f64) -> Vec<f64> {
        let before: Vec<f64> = self.senders.iter().map(|(_, sent)| *sent).collect();
        self.run(seconds);
        self.senders.iter().zip(before).map(|((_, sent), before)| (sent - before) / seconds).collect()
    }
}

const FLOOD: f64 = 1e9;

#[test]
fn whoever_is_alone_has_the_whole_wire() {
    let mut world = World::new(500_000, &[FLOOD, 0.0]);
    world.run(30.0);
    assert_eq!((world.shares.clone(), world.lost), (vec![None, None], 0.0));
}

#[test]
fn floods_share_the_wire_evenly_lose_nothing_and_keep_it_busy() {
    for bitrate in [125_000, 500_000, 1_000_000] {
        for senders in [2, 3, 4] {
            let mut world = World::new(bitrate, &vec![FLOOD; senders]);
            world.run(3.0);
            let before = world.sent;
            let rates = world.rates(10.0);
            let busy = (world.sent - before) / 10.0 / world.takes;
            assert_eq!(world.lost, 0.0, "{senders} at {bitrate}: the queue was {} long", world.longest);
            assert!(busy > 0.98, "{senders} at {bitrate}: the wire was {busy} busy");
            let (least, most) =
                rates.iter().fold((FLOOD, 0.0_f64), |(a, b), rate| (a.min(*rate), b.max(*rate)));
            assert!(most < least * 1.05, "{rates:?}");
            assert!(world.queued < f64::from(LENGTH) / 16.0, "it settles: {}", world.queued);
        }
    }
}

#[test]
fn what_one_does_not_use_is_the_others_and_little_is_not_slowed() {
    let mut world = World::new(500_000, &[FLOOD, FLOOD, 100.0, 0.0]);
    world.run(3.0);
    let rates = world.rates(10.0);
    assert!((rates[2] - 100.0).abs() < 5.0, "{rates:?}");
    assert!((rates[0] - (world.takes - 100.0) / 2.0).abs() < world.takes * 0.05, "{rates:?}");
    assert_eq!((world.shares[2], world.shares[3]), (None, None));
    // Two of which none fills the wire alone.
    let mut world = World::new(500_000, &[2_500.0, 2_500.0]);
    world.run(20.0);
    assert_eq!(world.lost, 0.0);
}

#[test]
fn a_wire_that_others_use_is_shared_with_them() {
    let mut world = World::new(500_000, &[FLOOD]);
    world.takes *= 0.6;
    world.run(60.0);
    assert_eq!(world.lost, 0.0);
    let before = world.sent;
    world.run(10.0);
    assert!((world.sent - before) / 10.0 > world.takes * 0.98);
}

#[test]
fn the_limit_is_gone_soon_after_the_rush() {
    let mut world = World::new(500_000, &[FLOOD, FLOOD, FLOOD, FLOOD]);
    world.run(5.0);
    assert!(world.shares.iter().all(Option::is_some));
    world.senders[1..].iter_mut().for_each(|(wanted, _)| *wanted = 0.0);
    world.run(2.0);
    let alone = world.rates(2.0)[0];
    assert!(alone > world.takes * 0.98, "{alone} of {}", world.takes);
    world.senders[0].0 = 0.0;
    world.run(2.0);
    assert_eq!(world.shares, [None; 4]);
    assert_eq!(world.lost, 0.0);
}

#[test]
fn a_broken_wire_keeps_nobody_from_the_others() {
    let mut world = World::new(500_000, &[FLOOD, FLOOD]);
    world.takes = 0.0;
    world.run(3.0);
    assert_eq!(world.shares, [None, None]);
    assert!(world.rates(1.0)[0] > 3_600.0);
    world.takes = 500_000.0 / FRAME;
    world.run(3.0);
    world.lost = 0.0;
    world.run(10.0);
    assert_eq!(world.lost, 0.0);
}

#[test]
fn new_senders_and_those_that_left_are_no_numbers_to_reckon_with() {
    let mut wire = Limiter::default();
    let gauge = |from: &[Option<u64>]| Gauge { queued: 4000, sent: 10, from: from.to_vec() };
    assert_eq!(wire.read(gauge(&[Some(5)]), TICK, LENGTH, &[500_000]), [None]);
    assert_eq!(wire.read(gauge(&[Some(5), Some(1)]), TICK, LENGTH, &[500_000; 2]), [None, None]);
    assert_eq!(wire.read(gauge(&[None, Some(0)]), TICK, LENGTH, &[500_000; 2]), [None, None]);
    assert_eq!(wire.read(gauge(&[None, None]), TICK, LENGTH, &[]), []);
    wire.forget_senders();
    assert_eq!(wire.read(gauge(&[Some(900)]), TICK, LENGTH, &[500_000]), [None]);
}
