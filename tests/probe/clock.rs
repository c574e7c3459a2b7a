//! The time for stamps: that of the wall when the program started, and from then on without jumps.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::frames::Stamp;

/// A clock that nobody can set.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    begun: Instant,
    wall: Duration,
}

impl Clock {
    /// Starts it.
    pub fn now() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { begun: Instant::now(), wall }
    }

    /// The time since 1970.
    pub fn wall(&self) -> Duration {
        self.wall + self.begun.elapsed()
    }

    /// The time for a frame.
    pub fn stamp(&self) -> Stamp {
        Stamp((self.wall().as_micros() / 10) as u32)
    }
}
