//! What time it is on another host, in terms of this host's clock.
//!
//! Each answer to a ping says: the difference of the clocks lies within half of the way there and back around its middle.
//! The answer with the least uncertainty holds (the minimum filter of NTP, RFC 5905, 10), and an older one gets less
//! certain as clocks drift. Two answers that exclude each other mean that a clock jumped (a virtual machine was paused): only
//! the newer one holds.

use std::time::Duration;

use super::{Moment, time::nanos};

/// How many answers are kept.
const SAMPLES: usize = 16;
/// How fast two clocks may drift apart: 100 µs in a second, twice what crystals are allowed to.
const DRIFT_PPM: u64 = 100;
/// Between pings, while the offset is known.
const PING: Duration = Duration::from_secs(1);
/// The same, while it is not, or rests on less than [`SOME`] answers.
const PING_FIRST: Duration = Duration::from_millis(50);
const SOME: usize = 4;
/// No answer holds longer. It is uncertain by 10 ms then.
const HOLDS: Duration = Duration::from_secs(100);
/// How long after a host came online its frames are accepted without a known offset.
const FRESH: Duration = Duration::from_secs(2);
/// A way there and back that takes longer says nothing useful about the time.
const WAY_MAX: Duration = Duration::from_secs(2);

/// "What time is it?", sent as soon as it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ping {
    /// Of the host that asks: the answer is for this run of its `canhub-span`.
    pub instance: u64,
    /// When it was sent, by the clock of the host that asks.
    pub sent: Moment,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pong {
    /// What it answers.
    pub ping: Ping,
    /// Of the host that answers.
    pub instance: u64,
    /// When the ping came, by the clock of the host that answers.
    pub received: Moment,
    /// When this was sent, by the clock of the host that answers.
    pub sent: Moment,
}

/// The difference between two hosts' clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// The other host's clock minus this one's, in nanoseconds.
    pub nanos: i64,
    /// How far off that may be.
    pub uncertainty: Duration,
    /// The part of it that the time since the last useful answer is to blame for.
    pub drift: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Moment,
    offset: i64,
    /// Nanoseconds.
    half_way: u64,
}

impl Sample {
    fn offset(&self, now: Moment) -> Offset {
        let drift = Duration::from_nanos(nanos(now.since(self.at)) / 1_000_000 * DRIFT_PPM);
        Offset { nanos: self.offset, uncertainty: Duration::from_nanos(self.half_way) + drift, drift }
    }
}

/// The clock of one other host.
#[derive(Debug, Default)]
pub struct PeerClock {
    /// The run of the other's `canhub-span` that this is about.
    instance: Option<u64>,
    up_since: Option<Moment>,
    samples: Vec<Sample>,
    pinged: Option<Moment>,
    jumps: u64,
}

impl PeerClock {
    /// The host came online, as this instance: it is pinged at once. What was known of the same instance still holds.
    pub fn up(&mut self, now: Moment, instance: u64) {
        if self.instance != Some(instance) {
            self.samples.clear();
            self.instance = Some(instance);
        }
        (self.up_since, self.pinged) = (Some(now), None);
    }

    /// The host went offline.
    pub fn down(&mut self) {
        self.up_since = None;
    }

    /// When the next ping is due; `None` while the host is offline.
    pub fn ping_due(&self) -> Option<Moment> {
        self.up_since?;
        let pause = if self.samples.len() < SOME { PING_FIRST } else { PING };
        Some(self.pinged.map_or(Moment(0), |pinged| pinged + pause))
    }

    /// The ping to send now. `own` is the instance of this host.
    pub fn ping(&mut self, now: Moment, own: u64) -> Ping {
        self.pinged = Some(now);
        Ping { instance: own, sent: now }
    }

    /// An answer came. Returns whether it was one that says something: not one to another run of this `canhub-span` (`own`) or
    /// of another instance of the host, and its times are possible.
    pub fn answered(&mut self, now: Moment, own: u64, pong: &Pong) -> bool {
        if pong.ping.instance != own || self.instance != Some(pong.instance) {
            return false;
        }
        let (Some(way), Some(there)) =
            (now.0.checked_sub(pong.ping.sent.0), pong.sent.0.checked_sub(pong.received.0))
        else {
            return false;
        };
        let Some(way) = way.checked_sub(there).filter(|way| *way <= nanos(WAY_MAX)) else { return false };
        let middle = |a: u64, b: u64| i128::from(a) + i128::from(b);
        let offset = (middle(pong.received.0, pong.sent.0) - middle(pong.ping.sent.0, now.0)) / 2;
        let Ok(offset) = i64::try_from(offset) else { return false };
        let sample = Sample { at: now, offset, half_way: way.div_ceil(2) };
        self.keep(sample);
        true
    }

    fn keep(&mut self, sample: Sample) {
        if let Some(known) = self.offset(sample.at)
            && known.nanos.abs_diff(sample.offset) > nanos(known.uncertainty).saturating_add(sample.half_way)
        {
            self.samples.clear();
            self.jumps += 1;
        }
        if self.samples.len() == SAMPLES {
            self.samples.remove(0);
        }
        self.samples.push(sample);
    }

    /// The difference of the clocks, if it is known.
    pub fn offset(&self, now: Moment) -> Option<Offset> {
        let held = self.samples.iter().filter(|sample| now.since(sample.at) <= HOLDS);
        held.map(|sample| sample.offset(now)).min_by_key(|offset| offset.uncertainty)
    }

    /// How often a clock jumped against the other.
    pub fn jumps(&self) -> u64 {
        self.jumps
    }

    /// Whether this is about this instance of the host.
    pub(super) fn is_of(&self, instance: u64) -> bool {
        self.instance == Some(instance)
    }

    /// Whether the host came online so recently that there may be no answer yet.
    pub(super) fn is_fresh(&self, now: Moment) -> bool {
        self.up_since.is_some_and(|since| now.since(since) <= FRESH)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    /// What comes back at `now` from a host whose clock is ahead by `offset`, after this way there and back.
    fn pong(now: u64, offset: i64, there: u64, back: u64) -> Pong {
        let received = Moment((now - back).saturating_add_signed(offset));
        let ping = Ping { instance: 1, sent: Moment(now - there - back) };
        Pong { ping, instance: 2, received, sent: received }
    }

    fn clock() -> PeerClock {
        let mut clock = PeerClock::default();
        clock.up(Moment(0), 2);
        clock
    }

    #[test]
    fn an_answer_holds_for_some_time_only() {
        let (mut clock, now) = (clock(), Moment(1000 * MS));
        assert!(clock.answered(now, 1, &pong(now.0, 5, MS, MS)));
        assert!(clock.offset(now + HOLDS).is_some());
        assert_eq!(clock.offset(now + HOLDS + Duration::from_nanos(1)), None);
    }

    #[test]
    fn the_answer_with_the_shortest_way_holds() {
        let mut clock = clock();
        assert_eq!(clock.offset(Moment(0)), None);
        for (at, there, back) in [(1000, 1, 9), (2000, 1, 1), (3000, 30, 0)] {
            assert!(clock.answered(
                Moment(at * MS),
                1,
                &pong(at * MS, 5_000_000_000_000, there * MS, back * MS)
            ));
        }
        let offset = clock.offset(Moment(3000 * MS)).unwrap();
        assert_eq!(offset.nanos, 5_000_000_000_000);
        assert_eq!(
            offset.uncertainty,
            Duration::from_micros(1100),
            "half of the way, and the drift of a second"
        );
    }

    #[test]
    fn a_jump_is_noticed_with_the_next_answer() {
        let mut clock = clock();
        let (before, after, paused) = (100_000 * MS, 101_000 * MS, -60_000_000_000);
        clock.answered(Moment(before), 1, &pong(before, 0, MS, MS));
        clock.answered(Moment(after), 1, &pong(after, paused, 5 * MS, 5 * MS));
        assert_eq!((clock.offset(Moment(after)).unwrap().nanos, clock.jumps()), (paused, 1));
    }

    #[test]
    fn answers_to_others_and_impossible_ones_say_nothing() {
        let mut clock = clock();
        let now = Moment(1000 * MS);
        let good = pong(now.0, 0, MS, MS);
        assert!(!clock.answered(now, 9, &good), "to another run of this host");
        assert!(!clock.answered(now, 1, &Pong { instance: 3, ..good }), "of another run of the other host");
        assert!(
            !clock.answered(now, 1, &Pong { sent: Moment(good.received.0 + 3 * MS), ..good }),
            "too long there"
        );
        assert!(!clock.answered(Moment(1), 1, &good), "before it was asked");
        assert!(!clock.answered(Moment(10_000 * MS), 1, &good), "after a very long way");
        let far = Pong { received: Moment(u64::MAX), sent: Moment(u64::MAX), ..good };
        assert!(!clock.answered(now, 1, &far), "out of range");
        assert_eq!(clock.offset(now), None);
    }

    #[test]
    fn pings_are_frequent_until_the_offset_is_known_and_stop_when_the_host_is_gone() {
        let mut clock = clock();
        assert_eq!(clock.ping_due(), Some(Moment(0)));
        let mut now = Moment(1000 * MS);
        for _ in 0..SOME {
            assert!(clock.ping_due().unwrap() <= now);
            let ping = clock.ping(now, 1);
            assert_eq!(clock.ping_due(), Some(now + PING_FIRST));
            now = now + PING_FIRST;
            clock.answered(now, 1, &Pong { ping, instance: 2, received: now, sent: now });
        }
        assert!(clock.ping_due().unwrap() > now + PING_FIRST);
        clock.down();
        assert_eq!(clock.ping_due(), None);
    }

    #[test]
    fn the_same_instance_is_known_again_and_another_is_not() {
        let mut clock = clock();
        let now = Moment(1000 * MS);
        clock.answered(now, 1, &pong(now.0, 7, MS, MS));
        clock.down();
        clock.up(now, 2);
        assert!(clock.offset(now).is_some());
        clock.up(now, 3);
        assert_eq!(clock.offset(now), None);
        assert_eq!(clock.ping_due(), Some(Moment(0)), "it is asked at once");
    }

    proptest! {
        #[test]
        fn the_true_offset_is_never_outside_the_uncertainty(
            offset in -1_000_000_000_000_i64..1_000_000_000_000,
            drift in -50_i64..50,
            ways in prop::collection::vec((1..3_000 * MS, 0..50 * MS, 0..50 * MS), 1..40),
        ) {
            let mut clock = clock();
            let mut now = 2_000_000 * MS;
            for (pause, there, back) in ways {
                now += pause + there + back;
                let truly = |at: u64| offset + (at / 1_000_000) as i64 * drift;
                let received = Moment((now - back).saturating_add_signed(truly(now - back)));
                let ping = Ping { instance: 1, sent: Moment(now - there - back) };
                clock.answered(Moment(now), 1, &Pong { ping, instance: 2, received, sent: received });
                let known = clock.offset(Moment(now)).unwrap();
                // The middle of the way is up to 100 ms ago.
                let off = known.nanos.abs_diff(truly(now));
                prop_assert!(off <= nanos(known.uncertainty) + 10_000, "{off} {known:?}");
                prop_assert_eq!(clock.jumps(), 0);
            }
        }
    }
}
