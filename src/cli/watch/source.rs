//! Where the frames come from.

use std::time::Duration;

use crate::frames::{Lost, Record};

/// How long a read waits for frames.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);

/// Frames of a bus.
pub(super) trait Source: Send {
    /// Waits at most [`PATIENCE`], appends frames, and returns how many were lost so far.
    ///
    /// # Errors
    /// In one sentence; nothing comes after one.
    fn read(&mut self, records: &mut Vec<Record>) -> Result<Lost, String>;
}
