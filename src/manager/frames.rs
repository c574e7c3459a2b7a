//! Counting frames: the rules' counters are added up whenever the rules are read.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::debug;

use super::Manager;
use crate::{model::Model, traffic::Totals};

/// What all members sent and received since canhub started.
pub(super) type FrameCounts = Mutex<Totals>;

/// Counters that are younger are not read again before a pair goes: a dump of a large bus takes milliseconds.
const COUNT_PAUSE: Duration = Duration::from_secs(1);

impl Manager {
    /// With a pair go the rules' counters of all that it sent and received since they were last read. Where many
    /// leave in a row, one dump answers for all that leave within [`COUNT_PAUSE`].
    pub(super) fn count_before_leave(&self, model: &Model) {
        if self.frames.lock().age(Instant::now()).is_some_and(|age| age < COUNT_PAUSE) {
            return;
        }
        if let Err(err) = self.look_at_rules(&model.want()) {
            debug!(%err, "could not read the frame counters; frames since the last reading are not counted");
        }
    }
}
