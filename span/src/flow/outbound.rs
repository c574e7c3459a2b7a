//! Frames that wait to leave, and when a batch of them leaves.

use std::{collections::VecDeque, time::Duration};

use canhub::frames::CanAnyFrame;

use super::{Clocks, Moment, QUEUE, QUEUE_KEPT};
use crate::batch::{Encoder, Header, PushError, Timed};

/// The least time between two batches of a busy bus: a batch costs as much as many frames. Frames of a bus that is not busy
/// wait for nothing: timers are late, by up to 10 ms on some kernels.
const TICK: Duration = Duration::from_millis(1);
/// A quiet bus sends a batch without frames after this time, so that the others know what they missed and how old their
/// knowledge is.
pub const HEARTBEAT: Duration = Duration::from_millis(250);

/// Counts what left and what did not. None of these ever falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// Frames in batches.
    pub frames: u64,
    /// Batches, those without frames included.
    pub batches: u64,
    /// Frames that were dropped because they got too old here, or because an outage ended.
    pub too_old: u64,
    /// Frames that were dropped because [`QUEUE`] newer ones came after them.
    pub queue_full: u64,
    /// Frames that are not passed on at all: error frames, mostly.
    pub unfit: u64,
}

/// The frames of one bus on their way out.
#[derive(Debug)]
pub struct Outbound {
    instance: u64,
    epoch: u32,
    age: Duration,
    waiting: VecDeque<Timed>,
    /// When the last frame entered, for frames whose stamps are not in order: they come from several processors.
    last_entered: Moment,
    last_batch: Option<Moment>,
    load: Load,
    sent: Sent,
}

impl Outbound {
    /// For one span, of this run of `canhub-span`. Frames older than `age` do not leave.
    pub fn new(instance: u64, age: Duration) -> Self {
        Self {
            instance,
            epoch: 1,
            age,
            waiting: VecDeque::new(),
            last_entered: Moment(0),
            last_batch: None,
            load: Load::default(),
            sent: Sent::default(),
        }
    }

    /// What the run before kept: its numbers go on, so that others know what never left it.
    pub fn restored(instance: u64, age: Duration, kept: [u64; 6]) -> Self {
        let [epoch, frames, batches, too_old, queue_full, unfit] = kept;
        let mut restored = Self::new(instance, age);
        restored.epoch = u32::try_from(epoch).unwrap_or(u32::MAX);
        restored.sent = Sent { frames, batches, too_old, queue_full, unfit };
        restored.start_anew();
        restored
    }

    /// For the next run. To be kept before a batch that was [taken](Self::take) is sent.
    pub fn kept(&self) -> [u64; 6] {
        let Sent { frames, batches, too_old, queue_full, unfit } = self.sent;
        [u64::from(self.epoch), frames, batches, too_old, queue_full, unfit]
    }

    /// From now on, frames older than this do not leave.
    pub fn set_age(&mut self, age: Duration) {
        self.age = age;
    }

    /// A member sent a frame, which entered the bus at this time.
    pub fn push(&mut self, now: Moment, entered: Moment, frame: CanAnyFrame) {
        let time = entered.max(self.last_entered).min(now.max(self.last_entered));
        self.last_entered = time;
        if self.waiting.len() == QUEUE {
            self.waiting.pop_front();
            self.sent.queue_full += 1;
        }
        self.waiting.push_back(Timed { time, frame });
    }

    /// When [`Outbound::take`] has something: maybe at once, never later than the next heartbeat.
    pub fn due(&self) -> Moment {
        match self.waiting.is_empty() {
            true => self.last_batch.map_or(Moment(0), |last| last + HEARTBEAT),
            false => self.gathers_until().unwrap_or(Moment(0)),
        }
    }

    /// Until when frames gather for the next batch, if the bus is busy.
    pub fn gathers_until(&self) -> Option<Moment> {
        self.load.is_busy().then(|| self.load.at + TICK)
    }

    /// The batch that is to leave now, if one is due. It is sent, or lost: it is not taken twice.
    pub fn take<'a>(&mut self, clocks: &Clocks, encoder: &'a mut Encoder) -> Option<&'a [u8]> {
        self.drop_old(clocks.now);
        if clocks.now < self.due() {
            return None;
        }
        let base = self.waiting.front().map_or(clocks.now, |first| first.time);
        encoder.start(&Header {
            instance: self.instance,
            epoch: self.epoch,
            sequence: self.sent.batches + 1,
            frames_before: self.sent.frames,
            base,
            wall: clocks.wall_at(base),
        });
        while let Some(first) = self.waiting.front() {
            match encoder.push(first) {
                Ok(()) => {}
                Err(PushError::Full) => break,
                Err(PushError::Unfit(_)) => self.sent.unfit += 1,
            }
            self.waiting.pop_front();
        }
        self.last_batch = Some(clocks.now);
        match encoder.count() {
            0 => self.waiting.shrink_to(QUEUE_KEPT),
            frames => self.load.left(clocks.now, frames),
        }
        self.sent.batches += 1;
        self.sent.frames += u64::from(encoder.count());
        Some(encoder.finish())
    }

    /// No host is there: drops what waits, and starts anew.
    pub fn outage(&mut self) {
        self.sent.too_old += self.waiting.len() as u64;
        self.waiting.clear();
        self.start_anew();
    }

    /// A host is there (again): what comes from now on can be told from what was sent before. To be called whenever one
    /// comes online; the others are not disturbed.
    pub fn start_anew(&mut self) {
        self.epoch = self.epoch.saturating_add(1);
    }

    /// What left and what did not, up to now.
    pub fn sent(&self) -> Sent {
        self.sent
    }

    /// How many frames wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn drop_old(&mut self, now: Moment) {
        while self.waiting.front().is_some_and(|first| now.since(first.time) > self.age) {
            self.waiting.pop_front();
            self.sent.too_old += 1;
        }
    }
}

/// How busy a bus is: the frames that left, less [`Load::PER_MS`] for each millisecond. A batch of its own for each frame
/// would cost a bus with more frames than that too much; a few that come together do not make it busy.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    /// When frames left last.
    at: Moment,
    /// In nanoseconds that it takes until none is left.
    level: u64,
}

impl Load {
    const PER_MS: u64 = 2;
    const PER_FRAME: u64 = 1_000_000 / Self::PER_MS;
    /// Frames above this are gathered.
    const BUSY: u64 = 32 * Self::PER_FRAME;
    /// A bus that was busy is not for more than 32 ms after its last frame, nor on kernels whose timers take 10 ms.
    const MOST: u64 = 2 * Self::BUSY;

    fn left(&mut self, now: Moment, frames: u16) {
        let since = u64::try_from(now.since(self.at).as_nanos()).unwrap_or(u64::MAX);
        self.level = (self.level.saturating_sub(since) + u64::from(frames) * Self::PER_FRAME).min(Self::MOST);
        self.at = now;
    }

    fn is_busy(&self) -> bool {
        self.level > Self::BUSY
    }
}

#[cfg(test)]
mod tests {
    use socketcan::EmbeddedFrame as _;

    use super::*;
    use crate::batch::decode;
    use canhub::frames::Timestamp;

    const MS: u64 = 1_000_000;
    const AGE: Duration = Duration::from_millis(100);

    fn at(now: u64) -> Clocks {
        Clocks { now: Moment(now), wall: Timestamp(1_000_000 * MS + now) }
    }

    fn frame(number: u16) -> CanAnyFrame {
        CanAnyFrame::new(socketcan::StandardId::new(number).unwrap(), &[1, 2]).unwrap()
    }

    /// The header's frames before, and the number of frames, of what leaves at this time.
    fn left(out: &mut Outbound, now: u64) -> Option<(u64, u16)> {
        let mut encoder = Encoder::default();
        let batch = decode(out.take(&at(now), &mut encoder)?).unwrap();
        Some((batch.header().frames_before, batch.count()))
    }

    #[test]
    fn each_frame_of_a_bus_that_is_not_busy_leaves_at_once() {
        let mut out = Outbound::new(7, AGE);
        assert_eq!(left(&mut out, 1000 * MS), Some((0, 0)), "the first heartbeat");
        // 1,000 frames/s that come in pairs.
        for pair in 0..500 {
            for (nth, after) in [(0, 0), (1, 100_000)] {
                let now = 1050 * MS + pair * 2 * MS + after;
                out.push(Moment(now), Moment(now), frame(1));
                assert_eq!(left(&mut out, now), Some((pair * 2 + nth, 1)));
            }
        }
        let last = 1050 * MS + 499 * 2 * MS + 100_000;
        assert_eq!(out.due(), Moment(last) + HEARTBEAT);
        assert_eq!(left(&mut out, last + 250 * MS - 1), None);
        assert_eq!(left(&mut out, last + 250 * MS), Some((1000, 0)));
    }

    #[test]
    fn a_busy_bus_sends_a_batch_per_tick_until_it_is_quiet_again() {
        let mut out = Outbound::new(7, AGE);
        // 8,000 frames/s for a second, looked at whenever one comes.
        let (mut batches, mut now) = (0, 1000 * MS);
        for _ in 0..8000 {
            out.push(Moment(now), Moment(now), frame(1));
            batches += u32::from(left(&mut out, now).is_some());
            now += 125_000;
        }
        assert!((1000..1100).contains(&batches), "{batches}");
        assert!(out.gathers_until().is_some());
        // And on a kernel whose timers take 10 ms.
        for _ in 0..100 {
            now += 10 * MS;
            (0..80).for_each(|_| out.push(Moment(now), Moment(now), frame(1)));
            left(&mut out, now);
            assert_eq!(out.gathers_until(), Some(Moment(now + MS)));
        }
        now += 50 * MS;
        out.push(Moment(now), Moment(now), frame(1));
        assert!(left(&mut out, now).is_some());
        assert_eq!(out.gathers_until(), None);
    }

    #[test]
    fn frames_that_are_too_old_do_not_leave_and_are_counted() {
        let mut out = Outbound::new(7, AGE);
        left(&mut out, 0);
        out.push(Moment(MS), Moment(MS), frame(1));
        out.push(Moment(2 * MS), Moment(2 * MS), frame(2));
        assert_eq!(left(&mut out, 102 * MS), Some((0, 1)));
        assert_eq!((out.sent().too_old, out.sent().frames), (1, 1));
    }

    #[test]
    fn times_of_frames_are_in_order_though_their_stamps_are_not() {
        let (mut out, mut encoder) = (Outbound::new(7, AGE), Encoder::default());
        for entered in [10, 9, 12] {
            out.push(Moment(11 * MS), Moment(entered * MS), frame(1));
        }
        let batch = decode(out.take(&at(11 * MS), &mut encoder).unwrap()).unwrap();
        let times: Vec<_> = batch.frames().map(|timed| timed.time.0 / MS).collect();
        assert_eq!(times, [10, 10, 11], "and none is in the future");
        out.push(Moment(11 * MS), Moment(10 * MS), frame(1));
        let batch = decode(out.take(&at(12 * MS), &mut encoder).unwrap()).unwrap();
        assert_eq!(batch.header().base, Moment(11 * MS));
    }

    #[test]
    fn the_queue_is_bounded_and_gives_its_memory_back() {
        let mut out = Outbound::new(7, AGE);
        for _ in 0..QUEUE + 5 {
            out.push(Moment(MS), Moment(MS), frame(1));
        }
        assert_eq!((out.waiting(), out.sent().queue_full), (QUEUE, 5));
        let mut now = MS;
        while out.waiting() > 0 {
            left(&mut out, now);
            now += MS;
        }
        assert_eq!(out.sent().frames, QUEUE as u64);
        left(&mut out, now + 250 * MS);
        assert!(out.waiting.capacity() <= QUEUE_KEPT, "{}", out.waiting.capacity());
    }

    #[test]
    fn an_outage_drops_what_waits_and_starts_anew() {
        let mut out = Outbound::new(7, AGE);
        out.push(Moment(MS), Moment(MS), frame(1));
        out.outage();
        let mut encoder = Encoder::default();
        let batch = decode(out.take(&at(2 * MS), &mut encoder).unwrap()).unwrap();
        assert_eq!((batch.header().epoch, batch.count(), out.sent().too_old), (2, 0, 1));
    }

    #[test]
    fn an_error_frame_is_not_passed_on_and_those_behind_it_are() {
        let mut out = Outbound::new(7, AGE);
        out.push(Moment(MS), Moment(MS), socketcan::CanErrorFrame::new_error(4, &[0; 8]).unwrap().into());
        out.push(Moment(MS), Moment(MS), frame(1));
        assert_eq!(left(&mut out, MS), Some((0, 1)));
        assert_eq!(out.sent().unfit, 1);
    }

    #[test]
    fn stamps_out_of_order_are_put_in_order() {
        let mut out = Outbound::new(7, AGE);
        for entered in [5 * MS, 4 * MS, 9 * MS] {
            out.push(Moment(6 * MS), Moment(entered), frame(1));
        }
        let mut encoder = Encoder::default();
        let batch = decode(out.take(&at(6 * MS), &mut encoder).unwrap()).unwrap();
        let times: Vec<_> = batch.frames().map(|timed| timed.time.0).collect();
        assert_eq!(times, [5 * MS, 5 * MS, 6 * MS]);
        assert_eq!(batch.header().wall, Timestamp(1_000_005 * MS));
    }
}
