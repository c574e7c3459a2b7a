//! Limits the CPU time of the loop.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

/// In the long run, passes use at most one part in this many of a CPU, however many events there are.
const SHARE: u32 = 5;
/// What can be saved up while nothing happens, expressed as the time in which it is earned: a fifth of it, 200 ms, can
/// be spent on consecutive passes. A pass takes 1 to 10 ms on a host with a few dozen containers, so the first faults
/// after a quiet second are healed immediately.
const SAVED: Duration = Duration::from_secs(1);

/// The CPU time that the loop has earned and spent.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The time at which all passes so far are paid off by idling.
    paid_until: Option<Instant>,
}

impl Pace {
    /// Accounts for a pass that used this much CPU time, and returns how long to rest afterwards.
    ///
    /// On a busy machine a pass takes many times its CPU time, and that is no reason to heal later.
    pub(super) fn rest_after(&mut self, look: Range<Instant>, cpu: Duration) -> Duration {
        let saved = look.start.checked_sub(SAVED).unwrap_or(look.start);
        let since = self.paid_until.map_or(saved, |until| until.max(saved));
        let until = since + cpu * SHARE;
        self.paid_until = Some(until);
        until.saturating_duration_since(look.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Passes of this length, each as soon as allowed; returns the rests.
    fn looks(
        pace: &mut Pace,
        now: &mut Instant,
        length: Duration,
        pause: Duration,
        count: usize,
    ) -> Vec<Duration> {
        let look = |_| {
            let begun = *now;
            *now += length;
            let rest = pace.rest_after(begun..*now, length);
            *now += rest + pause;
            rest
        };
        (0..count).map(look).collect()
    }

    #[test]
    fn the_first_passes_after_a_quiet_time_run_without_pauses() {
        let (mut pace, mut now) = (Pace::default(), Instant::now() + Duration::from_secs(60));
        for _ in 0..3 {
            let rests = looks(&mut pace, &mut now, Duration::from_millis(10), Duration::ZERO, 25);
            assert!(rests.iter().all(Duration::is_zero), "{rests:?}");
            now += Duration::from_secs(2);
        }
    }

    #[test]
    fn a_storm_of_events_uses_a_fifth_of_a_cpu() {
        for length in [1, 10, 300, 5000].map(Duration::from_millis) {
            let (mut pace, mut now) = (Pace::default(), Instant::now() + Duration::from_secs(60));
            let begun = now;
            looks(&mut pace, &mut now, length, Duration::ZERO, 2000);
            let share = (length * 2000).as_secs_f64() / (now - begun).as_secs_f64();
            assert!((0.19..=0.24).contains(&share), "{length:?}: {share}");
        }
    }

    #[test]
    fn a_long_pass_is_followed_by_a_rest() {
        let (mut pace, mut now) = (Pace::default(), Instant::now() + Duration::from_secs(60));
        let rests = looks(&mut pace, &mut now, Duration::from_secs(2), Duration::ZERO, 2);
        assert_eq!(rests, [Duration::from_secs(7), Duration::from_secs(8)]);
    }

    #[test]
    fn occasional_faults_never_wait() {
        let (mut pace, mut now) = (Pace::default(), Instant::now() + Duration::from_secs(60));
        let rests = looks(&mut pace, &mut now, Duration::from_millis(20), Duration::from_millis(80), 1000);
        assert!(rests.iter().all(Duration::is_zero), "{rests:?}");
    }

    #[test]
    fn a_pass_that_had_to_wait_for_the_cpu_is_charged_only_for_what_it_used() {
        let (mut pace, mut now) = (Pace::default(), Instant::now() + Duration::from_secs(60));
        for _ in 0..100 {
            let end = now + Duration::from_secs(1);
            assert_eq!(pace.rest_after(now..end, Duration::from_millis(20)), Duration::ZERO);
            now = end;
        }
    }
}
