//! Waiting for a point in time, or for something to read.

use std::{os::fd::BorrowedFd, time::Duration};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
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

/// Waits until one of these can be read, at most this long, in whole milliseconds; `None`: for ever. Returns which can be. A
/// signal ends the wait early.
///
/// # Errors
/// `EINVAL` if there are more of them than this process may have open, `ENOMEM`.
pub fn wait_readable(files: &[BorrowedFd<'_>], timeout: Option<Duration>) -> super::Result<Vec<bool>> {
    let timeout = timeout.map_or(PollTimeout::NONE, |timeout| {
        let millis = timeout.as_micros().div_ceil(1000);
        PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
    });
    let mut files: Vec<PollFd<'_>> = files.iter().map(|file| PollFd::new(*file, PollFlags::POLLIN)).collect();
    match poll(&mut files, timeout) {
        Ok(_) => Ok(files.iter().map(|file| file.any().unwrap_or(true)).collect()),
        Err(Errno::EINTR) => Ok(vec![false; files.len()]),
        Err(err) => Err(err.into()),
    }
}

/// Lets timers wake this thread, and those that it starts, when they are due. By default the kernel may wait for 50 µs
/// to wake several threads at once.
pub fn wake_on_time() {
    // Refused by some sandboxes: then it is 50 µs later.
    let _ = set_timerslack(1);
}
