//! The picture of all buses that `/v1/status` gives and `canhub status` shows: plain values.
//!
//! Fields have the names of the log's. A field may come; none changes its meaning while the path says `v1`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    endpoint::Stage,
    names::{EndpointId, NetworkId},
    network::Ownership,
};

/// How things are with this canhub.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Of canhub.
    pub version: String,
    /// When canhub started, as RFC 3339 has it, in UTC.
    pub since: String,
    /// The same, in seconds ago.
    pub uptime_s: u64,
    /// Start-up validation is done: all known buses were looked at and healed.
    pub ready: bool,
    /// Whether missing things are repaired (`--no-heal`).
    pub heal: bool,
    /// Seconds since everything was compared with what is wanted; `None` until it was.
    pub audit_age_s: Option<f64>,
    /// One for each network.
    pub buses: Vec<BusStatus>,
    /// Leftover links of ours; removed after a grace period.
    pub leftovers: usize,
    /// Containers that Docker gave up on because canhub was not there when it started them.
    pub late: Vec<String>,
}

/// What start-up validation came to: the first comparison of all known buses with the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartupValidation {
    /// When it was done, as RFC 3339 has it, in UTC.
    pub finished: String,
    /// How many buses were checked.
    pub buses: usize,
    /// Steps that healed something.
    pub healed: usize,
    /// Steps that failed and will be retried.
    pub failed: usize,
    /// Problems that canhub cannot heal, such as a missing adapter.
    pub problems: usize,
}

/// One bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusStatus {
    /// Docker's id.
    pub network: NetworkId,
    /// What people call it; the start of its id until Docker has told.
    pub network_name: String,
    /// The host's interface: its name, or what its adapter is known by.
    pub hub: String,
    /// The adapter that carries the bus, while it is there and has a controller.
    pub adapter: Option<AdapterStatus>,
    /// Whether it waits for an adapter that is not there; its containers hear each other meanwhile.
    #[serde(default)]
    pub waiting: bool,
    /// Who makes the hub.
    pub owner: Ownership,
    /// `classic`, `fd` or `xl`.
    pub frames: String,
    /// Whether it is repaired while it runs.
    pub heal: bool,
    /// What differs from what is wanted, each in a few words. Empty: nothing.
    pub steps: Vec<String>,
    /// Those of the steps that remove a link which belongs to no known network or endpoint: it harms no member.
    #[serde(default)]
    pub leftovers: Vec<String>,
    /// What only somebody else can mend, each in a sentence.
    pub problems: Vec<String>,
    /// Those of the problems that are its adapter's: the containers hear each other all the same.
    #[serde(default)]
    pub adapter_problems: Vec<String>,
    /// The commands that fix problems, by the problem's sentence.
    #[serde(default)]
    pub fixes: BTreeMap<String, String>,
    /// A problem keeps containers from starting on it.
    #[serde(default)]
    pub blocked: bool,
    /// Repairs since canhub started, those of members included.
    pub heals: u64,
    /// Frames of the host, or of the adapter.
    #[serde(flatten)]
    pub traffic: Traffic,
    /// One for each endpoint.
    pub members: Vec<MemberStatus>,
}

/// A CAN controller, as `ip -details -statistics link` tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterStatus {
    /// Its interface's name now.
    pub interface: String,
    /// `error-active`, `error-warning`, `error-passive`, `bus-off`, `stopped` or `sleeping`.
    pub state: String,
    /// In bit/s; `None` before one was set.
    pub bitrate: Option<u32>,
    /// The transmit error counter, where the driver tells it.
    pub tx_errors: Option<u16>,
    /// The receive error counter.
    pub rx_errors: Option<u16>,
    /// How often it went bus-off: since it was plugged in or, over unplugging, since canhub started.
    pub bus_offs: u64,
    /// How often it was restarted, over the same time.
    pub restarts: u64,
}

/// One container on a bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Docker's id.
    pub endpoint: EndpointId,
    /// What people call the container, once Docker has told.
    pub container: Option<String>,
    /// The interface's name inside, or as it is wanted where there is none.
    pub interface: String,
    /// How far Docker has taken it, and where the container is.
    #[serde(flatten)]
    pub stage: Stage,
    /// Repairs of it alone since canhub started.
    pub heals: u64,
    /// Its frames.
    #[serde(flatten)]
    pub traffic: Traffic,
}

/// Frames of one end of a bus, as can-gw counts them. They never fall while canhub runs ([`crate::traffic`]).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// From the others to this one.
    pub frames_in: Count,
    /// From this one to the others.
    pub frames_out: Count,
}

/// Frames that were sent on, and such that were not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Sent on. On the way out a frame counts once, however many hear it.
    pub handled: u64,
    /// Lost because the destination was down or refused them. On the way out a frame counts for each who lost it.
    pub dropped: u64,
}

/// How something is. The later, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Nobody looks at it: it cannot be looked at from here, or the policy says so. It counts for nothing.
    Unwatched,
    /// As it should be.
    Healthy,
    /// It works, with less than was asked for.
    Degraded,
    /// It was not looked at yet, or it is too early to tell. It counts as not healthy.
    Unknown,
    /// It does not work.
    Unhealthy,
}

impl HealthStatus {
    /// As JSON and the log have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unwatched => "unwatched",
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unknown => "unknown",
            Self::Unhealthy => "unhealthy",
        }
    }

    /// Whether nothing is wrong.
    pub fn is_well(self) -> bool {
        self <= Self::Healthy
    }

    /// As metrics have it: 0 healthy or unwatched, 1 degraded, 2 unhealthy or unknown.
    pub fn as_number(self) -> u64 {
        match self {
            Self::Unwatched | Self::Healthy => 0,
            Self::Degraded => 1,
            Self::Unknown | Self::Unhealthy => 2,
        }
    }
}

impl Status {
    /// Whether nothing is wrong.
    pub fn is_well(&self) -> bool {
        self.ready && self.late.is_empty() && self.buses.iter().all(BusStatus::is_well)
    }
}

impl BusStatus {
    /// Those of its members that are in their containers.
    pub fn joined(&self) -> impl Iterator<Item = &MemberStatus> {
        self.members.iter().filter(|member| member.stage.sandbox().is_some())
    }

    /// The host's interface as it is called now; where its adapter is away, what that is known by.
    pub fn interface(&self) -> &str {
        self.adapter.as_ref().map_or(&self.hub, |adapter| &adapter.interface)
    }

    /// Whether it is as it is wanted.
    pub fn is_well(&self) -> bool {
        self.steps.is_empty() && self.problems.is_empty()
    }
}
