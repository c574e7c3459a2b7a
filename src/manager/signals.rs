//! The signals that wake the reconcile loop, the Docker queries, and health.
//!
//! Nothing here waits: the two locks each protect a time, and are never held across other work.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Signals between the manager and the daemon's tasks.
pub struct Signals {
    look_wanted: Notify,
    relearn_wanted: Notify,
    audit_done: Notify,
    carried_out: Notify,
    faults_changed: Notify,
    /// What work on another thread reports, to be delivered when it is done: waking the runtime in the middle of a Join
    /// would take its CPU, and what is woken needs the lock that the Join holds.
    undelivered: Undelivered,
    /// When the last audit finished.
    audited: Mutex<Option<Instant>>,
    /// The earliest time for the reconcile loop to run.
    settled: Mutex<Instant>,
}

/// Signals that wait for the work that raised them. `SeqCst`: a caller that gives up and work that ends at the same moment
/// must not both leave them to the other.
#[derive(Default)]
struct Undelivered {
    relearn: AtomicBool,
    carried_out: AtomicBool,
}

impl Default for Signals {
    fn default() -> Self {
        Self {
            look_wanted: Notify::new(),
            relearn_wanted: Notify::new(),
            audit_done: Notify::new(),
            carried_out: Notify::new(),
            faults_changed: Notify::new(),
            undelivered: Undelivered::default(),
            audited: Mutex::default(),
            settled: Mutex::new(Instant::now()),
        }
    }
}

impl Signals {
    /// Wakes the reconcile loop.
    pub fn want_look(&self) {
        self.look_wanted.notify_one();
    }

    /// Resolves when something may need healing.
    pub async fn look_wanted(&self) {
        self.look_wanted.notified().await;
    }

    /// Reports that steps were carried out, once this work is done: a container joined a bus, or an adapter appeared.
    pub(super) fn steps_done(&self) {
        self.undelivered.carried_out.store(true, Ordering::SeqCst);
    }

    /// Like [`Self::want_relearn`], once this work is done.
    pub(super) fn want_relearn_afterwards(&self) {
        self.undelivered.relearn.store(true, Ordering::SeqCst);
    }

    /// Delivers what finished work has reported.
    pub(crate) fn deliver(&self) {
        if self.undelivered.carried_out.swap(false, Ordering::SeqCst) {
            self.carried_out.notify_one();
        }
        if self.undelivered.relearn.swap(false, Ordering::SeqCst) {
            self.relearn_wanted.notify_one();
        }
    }

    /// Resolves when steps have been carried out.
    pub async fn carried_out(&self) {
        self.carried_out.notified().await;
    }

    /// Reports that Docker's API may have more about a network or an endpoint.
    pub fn want_relearn(&self) {
        self.relearn_wanted.notify_one();
    }

    /// Resolves when Docker should be queried again.
    pub async fn relearn_wanted(&self) {
        self.relearn_wanted.notified().await;
    }

    /// Reports that a fault on purpose began or ended.
    pub(super) fn change_faults(&self) {
        self.faults_changed.notify_one();
    }

    /// Resolves when a fault on purpose began or ended.
    pub async fn faults_changed(&self) {
        self.faults_changed.notified().await;
    }

    /// Records that an audit has finished, including its repairs.
    pub(super) fn audited(&self) {
        *self.audited.lock() = Some(Instant::now());
        self.audit_done.notify_one();
    }

    /// Resolves when an audit has finished.
    pub async fn audit_done(&self) {
        self.audit_done.notified().await;
    }

    /// The time since the last audit; `None` until start-up validation is done.
    pub fn audit_age(&self) -> Option<Duration> {
        self.audited.lock().map(|audited| audited.elapsed())
    }

    /// How long the loop should leave the host alone: events caused by Docker's last request are no news, and
    /// containers often start in a row.
    pub fn settles_in(&self) -> Duration {
        self.settled.lock().saturating_duration_since(Instant::now())
    }

    /// Like [`Self::settle_for`], but never shortens the wait.
    pub(super) fn settle_at_least(&self, time: Duration) {
        let mut settled = self.settled.lock();
        *settled = (*settled).max(Instant::now() + time);
    }

    pub(super) fn settle_for(&self, time: Duration) {
        *self.settled.lock() = Instant::now() + time;
    }
}
