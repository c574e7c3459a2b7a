//! Frames of other hosts that wait until the bus here takes them.

use std::{collections::VecDeque, time::Duration};

use canhub::frames::CanAnyFrame;

use super::{Arrived, Moment, QUEUE, QUEUE_KEPT};

/// Counts frames that were dropped. None of these ever falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// They got too old while they waited.
    pub too_old: u64,
    /// [`QUEUE`] newer ones came after them.
    pub queue_full: u64,
}

/// The frames for one bus, of all other hosts, in the order in which they came. An adapter's wire is slower than a span, and a
/// cut one takes nothing: what gets too old here is dropped.
#[derive(Debug)]
pub struct Waiting {
    age: Duration,
    frames: VecDeque<Arrived>,
    dropped: Dropped,
}

impl Waiting {
    /// For one bus. Frames older than `age` are dropped.
    pub fn new(age: Duration) -> Self {
        Self { age, frames: VecDeque::new(), dropped: Dropped::default() }
    }

    /// What the run before kept.
    pub fn restored(age: Duration, [too_old, queue_full]: [u64; 2]) -> Self {
        Self { dropped: Dropped { too_old, queue_full }, ..Self::new(age) }
    }

    /// For the next run.
    pub fn kept(&self) -> [u64; 2] {
        [self.dropped.too_old, self.dropped.queue_full]
    }

    /// From now on, frames older than this are dropped.
    pub fn set_age(&mut self, age: Duration) {
        self.age = age;
    }

    /// A frame came.
    pub fn push(&mut self, arrived: Arrived) {
        if self.frames.len() == QUEUE {
            self.frames.pop_front();
            self.dropped.queue_full += 1;
        }
        self.frames.push_back(arrived);
    }

    /// The frame to be sent now and those after it, in order, up to the first one that is too old: one host's frames may
    /// have taken longer than those of another that came before.
    pub fn upcoming(&mut self, now: Moment) -> impl Iterator<Item = &CanAnyFrame> {
        self.drop_old(now);
        let age = self.age;
        let is_due = move |arrived: &&Arrived| now.since(arrived.entered) <= age;
        self.frames.iter().take_while(is_due).map(|arrived| &arrived.frame)
    }

    /// The bus took the first frame of [`Waiting::upcoming`].
    pub fn sent(&mut self) {
        self.frames.pop_front();
        self.shrink();
    }

    fn drop_old(&mut self, now: Moment) {
        while self.frames.front().is_some_and(|first| now.since(first.entered) > self.age) {
            self.frames.pop_front();
            self.dropped.too_old += 1;
        }
        self.shrink();
    }

    fn shrink(&mut self) {
        if self.frames.is_empty() {
            self.frames.shrink_to(QUEUE_KEPT);
        }
    }

    /// How many frames wait.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// What was dropped, up to now.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use socketcan::{EmbeddedFrame as _, Frame};

    use super::*;

    const MS: u64 = 1_000_000;

    fn arrived(entered: u64, number: u16) -> Arrived {
        let frame = CanAnyFrame::new(socketcan::StandardId::new(number).unwrap(), &[]).unwrap();
        Arrived { entered: Moment(entered), frame }
    }

    fn upcoming(waiting: &mut Waiting, now: u64) -> Vec<u32> {
        waiting.upcoming(Moment(now * MS)).map(Frame::raw_id).collect()
    }

    #[test]
    fn a_frame_waits_until_the_bus_takes_it_or_it_is_too_old() {
        let mut waiting = Waiting::new(Duration::from_millis(100));
        for (entered, number) in [(0, 1), (50, 2), (20, 3)] {
            waiting.push(arrived(entered * MS, number));
        }
        assert_eq!(upcoming(&mut waiting, 100), [1, 2, 3]);
        assert_eq!(upcoming(&mut waiting, 101), [2, 3], "the first is too old now");
        assert_eq!(upcoming(&mut waiting, 121), [2], "so is the third");
        waiting.sent();
        assert!(upcoming(&mut waiting, 121).is_empty());
        assert_eq!((waiting.dropped().too_old, waiting.is_empty()), (2, true));
    }

    #[test]
    fn the_queue_is_bounded_and_gives_its_memory_back() {
        let mut waiting = Waiting::new(Duration::from_millis(100));
        for _ in 0..QUEUE + 3 {
            waiting.push(arrived(0, 1));
        }
        assert_eq!((waiting.len(), waiting.dropped().queue_full), (QUEUE, 3));
        assert!(upcoming(&mut waiting, 200).is_empty());
        assert_eq!(waiting.dropped().too_old, QUEUE as u64);
        assert!(waiting.frames.capacity() <= QUEUE_KEPT);
    }
}
