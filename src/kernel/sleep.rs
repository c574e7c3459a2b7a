//! Waiting for a point in time.

use std::time::Duration;

use nix::{
    sys::prctl::set_timerslack,
    time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep},
};

/// The time since some point in the past, by a clock that nobody sets (`CLOCK_MONOTONIC`).
pub fn monotonic() -> Duration {
    // It exists on every Linux.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// The time since the machine was booted, including the time that it was suspended (`CLOCK_BOOTTIME`).
pub fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or_else(|_| monotonic(), Duration::from)
}

/// Sleeps until [`monotonic`] is `deadline`, or for a shorter time if a signal comes. Unlike a duration, the deadline
/// does not move when this thread is delayed before it sleeps.
pub fn sleep_until(deadline: Duration) {
    let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &deadline.into());
}

/// Lets timers wake this thread, and those that it starts, when they are due. By default the kernel may wait for 50 µs
/// to wake several threads at once.
pub fn wake_on_time() {
    // Refused by some sandboxes: then it is 50 µs later.
    let _ = set_timerslack(1);
}
