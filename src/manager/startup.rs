//! When canhub started, and what its first look at everything came to.

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use crate::status::StartupValidation;

/// The start of this process.
pub(super) struct Startup {
    since: SystemTime,
    validation: OnceLock<StartupValidation>,
}

impl Startup {
    pub(super) fn now() -> Self {
        Self { since: SystemTime::now(), validation: OnceLock::new() }
    }

    /// When it was.
    pub(super) fn since(&self) -> SystemTime {
        self.since
    }

    /// How long ago that is.
    pub(super) fn uptime(&self) -> Duration {
        self.since.elapsed().unwrap_or_default()
    }

    /// Everything was looked at. `found` is kept if this was the first time.
    pub(super) fn validated(&self, found: impl FnOnce() -> StartupValidation) {
        self.validation.get_or_init(found);
    }

    /// What the first look came to; `None` until it is done.
    pub(super) fn validation(&self) -> Option<StartupValidation> {
        self.validation.get().cloned()
    }
}
