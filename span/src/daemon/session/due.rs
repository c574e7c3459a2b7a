//! When the session does what it does regularly.

use std::time::Duration;

use crate::flow::Moment;

/// Between two times that the known hosts are saved, if nothing but the time of their last hello changed.
pub(super) const SAVE: Duration = Duration::from_secs(600);
/// Without a watchdog nothing is due for it.
const WITHOUT_WATCHDOG: Duration = Duration::from_secs(1 << 32);

/// When things are due that are not done at once.
pub(super) struct Due {
    pub(super) open: Option<Moment>,
    pub(super) look: Moment,
    pub(super) hello: Moment,
    pub(super) list: Moment,
    pub(super) show: Moment,
    pub(super) save: Moment,
    pub(super) watchdog: Moment,
    pub(super) offer: Moment,
    pub(super) reconnect: Moment,
}

impl Due {
    /// At the start.
    pub(super) fn at(now: Moment) -> Self {
        Self {
            open: Some(now),
            look: now,
            hello: now,
            list: now,
            show: now,
            save: now + SAVE,
            watchdog: now + WITHOUT_WATCHDOG,
            offer: now,
            reconnect: now,
        }
    }

    /// The next one of those that are done without an occasion.
    pub(super) fn next(&self) -> Moment {
        let Self { open, look, hello, list, show, save, watchdog, .. } = *self;
        [look, hello, list, show, save, watchdog].into_iter().chain(open).min().unwrap_or(look)
    }
}
