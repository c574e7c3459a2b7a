//! What a fleet's monitoring asks beside health itself: which canhub, which boot, which Docker, how full.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::status::{BusStatus, StartupValidation, Status};

/// Facts about canhub and its host. Those that a check has to find out are as of that component's last check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// When this answer was given, as RFC 3339 has it, in UTC.
    pub timestamp: String,
    /// canhub's version.
    pub version: String,
    /// The kernel's id of this boot (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// Whole seconds since canhub started, whatever was done to the clock.
    pub uptime_seconds: u64,
    /// The result of the start-up validation; `None` until it is done.
    pub startup_validation: Option<StartupValidation>,
    /// Docker's version; `None` if Docker did not answer, or is not watched.
    pub docker_version: Option<String>,
    /// Running containers on buses; one on two buses counts once. `None` while the kernel cannot be read.
    pub containers: Option<usize>,
    /// Bytes that canhub can still write to the file system of the state folder; `None` if that cannot be told.
    pub state_free_bytes: Option<u64>,
}

/// Running containers on buses: each has one sandbox, however many buses it is on.
pub(super) fn containers(status: &Status) -> usize {
    let members = status.buses.iter().flat_map(BusStatus::joined);
    members.filter_map(|member| member.stage.sandbox()).collect::<BTreeSet<_>>().len()
}
