//! How long frames took, in the last seconds: counts by size, each a bit wider than the one before.

use std::time::Duration;

use super::{Moment, time::nanos};

/// Each slot counts for this long.
const SLOT: Duration = Duration::from_secs(2);
/// Together they are the last 8 to 10 s.
const SLOTS: usize = 5;
/// Each power of two is divided into this many equal parts, as a power of two: a quantile is up to 6 % too large or small.
const PARTS_BITS: u32 = 3;
/// Delays are counted in units of 1.024 µs, up to 4.3 s.
const UNIT_BITS: u32 = 10;
const OCTAVES: usize = 20;
const SIZES: usize = (OCTAVES + 1) << PARTS_BITS;

/// Delays of the last 10 s. Some 3.5 KiB once there are some.
#[derive(Debug, Default)]
pub struct Delays {
    slots: Vec<Slot>,
}

#[derive(Debug, Clone)]
struct Slot {
    /// Since the host started, in units of [`SLOT`].
    number: u64,
    counts: [u32; SIZES],
    max: Duration,
}

/// Delays of the last 10 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantiles {
    /// Half of the frames took no longer.
    pub p50: Duration,
    /// 99 of 100 frames took no longer.
    pub p99: Duration,
    /// No frame took longer.
    pub max: Duration,
}

impl Delays {
    /// A frame took this long.
    pub fn add(&mut self, now: Moment, delay: Duration) {
        let number = number(now);
        let at = match self.slots.iter().position(|slot| slot.number == number) {
            Some(at) => at,
            None => self.begin(number),
        };
        let Some(slot) = self.slots.get_mut(at) else { return };
        slot.max = slot.max.max(delay);
        if let Some(count) = slot.counts.get_mut(size_of_delay(delay)) {
            *count = count.saturating_add(1);
        }
    }

    /// A slot for these 2 s: a new one, or the oldest.
    fn begin(&mut self, number: u64) -> usize {
        let empty = Slot { number, counts: [0; SIZES], max: Duration::ZERO };
        if self.slots.len() < SLOTS {
            self.slots.push(empty);
            return self.slots.len() - 1;
        }
        let oldest = (0..SLOTS).min_by_key(|at| self.slots.get(*at).map(|slot| slot.number)).unwrap_or(0);
        if let Some(slot) = self.slots.get_mut(oldest) {
            *slot = empty;
        }
        oldest
    }

    /// What is known now; `None` if there were no frames.
    pub fn quantiles(&self, now: Moment) -> Option<Quantiles> {
        let oldest = number(now).saturating_sub(SLOTS as u64 - 1);
        let slots = || self.slots.iter().filter(|slot| slot.number >= oldest);
        let count_of = |size: usize| {
            slots().filter_map(|slot| slot.counts.get(size)).map(|count| u64::from(*count)).sum::<u64>()
        };
        let total: u64 = (0..SIZES).map(count_of).sum();
        if total == 0 {
            return None;
        }
        let max = slots().map(|slot| slot.max).max().unwrap_or_default();
        let quantile = |percent: u64| {
            let mut rest = (total * percent).div_ceil(100);
            let size = (0..SIZES).find(|size| {
                rest = rest.saturating_sub(count_of(*size));
                rest == 0
            });
            size.map_or(max, |size| middle_of(size).min(max))
        };
        Some(Quantiles { p50: quantile(50), p99: quantile(99), max })
    }
}

fn number(now: Moment) -> u64 {
    now.0 / nanos(SLOT)
}

/// Which count a delay belongs to.
fn size_of_delay(delay: Duration) -> usize {
    let units = nanos(delay) >> UNIT_BITS;
    let Some(octave) = units.checked_ilog2().filter(|octave| *octave >= PARTS_BITS) else {
        return units as usize;
    };
    let octave = octave - PARTS_BITS;
    let size = (u64::from(octave) << PARTS_BITS) + (units >> octave);
    usize::try_from(size).map_or(SIZES - 1, |size| size.min(SIZES - 1))
}

/// The middle of the delays of a count.
fn middle_of(size: usize) -> Duration {
    let parts = 1 << PARTS_BITS;
    let (octave, part) = match size {
        small if small < parts => (0, small as u64),
        size => (size / parts - 1, (size % parts + parts) as u64),
    };
    Duration::from_nanos(((2 * part + 1) << octave << UNIT_BITS) / 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn quantiles_are_those_of_the_last_ten_seconds() {
        let mut delays = Delays::default();
        assert_eq!(delays.quantiles(Moment(0)), None);
        delays.add(Moment(SECOND), Duration::from_secs(1));
        for micros in 1..=1000 {
            delays.add(Moment(3 * SECOND), Duration::from_micros(micros));
        }
        let known = delays.quantiles(Moment(3 * SECOND)).unwrap();
        assert_eq!(known.max, Duration::from_secs(1));
        let known = delays.quantiles(Moment(11 * SECOND)).unwrap();
        assert_eq!(known.max, Duration::from_millis(1));
        assert!((470..530).contains(&known.p50.as_micros()), "{known:?}");
        assert!((930..=1000).contains(&known.p99.as_micros()), "{known:?}");
        assert_eq!(delays.quantiles(Moment(14 * SECOND)), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut delays = Delays::default();
        for second in 0..100 {
            delays.add(Moment(second * SECOND), Duration::from_secs(second));
        }
        assert_eq!(delays.slots.len(), SLOTS);
        assert!(size_of::<Slot>() * SLOTS < 4096, "{}", size_of::<Slot>());
    }

    proptest! {
        #[test]
        fn a_delay_is_near_the_middle_of_its_count(micros in 9_u64..4_000_000) {
            let delay = Duration::from_micros(micros);
            let middle = middle_of(size_of_delay(delay));
            let off = middle.abs_diff(delay).as_secs_f64() / delay.as_secs_f64();
            prop_assert!(off < 0.0626, "{delay:?} is counted as {middle:?}");
        }
    }
}
