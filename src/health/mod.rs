//! Health of everything that canhub needs: checked in the background, returned without delay.
//!
//! One task ([`Health::watch`]) checks the kernel with all buses, Docker, and the state folder, each independently and
//! within a time limit. The [`Board`] keeps the results and combines them by the [`policy`] into the [`HealthReport`]
//! of `/v1/health`. The task of [`crate::expect`] adds the expectations. Requests return the last results and never wait.

mod board;
mod component;
mod expectations;
mod facts;
mod monitor;
pub mod policy;
mod slot;
mod survey;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;

pub use board::{Board, Change, CheckResult, Key};
pub use component::{Component, HealthReport};
pub use facts::Facts;
pub use policy::Policy;

pub use crate::status::HealthStatus;
use crate::{
    checks::{Files, Finding, Group},
    clock::{rfc3339, roughly},
    kernel::boot_id,
    manager::Handle,
};
use monitor::{Monitor, Slots};

/// Docker starts after canhub, and answers nothing while it starts its containers. Not a failure for this long.
pub const DOCKER_GRACE: Duration = Duration::from_secs(120);
/// Allows for a busy machine.
const STALE_GRACE: Duration = Duration::from_secs(30);

/// What to monitor besides the kernel and the records.
#[derive(Debug, Clone)]
pub struct Watch {
    /// The Docker API socket; `None` if canhub has none, as in the managed plugin.
    pub docker: Option<PathBuf>,
    /// For this long after the start, a Docker that does not answer has not failed.
    pub docker_grace: Duration,
    /// Where to look for kernel modules if a bus lacks something.
    pub modules: Files,
}

/// The health of canhub as of the last checks.
pub struct Health {
    board: Mutex<Board>,
    /// Facts found by the last checks.
    facts: Mutex<Facts>,
    started: Instant,
    /// When the buses were last checked, successfully or not.
    looked: Mutex<Instant>,
    /// If the last check is older than this, the task has stopped.
    stale_after: Duration,
}

impl Health {
    /// Health before the first check. `complaint` is the error in the policy file, if any.
    pub fn new(policy: Policy, complaint: Option<String>) -> Self {
        let now = SystemTime::now();
        let stale_after = STALE_GRACE + (policy.interval + policy.time_limit) * 3;
        let mut board = Board::new(policy, now);
        if let Some(why) = complaint {
            let finding = Finding::warning(Group::System, "health-policy", why);
            let _ = board.record(Key::Policy, "policy", CheckResult::Found(finding), None, now);
        }
        let facts =
            Facts { version: env!("CARGO_PKG_VERSION").into(), boot_id: boot_id(), ..Facts::default() };
        let started = Instant::now();
        Self {
            board: Mutex::new(board),
            facts: Mutex::new(facts),
            started,
            looked: Mutex::new(started),
            stale_after,
        }
    }

    /// The current report. Never waits. Old results do not count once the checks have stopped.
    pub fn report(&self) -> HealthReport {
        let facts = Facts {
            timestamp: rfc3339(SystemTime::now()),
            uptime_seconds: self.started.elapsed().as_secs(),
            ..self.facts.lock().clone()
        };
        let report = HealthReport { facts, ..self.board.lock().report() };
        let since = self.looked.lock().elapsed();
        if since < self.stale_after {
            return report;
        }
        let reason = format!(
            "health has not been checked for {}: this is a bug in canhub; `systemctl restart canhub`",
            roughly(since)
        );
        HealthReport { status: HealthStatus::Unhealthy, reason, ..report }
    }

    /// Runs the checks forever.
    pub async fn watch(self: Arc<Self>, manager: Handle, watch: Watch) {
        let started = Instant::now();
        let (policy, trouble) = (self.board.lock().policy().clone(), manager.events().listen(0));
        let monitor = Monitor { health: self, manager, watch, policy, started, slots: Slots::default() };
        monitor.run(trouble).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_expire_when_checks_stop() {
        let mut health = Health::new(Policy::default(), None);
        assert!(!health.report().reason.contains("has not been checked"), "it has just started");
        health.stale_after = Duration::ZERO;
        let report = health.report();
        assert_eq!(report.status, HealthStatus::Unhealthy);
        assert!(report.reason.contains("has not been checked for 0 s"), "{report:?}");
    }
}
