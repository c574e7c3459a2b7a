//! Two guests have two clocks; ages of frames are by both.

use super::{guest::Guest, report::Heard};

/// The clocks of the sender's host and of the listener's.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    /// How far the listener's is ahead, in microseconds.
    pub ahead: i64,
    /// How sure that is, in microseconds.
    pub sure: i64,
}

impl Clocks {
    /// Measures them.
    #[track_caller]
    pub fn of(sender: &Guest, listener: &Guest) -> Self {
        let [(from, sure), (to, too)] = [sender, listener].map(Guest::clock_ahead);
        Self { ahead: to - from, sure: sure + too }
    }

    /// How old the oldest frame was when it was heard, in microseconds.
    #[track_caller]
    pub fn oldest(self, heard: &Heard) -> i64 {
        let age = heard.age.unwrap_or_else(|| panic!("nothing with a time was heard: {heard:?}"));
        age.max_us as i64 - self.ahead
    }
}
