//! When a frame is due.

use std::time::Duration;

use crate::frames::Timestamp;

/// Clocks are set back by less than this while they are being adjusted, and frames overtake each other by less. More is
/// another recording in the same file.
const BACK_MAX: Duration = Duration::from_secs(1);

/// Maps the times of a file to those of the monotonic clock. Each is reckoned from the start, so that nothing adds up.
#[derive(Debug)]
pub(super) struct Pace {
    speed: f64,
    /// When the frame with the time `zero` is due.
    start: Duration,
    zero: Option<Timestamp>,
    last: Duration,
}

impl Pace {
    /// The first frame is due at `start`.
    pub(super) fn new(start: Duration, speed: f64) -> Self {
        Self { speed, start, zero: None, last: start }
    }

    /// When the next frame is due.
    pub(super) fn due(&mut self, time: Timestamp) -> Duration {
        let zero = *self.zero.get_or_insert(time);
        let mut due = self.start + self.scaled(time.since(zero));
        if due + self.scaled(BACK_MAX) < self.last || (time < zero && zero.since(time) > BACK_MAX) {
            self.zero = Some(time);
            self.start = self.last;
            due = self.last;
        }
        self.last = self.last.max(due);
        due
    }

    /// The file starts again, this long (in the file's time) after its last frame.
    pub(super) fn again(&mut self, gap: Duration) {
        self.start = self.last + self.scaled(gap);
        self.last = self.start;
        self.zero = None;
    }

    fn scaled(&self, time: Duration) -> Duration {
        // A file with nonsense for a time waits for years, and not in the past.
        Duration::try_from_secs_f64(time.as_secs_f64() / self.speed).unwrap_or(Duration::from_secs(1 << 32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp(1_700_000_000_000_000_000 + millis * 1_000_000)
    }

    const START: Duration = Duration::from_secs(50);

    fn due(pace: &mut Pace, millis: u64) -> u128 {
        (pace.due(at(millis)) - START).as_micros()
    }

    #[test]
    fn times_count_from_the_first_frame_and_scale() {
        let mut pace = Pace::new(START, 1.0);
        assert_eq!([0, 5, 10_000].map(|time| due(&mut pace, time)), [0, 5000, 10_000_000]);
        let mut pace = Pace::new(START, 10.0);
        assert_eq!([7, 12, 10_007].map(|time| due(&mut pace, time)), [0, 500, 1_000_000]);
    }

    #[test]
    fn frames_that_overtake_others_are_due_at_their_own_time() {
        let mut pace = Pace::new(START, 1.0);
        assert_eq!([100, 300, 299, 400].map(|time| due(&mut pace, time)), [0, 200_000, 199_000, 300_000]);
    }

    #[test]
    fn a_second_recording_in_the_file_follows_the_first() {
        let mut pace = Pace::new(START, 1.0);
        assert_eq!(
            [100_000, 105_000, 0, 1000].map(|time| due(&mut pace, time)),
            [0, 5_000_000, 5_000_000, 6_000_000]
        );
    }

    #[test]
    fn a_recording_that_starts_earlier_is_told_from_overtaking_at_any_speed() {
        let mut pace = Pace::new(START, 1.0);
        assert_eq!(
            [5000, 0, 100].map(|time| due(&mut pace, time)),
            [0, 0, 100_000],
            "before the first frame"
        );
        let mut pace = Pace::new(START, 10.0);
        assert_eq!([0, 5000, 3000].map(|time| due(&mut pace, time)), [0, 500_000, 500_000]);
    }

    #[test]
    fn the_next_round_starts_after_the_latest_frame_not_after_the_last_one() {
        let mut pace = Pace::new(START, 1.0);
        assert_eq!([0, 300, 299].map(|time| due(&mut pace, time)), [0, 300_000, 299_000]);
        pace.again(Duration::from_millis(20));
        assert_eq!(due(&mut pace, 0), 320_000);
    }

    #[test]
    fn the_next_round_starts_after_the_gap() {
        let mut pace = Pace::new(START, 2.0);
        assert_eq!([0, 100].map(|time| due(&mut pace, time)), [0, 50_000]);
        pace.again(Duration::from_millis(20));
        assert_eq!([0, 100].map(|time| due(&mut pace, time)), [60_000, 110_000]);
    }
}
