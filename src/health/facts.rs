//! What monitoring systems ask besides the health itself: versions, boot, Docker, free space.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::status::{BusStatus, StartupValidation, Status};

/// Facts about canhub and its host. Those that need a check are as of that component's last check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Time of the response, in RFC 3339, UTC.
    pub timestamp: String,
    /// canhub's version.
    pub version: String,
    /// The kernel's ID of this boot (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// Whole seconds since canhub started, unaffected by clock changes.
    pub uptime_seconds: u64,
    /// The result of the start-up validation; `None` until it is done.
    pub startup_validation: Option<StartupValidation>,
    /// Docker's version; `None` if Docker did not answer or is not monitored.
    pub docker_version: Option<String>,
    /// Running containers on buses; a container on two buses counts once. `None` while the kernel cannot be read.
    pub containers: Option<usize>,
    /// Bytes that canhub can still write to the file system of the state folder; `None` if unknown.
    pub state_free_bytes: Option<u64>,
}

/// The number of running containers on buses: each has one sandbox, however many buses it is on.
pub(super) fn containers(status: &Status) -> usize {
    let members = status.buses.iter().flat_map(BusStatus::joined);
    members.filter_map(|member| member.stage.sandbox()).collect::<BTreeSet<_>>().len()
}
