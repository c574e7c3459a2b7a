//! What wakes whom: the reconcile loop, who asks Docker, health.
//!
//! Nothing here waits: the two locks guard a time each, and nobody does anything while holding one.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Signals between the manager and the daemon's tasks.
pub struct Signals {
    look_wanted: Notify,
    relearn_wanted: Notify,
    audit_done: Notify,
    /// When everything was last compared with what is wanted.
    audited: Mutex<Option<Instant>>,
    /// When the reconcile loop may look at the earliest.
    settled: Mutex<Instant>,
}

impl Default for Signals {
    fn default() -> Self {
        Self {
            look_wanted: Notify::new(),
            relearn_wanted: Notify::new(),
            audit_done: Notify::new(),
            audited: Mutex::default(),
            settled: Mutex::new(Instant::now()),
        }
    }
}

impl Signals {
    /// Asks the reconcile loop to look.
    pub fn want_look(&self) {
        self.look_wanted.notify_one();
    }

    /// Resolves when something may need healing.
    pub async fn look_wanted(&self) {
        self.look_wanted.notified().await;
    }

    /// There is a network or an endpoint that Docker may tell more about.
    pub fn want_relearn(&self) {
        self.relearn_wanted.notify_one();
    }

    /// Resolves when Docker is to be asked again.
    pub async fn relearn_wanted(&self) {
        self.relearn_wanted.notified().await;
    }

    /// Everything was compared with what is wanted, and what is healed was healed.
    pub(super) fn audited(&self) {
        *self.audited.lock() = Some(Instant::now());
        self.audit_done.notify_one();
    }

    /// Resolves when that was done.
    pub async fn audit_done(&self) {
        self.audit_done.notified().await;
    }

    /// How long ago that was; `None` until start-up validation is done.
    pub fn audit_age(&self) -> Option<Duration> {
        self.audited.lock().map(|audited| audited.elapsed())
    }

    /// How long the loop should leave the host alone: events of what Docker has just asked for are no news,
    /// and containers often start in a row.
    pub fn settles_in(&self) -> Duration {
        self.settled.lock().saturating_duration_since(Instant::now())
    }

    pub(super) fn settle_for(&self, time: Duration) {
        *self.settled.lock() = Instant::now() + time;
    }
}
