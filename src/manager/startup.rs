//! When canhub started, and the result of its first full pass.

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

    /// The time.
    pub(super) fn since(&self) -> SystemTime {
        self.since
    }

    /// The time since then.
    pub(super) fn uptime(&self) -> Duration {
        self.since.elapsed().unwrap_or_default()
    }

    /// Records that a full pass has finished. `found` is only kept for the first one.
    pub(super) fn validated(&self, found: impl FnOnce() -> StartupValidation) {
        self.validation.get_or_init(found);
    }

    /// The result of the first pass; `None` until it is done.
    pub(super) fn validation(&self) -> Option<StartupValidation> {
        self.validation.get().cloned()
    }
}
