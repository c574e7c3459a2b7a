//! Times on a host, and what the kernel's time stamps mean on it.

use std::{
    ops::{Add, Sub},
    time::{Duration, SystemTime},
};

use canhub::frames::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// A time in nanoseconds by a host's `CLOCK_BOOTTIME`, which nobody sets, and which goes on while the host sleeps. Those of
/// two hosts have nothing in common, see [`super::PeerClock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub u64);

impl Moment {
    /// Now, on this host.
    pub fn now() -> Self {
        // It exists on every Linux.
        let since = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
        Self(nanos(since))
    }

    /// The time since `earlier`; zero if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(nanos(time)))
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(time)))
    }
}

/// A duration in nanoseconds; 584 years if it is longer.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Both clocks of this host, read one right after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// The one that nobody sets.
    pub now: Moment,
    /// The wall clock, which somebody may have set just now.
    pub wall: Timestamp,
}

impl Clocks {
    /// Now, on this host.
    pub fn now() -> Self {
        Self { now: Moment::now(), wall: SystemTime::now().into() }
    }

    /// The same clocks at another moment, if the wall clock was not set between.
    pub fn at(&self, now: Moment) -> Self {
        Self { now, wall: self.wall_at(now) }
    }

    /// The wall clock's time at a moment, as the wall clock is set now.
    pub fn wall_at(&self, moment: Moment) -> Timestamp {
        match moment.0.checked_sub(self.now.0) {
            Some(later) => Timestamp(self.wall.0.saturating_add(later)),
            None => Timestamp(self.wall.0.saturating_sub(self.now.0 - moment.0)),
        }
    }

    /// When the wall clock showed this time, if it was never set. May be out of range.
    fn moment_of(&self, stamp: Timestamp) -> i128 {
        i128::from(self.now.0) - (i128::from(self.wall.0) - i128::from(stamp.0))
    }
}

/// Tells when frames entered the bus. The kernel stamps them with the wall clock, which may be set between the stamp and the
/// time when the frame is read; ages must not be wrong by that.
#[derive(Debug, Clone, Copy)]
pub struct Entries {
    /// When the socket was last empty: all frames that are read now came later.
    empty_at: Clocks,
}

impl Entries {
    /// For a socket that was opened now.
    pub fn new(now: Clocks) -> Self {
        Self { empty_at: now }
    }

    /// The socket is empty, to be called at least each [`super::HEARTBEAT`].
    pub fn is_empty(&mut self, now: Clocks) {
        self.empty_at = now;
    }

    /// When a frame with this stamp, which is read now, entered the bus.
    pub fn entered(&self, now: &Clocks, stamp: Timestamp) -> Moment {
        let possible = i128::from(self.empty_at.now.0)..=i128::from(now.now.0);
        // By the wall clock as it was, or as it is. If both are possible, they hardly differ, or the clock was set by less
        // than the time between: the earlier one cannot make a frame too young.
        let [was, is] = [&self.empty_at, now].map(|clocks| clocks.moment_of(stamp));
        let entered = [was.min(is), was.max(is)].into_iter().find(|moment| possible.contains(moment));
        // A process that was scheduled away between its two clocks reads some µs apart.
        let entered =
            entered.unwrap_or_else(|| is.clamp(*possible.start(), *possible.end().max(possible.start())));
        u64::try_from(entered).map_or(now.now, Moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const HOUR: u64 = 3600 * SECOND;

    fn clocks(now: u64, wall: u64) -> Clocks {
        Clocks { now: Moment(now), wall: Timestamp(wall) }
    }

    #[test]
    fn a_stamp_is_a_moment_whatever_the_wall_clock_does() {
        let wall = 1_800_000_000 * SECOND;
        let entries = Entries::new(clocks(50 * SECOND, wall));
        let stamp = Timestamp(wall + SECOND / 10);
        let expected = Moment(50 * SECOND + SECOND / 10);
        for (set, name) in [(0, "not set"), (HOUR as i64, "an hour forth"), (-(HOUR as i64), "an hour back")]
        {
            let wall = (wall + SECOND / 5).saturating_add_signed(set);
            let now = clocks(50 * SECOND + SECOND / 5, wall);
            assert_eq!(entries.entered(&now, stamp), expected, "stamped before the clock was {name}");
            let after = Timestamp(stamp.0.saturating_add_signed(set));
            assert_eq!(entries.entered(&now, after), expected, "stamped after the clock was {name}");
        }
    }

    #[test]
    fn an_impossible_stamp_is_as_old_or_young_as_is_possible() {
        let entries = Entries::new(clocks(50 * SECOND, 1000 * SECOND));
        let now = clocks(51 * SECOND, 1001 * SECOND);
        assert_eq!(entries.entered(&now, Timestamp(0)), Moment(50 * SECOND));
        assert_eq!(entries.entered(&now, Timestamp(u64::MAX)), Moment(51 * SECOND));
        // The clock was set by less than the time between: older rather than younger.
        let now = clocks(51 * SECOND, 1001 * SECOND + SECOND / 2);
        assert_eq!(
            entries.entered(&now, Timestamp(1000 * SECOND + SECOND * 3 / 4)),
            Moment(50 * SECOND + SECOND / 4)
        );
    }

    #[test]
    fn the_wall_clock_at_a_moment_is_that_of_now() {
        let now = clocks(10 * SECOND, 1000 * SECOND);
        assert_eq!(now.wall_at(Moment(9 * SECOND)), Timestamp(999 * SECOND));
        assert_eq!(now.wall_at(Moment(12 * SECOND)), Timestamp(1002 * SECOND));
        assert!(Clocks::now().now <= Moment::now());
    }
}
