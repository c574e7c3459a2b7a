//! What comes from one host on one span: each frame once, in order, and none that is too old.

use std::time::Duration;

use canhub::frames::CanAnyFrame;

use super::{Delays, Moment, Offset, PeerClock, Quantiles, time::nanos};
use crate::batch::Batch;

/// How far off two moments of one host may be: it reads its clocks one after the other.
const SLACK: i128 = 1_000_000;

/// Counts frames. None of these ever falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Received {
    /// Those that were accepted.
    pub frames: u64,
    /// Those that never came.
    pub lost: u64,
    /// Those that came too late, or of which nobody can say how old they are.
    pub too_old: u64,
    /// Those of `too_old` that seem to come from the future: a clock jumped.
    pub from_future: u64,
    /// Those that came again, or after they were counted as lost.
    pub duplicates: u64,
    /// Those that are not for this bus ([`Inbound::refuse`]), that this host itself sent, or that contradict what the host sent
    /// before.
    pub refused: u64,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was new. Each of its frames was accepted or was too old.
    New,
    /// It came before, or a later one did.
    Duplicate,
    /// This host sent it.
    Own,
    /// Its number of frames is lower than what the host said before.
    Contradicts,
}

/// A frame that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// When it entered the other host's bus, by this host's clock. Estimated.
    pub entered: Moment,
    /// The frame.
    pub frame: CanAnyFrame,
}

/// One host on one span.
#[derive(Debug)]
pub struct Inbound {
    own: u64,
    age: Duration,
    current: Option<Current>,
    /// The run before. It is heard again if it was that of another host with the same name.
    former: Option<Current>,
    received: Received,
    delays: Delays,
}

/// The run of the other host's `canhub-span` that is heard.
#[derive(Debug, Clone, Copy)]
struct Current {
    instance: u64,
    epoch: u32,
    sequence: u64,
    /// How many frames it sent.
    frames: u64,
    /// The shortest time between the two clocks, theirs at the start and ours at the end of the way.
    shortest: i128,
    /// The host went offline in this epoch.
    lost_in: Option<u32>,
}

/// How the age of frames is known.
enum Ages {
    /// By the clocks.
    Known(Offset),
    /// The host has just come: as old as the way took longer than the shortest one.
    Fresh(i128),
    /// Not at all.
    Unknown,
}

impl Inbound {
    /// For one host on one span. `own` is the instance of this host, `age` the limit.
    pub fn new(own: u64, age: Duration) -> Self {
        Self {
            own,
            age,
            current: None,
            former: None,
            received: Received::default(),
            delays: Delays::default(),
        }
    }

    /// What the run before kept. As after an outage, what the host sent before it started anew is accepted only once its clock
    /// is known.
    pub fn restored(own: u64, age: Duration, kept: [u64; 10]) -> Self {
        let [instance, epoch, sequence, sent, frames, lost, too_old, from_future, duplicates, refused] = kept;
        let epoch = u32::try_from(epoch).unwrap_or(u32::MAX);
        let current =
            Current { instance, epoch, sequence, frames: sent, shortest: i128::MAX, lost_in: Some(epoch) };
        let mut restored = Self::new(own, age);
        restored.current = (instance != 0).then_some(current);
        restored.received = Received { frames, lost, too_old, from_future, duplicates, refused };
        restored
    }

    /// For the next run. To be kept before the frames of a batch go to the bus.
    pub fn kept(&self) -> [u64; 10] {
        let current = self
            .current
            .map(|current| [current.instance, u64::from(current.epoch), current.sequence, current.frames]);
        let [instance, epoch, sequence, sent] = current.unwrap_or_default();
        let Received { frames, lost, too_old, from_future, duplicates, refused } = self.received;
        [instance, epoch, sequence, sent, frames, lost, too_old, from_future, duplicates, refused]
    }

    /// From now on, frames older than this are not accepted.
    pub fn set_age(&mut self, age: Duration) {
        self.age = age;
    }

    /// The host went offline. Until its clock is known (again), only what it sends after it started anew is accepted.
    pub fn offline(&mut self) {
        if let Some(current) = &mut self.current {
            current.lost_in = Some(current.epoch);
        }
    }

    /// A batch came from the run of the host that says hello, not from an earlier one. Calls `deliver` for each frame that is
    /// accepted, in order.
    pub fn receive(
        &mut self,
        batch: &Batch<'_>,
        now: Moment,
        clock: &PeerClock,
        mut deliver: impl FnMut(Arrived),
    ) -> Outcome {
        let header = batch.header();
        let current = match self.sort(batch) {
            Ok(current) => current,
            Err(outcome) => return outcome,
        };
        let now_nanos = i128::from(now.0);
        let last = batch.frames().last().map_or(header.base, |timed| timed.time);
        let shortest = current.shortest.min(now_nanos - i128::from(last.0));
        self.current = Some(Current { shortest, ..current });
        let ages = match clock.offset(now).filter(|_| clock.is_of(header.instance)) {
            Some(offset) => Ages::Known(offset),
            None if current.lost_in.is_none() && clock.is_of(header.instance) && clock.is_fresh(now) => {
                Ages::Fresh(shortest)
            }
            None => Ages::Unknown,
        };
        for timed in batch.frames() {
            let way = now_nanos - i128::from(timed.time.0);
            let (age, drift, earliest) = match ages {
                Ages::Known(Offset { nanos: offset, uncertainty, drift }) => {
                    (way + i128::from(offset), nanos(drift), -SLACK - i128::from(nanos(uncertainty)))
                }
                Ages::Fresh(shortest) => (way - shortest, 0, 0),
                Ages::Unknown => (i128::MAX, 0, 0),
            };
            // After an outage of a minute, clocks may have drifted by some milliseconds: rather too old than too young.
            if age > i128::from(nanos(self.age)) - i128::from(drift) || age < earliest {
                self.received.too_old += 1;
                self.received.from_future += u64::from(age < earliest);
                continue;
            }
            let age = Duration::from_nanos(u64::try_from(age).unwrap_or(0));
            if matches!(ages, Ages::Known(_)) {
                self.delays.add(now, age);
            }
            self.received.frames += 1;
            deliver(Arrived { entered: now - age, frame: timed.frame });
        }
        Outcome::New
    }

    /// A batch came that is not for this bus, because the host is refused or the bus stands still. Its frames are counted as
    /// that, and not as lost when the next batch comes.
    pub fn refuse(&mut self, batch: &Batch<'_>) -> Outcome {
        match self.sort(batch) {
            Ok(current) => {
                self.current = Some(current);
                self.received.refused += u64::from(batch.count());
                Outcome::New
            }
            Err(outcome) => outcome,
        }
    }

    /// Whether the batch is the next of its host: counts what is missing before it, or its frames, if it is not.
    fn sort(&mut self, batch: &Batch<'_>) -> Result<Current, Outcome> {
        let next = self.next(batch);
        match next {
            Ok(current) => {
                if let Some(known) = self.current
                    && known.instance != current.instance
                {
                    self.former = Some(known);
                }
            }
            Err(Outcome::Duplicate) => self.received.duplicates += u64::from(batch.count()),
            Err(_) => self.received.refused += u64::from(batch.count()),
        }
        next
    }

    fn next(&mut self, batch: &Batch<'_>) -> Result<Current, Outcome> {
        let header = batch.header();
        if header.instance == self.own {
            return Err(Outcome::Own);
        }
        let next = Current {
            instance: header.instance,
            epoch: header.epoch,
            sequence: header.sequence,
            frames: header.frames_before + u64::from(batch.count()),
            shortest: i128::MAX,
            lost_in: None,
        };
        let is_its = |known: &Current| known.instance == header.instance;
        // What the former run sent meanwhile may be as old as the change.
        let former = || {
            let former = self.former.filter(is_its)?;
            Some(Current { lost_in: Some(former.epoch), ..former })
        };
        let Some(current) = self.current.filter(is_its).or_else(former) else {
            if self.current.is_some() {
                // It sent these before anybody could hear it.
                self.received.lost = self.received.lost.saturating_add(header.frames_before);
            }
            return Ok(next);
        };
        if header.sequence <= current.sequence || header.epoch < current.epoch {
            return Err(Outcome::Duplicate);
        }
        let Some(lost) = header.frames_before.checked_sub(current.frames) else {
            return Err(Outcome::Contradicts);
        };
        self.received.lost = self.received.lost.saturating_add(lost);
        let lost_in = current.lost_in.filter(|epoch| header.epoch <= *epoch);
        Ok(Current { shortest: current.shortest, lost_in, ..next })
    }

    /// What came and what did not, up to now.
    pub fn received(&self) -> Received {
        self.received
    }

    /// How long frames took from bus to bus, in the last 10 s. `None` if none came.
    pub fn delays(&self, now: Moment) -> Option<Quantiles> {
        self.delays.quantiles(now)
    }
}

#[cfg(test)]
mod tests {
    use canhub::frames::Timestamp;
    use socketcan::EmbeddedFrame as _;

    use super::*;
    use crate::{
        batch::{Encoder, Header, Timed, decode},
        flow::{Ping, Pong},
    };

    const MS: u64 = 1_000_000;
    const AGE: Duration = Duration::from_millis(100);
    /// The other host's clock is ahead by this.
    const AHEAD: u64 = 1_000_000 * MS;

    fn header(sequence: u64, frames_before: u64, base: u64) -> Header {
        let (base, wall) = (Moment(base + AHEAD), Timestamp(0));
        Header { instance: 2, epoch: 1, sequence, frames_before, base, wall }
    }

    /// A batch of frames that entered at these times, relative to the header's.
    fn batch(header: Header, entered: &[u64]) -> Vec<u8> {
        let mut encoder = Encoder::default();
        encoder.start(&header);
        for entered in entered {
            let frame = CanAnyFrame::new(socketcan::StandardId::new(1).unwrap(), &[]).unwrap();
            encoder.push(&Timed { time: Moment(header.base.0 + entered), frame }).unwrap();
        }
        encoder.finish().to_vec()
    }

    fn known(now: u64) -> PeerClock {
        let mut clock = PeerClock::default();
        clock.up(Moment(now), 2);
        let received = Moment(now + AHEAD);
        let ping = Ping { instance: 1, sent: Moment(now) };
        assert!(clock.answered(Moment(now), 1, &Pong { ping, instance: 2, received, sent: received }));
        clock
    }

    /// What became of the batch, and how many frames were delivered.
    fn receive(inbound: &mut Inbound, bytes: &[u8], now: u64, clock: &PeerClock) -> (Outcome, usize) {
        let mut delivered = 0;
        let batch = decode(bytes).unwrap();
        (inbound.receive(&batch, Moment(now), clock, |_| delivered += 1), delivered)
    }

    #[test]
    fn duplicates_gaps_and_heartbeats_are_counted_in_frames() {
        let mut inbound = Inbound::new(1, AGE);
        let (clock, now) = (known(1000 * MS), 1000 * MS);
        // Nobody was listening to the 50 before.
        assert_eq!(
            receive(&mut inbound, &batch(header(9, 50, now), &[0, 0]), now, &clock),
            (Outcome::New, 2)
        );
        assert_eq!(
            receive(&mut inbound, &batch(header(9, 50, now), &[0, 0]), now, &clock),
            (Outcome::Duplicate, 0)
        );
        assert_eq!(receive(&mut inbound, &batch(header(12, 59, now), &[0]), now, &clock), (Outcome::New, 1));
        assert_eq!(
            receive(&mut inbound, &batch(header(11, 57, now), &[0, 0]), now, &clock),
            (Outcome::Duplicate, 0)
        );
        assert_eq!(receive(&mut inbound, &batch(header(13, 64, now), &[]), now, &clock), (Outcome::New, 0));
        assert_eq!(
            receive(&mut inbound, &batch(header(14, 63, now), &[0]), now, &clock),
            (Outcome::Contradicts, 0)
        );
        let expected = Received { frames: 3, lost: 7 + 4, duplicates: 4, refused: 1, ..Received::default() };
        assert_eq!(inbound.received(), expected);
    }

    #[test]
    fn own_batches_are_never_accepted() {
        let mut inbound = Inbound::new(7, AGE);
        let (clock, now) = (known(1000 * MS), 1000 * MS);
        let own = Header { instance: 7, ..header(1, 0, now) };
        assert_eq!(receive(&mut inbound, &batch(own, &[0]), now, &clock), (Outcome::Own, 0));
    }

    #[test]
    fn a_run_is_heard_again_after_another_host_had_its_name() {
        let mut inbound = Inbound::new(7, AGE);
        let (clock, now) = (known(1000 * MS), 1000 * MS);
        let other = Header { instance: 3, ..header(5, 10, now) };
        receive(&mut inbound, &batch(header(2, 6, now), &[0]), now, &clock);
        receive(&mut inbound, &batch(other, &[0]), now, &clock);
        let lost = inbound.received().lost;
        assert_eq!(lost, 10, "those of the new run before it was heard");
        assert_eq!(
            receive(&mut inbound, &batch(header(2, 6, now), &[0]), now, &clock),
            (Outcome::Duplicate, 0)
        );
        assert_eq!(receive(&mut inbound, &batch(header(4, 9, now), &[0]), now, &clock), (Outcome::New, 1));
        assert_eq!(
            inbound.received().lost,
            lost + 2,
            "what it sent meanwhile, and not all that it ever sent"
        );
    }

    #[test]
    fn frames_that_are_refused_are_not_lost_too() {
        let mut inbound = Inbound::new(1, AGE);
        let (clock, now) = (known(1000 * MS), 1000 * MS);
        receive(&mut inbound, &batch(header(1, 0, now), &[0]), now, &clock);
        let bytes = batch(header(2, 1, now), &[0, 0]);
        assert_eq!(inbound.refuse(&decode(&bytes).unwrap()), Outcome::New);
        assert_eq!(inbound.refuse(&decode(&bytes).unwrap()), Outcome::Duplicate);
        assert_eq!(receive(&mut inbound, &batch(header(3, 3, now), &[0]), now, &clock), (Outcome::New, 1));
        let expected = Received { frames: 2, refused: 2, duplicates: 2, ..Received::default() };
        assert_eq!(inbound.received(), expected);
    }

    #[test]
    fn an_epoch_never_goes_back() {
        let mut inbound = Inbound::new(1, AGE);
        let (clock, now) = (known(1000 * MS), 1000 * MS);
        let second = Header { epoch: 2, ..header(1, 0, now) };
        assert_eq!(receive(&mut inbound, &batch(second, &[0]), now, &clock), (Outcome::New, 1));
        assert_eq!(
            receive(&mut inbound, &batch(header(2, 1, now), &[0]), now, &clock),
            (Outcome::Duplicate, 0)
        );
    }

    #[test]
    fn by_what_clocks_may_have_drifted_frames_count_as_older() {
        let mut inbound = Inbound::new(1, AGE);
        let now = 61_000 * MS;
        assert_eq!(receive(&mut inbound, &batch(header(1, 0, now - 100 * MS), &[0]), now, &known(now)).1, 1);
        // 100 ppm of a minute are 6 ms.
        let compared = known(1000 * MS);
        assert_eq!(receive(&mut inbound, &batch(header(2, 1, now - 93 * MS), &[0]), now, &compared).1, 1);
        assert_eq!(receive(&mut inbound, &batch(header(3, 2, now - 95 * MS), &[0]), now, &compared).1, 0);
    }

    #[test]
    fn each_frame_that_is_too_old_is_dropped() {
        let mut inbound = Inbound::new(1, AGE);
        let (clock, sent) = (known(1000 * MS), 1000 * MS);
        let bytes = batch(header(1, 0, sent), &[0, 5 * MS, 10 * MS]);
        let mut entered = Vec::new();
        let now = Moment(sent + 104_900_000);
        inbound
            .receive(&decode(&bytes).unwrap(), now, &clock, |arrived| entered.push(arrived.entered.0 - sent));
        assert_eq!((entered, inbound.received().too_old), (vec![5 * MS, 10 * MS], 1));
        let delays = inbound.delays(now).unwrap();
        assert_eq!(delays.max, Duration::from_micros(99_900));
    }

    #[test]
    fn a_frame_from_the_future_means_that_a_clock_jumped() {
        let mut inbound = Inbound::new(1, AGE);
        let clock = known(1000 * MS);
        let bytes = batch(header(1, 0, 1050 * MS), &[0]);
        assert_eq!(receive(&mut inbound, &bytes, 1000 * MS, &clock), (Outcome::New, 0));
        assert_eq!((inbound.received().too_old, inbound.received().from_future), (1, 1));
    }

    #[test]
    fn the_clock_of_one_run_says_nothing_about_another_run_on_a_host_that_started_again() {
        let mut inbound = Inbound::new(1, AGE);
        let (clock, now) = (known(1000 * MS), 1000 * MS);
        let rebooted = Header { instance: 3, ..header(1, 0, now) };
        assert_eq!(receive(&mut inbound, &batch(rebooted, &[0]), now, &clock), (Outcome::New, 0));
        assert_eq!(inbound.received().too_old, 1);
    }

    #[test]
    fn without_a_known_offset_only_a_host_that_has_just_come_is_heard() {
        let mut inbound = Inbound::new(1, AGE);
        let mut clock = PeerClock::default();
        let sent = 1000 * MS;
        assert_eq!(
            receive(&mut inbound, &batch(header(1, 0, sent), &[0]), sent, &clock),
            (Outcome::New, 0),
            "not online"
        );
        clock.up(Moment(sent), 2);
        let next = |number: u64| header(number, number - 1, sent + number * MS);
        assert_eq!(receive(&mut inbound, &batch(next(2), &[0]), sent + 3 * MS, &clock).1, 1);
        assert_eq!(receive(&mut inbound, &batch(next(3), &[0]), sent + 200 * MS, &clock).1, 0, "held up");
        let late = sent + 3000 * MS;
        assert_eq!(
            receive(&mut inbound, &batch(header(4, 3, late), &[0]), late, &clock).1,
            0,
            "no answer in 2 s"
        );
        inbound.offline();
        clock.up(Moment(late), 2);
        assert_eq!(
            receive(&mut inbound, &batch(header(5, 4, late), &[0]), late, &clock).1,
            0,
            "sent before the outage"
        );
        let anew = Header { epoch: 2, ..header(6, 5, late) };
        assert_eq!(receive(&mut inbound, &batch(anew, &[0]), late, &clock).1, 1, "started anew");
        assert_eq!(inbound.received().too_old, 4);
    }
}
