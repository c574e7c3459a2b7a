//! The status of all buses as returned by `/v1/status` and shown by `canhub status`: plain values.
//!
//! Fields are named as in the log. Fields may be added; no field changes its meaning within `v1`.

use std::collections::BTreeMap;

mod loss;
mod span;

use serde::{Deserialize, Serialize};

pub use loss::{Direction, Loss, LossCause, Lost};
pub use span::{HostOnSpan, HostStatus, SpanProgram, SpanStatus};

use crate::{
    attachment::MemberKind,
    endpoint::Stage,
    expect::Source,
    filters::Filters,
    names::{EndpointId, NetworkId},
    network::Ownership,
    shape::Shapes,
};

/// The status of this canhub.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The version of canhub.
    pub version: String,
    /// When canhub started, in RFC 3339, UTC.
    pub since: String,
    /// Seconds since canhub started.
    pub uptime_s: u64,
    /// Whether start-up validation is done: all known buses have been checked and healed.
    pub ready: bool,
    /// Whether healing is on (off with `--no-heal`).
    pub heal: bool,
    /// Seconds since the last audit; `None` before the first.
    pub audit_age_s: Option<f64>,
    /// One per network.
    pub buses: Vec<BusStatus>,
    /// Leftover links of canhub; removed after a grace period.
    pub leftovers: usize,
    /// Containers that Docker failed to start because canhub was not running.
    pub late: Vec<String>,
    /// Frames that should be on the buses.
    #[serde(default)]
    pub expectations: Vec<ExpectationStatus>,
    /// Faults on purpose in effect.
    #[serde(default)]
    pub faults: Vec<FaultStatus>,
    /// `canhub-span`; `None` if no network has a span.
    #[serde(default)]
    pub span: Option<SpanProgram>,
}

/// A frame that should be on a bus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExpectationStatus {
    /// Its component of health: `expect:body:1A0`, or `expect:body:1A0@door`.
    pub component: String,
    /// The network, as it was named.
    pub bus: String,
    /// Docker's ID of the network; `None` while there is no such network.
    pub network: Option<NetworkId>,
    /// Three or eight hexadecimal digits.
    pub id: String,
    /// The container that should send it; `None`: any sender.
    pub from: Option<String>,
    /// Its cycle: `20ms`.
    pub every: String,
    /// How far the cycle may be off: `30%`.
    pub within: String,
    /// Where it comes from.
    pub source: Source,
    /// Whether it is met.
    pub state: ExpectationState,
    /// One sentence: why.
    pub reason: String,
    /// Since when, in RFC 3339, UTC.
    pub since: String,
    /// When the last frame was seen since canhub started.
    pub last_seen: Option<String>,
    /// The real cycle in milliseconds, averaged over the last frames.
    pub cycle_ms: Option<f64>,
}

/// A fault on purpose that lasts, or has just ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultStatus {
    /// Its number, unique within a boot.
    pub id: u64,
    /// Docker's ID of the network.
    pub network: NetworkId,
    /// The name of the network.
    pub network_name: String,
    /// The container; `None`: all members.
    pub member: Option<String>,
    /// `cut`, `flood=7DF@1000`.
    pub effects: Vec<String>,
    /// When it began, in RFC 3339, UTC.
    pub since: String,
    /// When it ends; `None`: when it is cleared.
    pub until: Option<String>,
    /// What it is for, in the words of who asked for it.
    pub label: Option<String>,
    /// One sentence: what happens to whom, and until when.
    pub reason: String,
}

/// Whether an expectation is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExpectationState {
    /// No frame yet, and too early to say that one is missing.
    Unknown,
    /// Frames come as expected.
    Up,
    /// They do not.
    Down,
    /// There is no such network, or not any more.
    NoBus,
}

impl ExpectationState {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
            Self::NoBus => "no-bus",
        }
    }
}

/// The result of start-up validation: the first comparison of all known buses with the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartupValidation {
    /// When it finished, in RFC 3339, UTC.
    pub finished: String,
    /// Buses that were checked.
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
    /// Docker's ID.
    pub network: NetworkId,
    /// The name; the start of the ID until Docker's API has answered.
    pub network_name: String,
    /// The interface on the host: its name, or the selector of the adapter.
    pub hub: String,
    /// The adapter, while it is present and has a controller.
    pub adapter: Option<AdapterStatus>,
    /// Whether the bus is waiting for its adapter; containers reach each other in the meantime.
    #[serde(default)]
    pub waiting: bool,
    /// Who owns the hub.
    pub owner: Ownership,
    /// `classic`, `fd` or `xl`.
    pub frames: String,
    /// Whether it is healed.
    pub heal: bool,
    /// Pending repairs in a few words each; empty if there are none.
    pub steps: Vec<String>,
    /// Those of the steps that remove a link which belongs to no known network or endpoint; they affect no member.
    #[serde(default)]
    pub leftovers: Vec<String>,
    /// Problems that canhub cannot fix by itself, one sentence each.
    pub problems: Vec<String>,
    /// Those of the problems that concern the adapter; containers reach each other despite them.
    #[serde(default)]
    pub adapter_problems: Vec<String>,
    /// The commands that fix problems, by the problem's sentence.
    #[serde(default)]
    pub fixes: BTreeMap<String, String>,
    /// Whether a problem prevents containers from starting on this bus.
    #[serde(default)]
    pub blocked: bool,
    /// can-gw rules between its ends.
    #[serde(default)]
    pub rules: usize,
    /// Repairs since canhub started, including those of members.
    pub heals: u64,
    /// Frames that were lost, the largest number first. Those of members that have left remain.
    #[serde(default)]
    pub losses: Vec<Loss>,
    /// Frames of the host or of the adapter.
    #[serde(flatten)]
    pub traffic: Traffic,
    /// One per endpoint.
    pub members: Vec<MemberStatus>,
    /// The span that makes it one bus with those of other hosts.
    #[serde(default)]
    pub span: Option<SpanStatus>,
}

/// A CAN controller, as shown by `ip -details -statistics link`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterStatus {
    /// The current name of its interface.
    pub interface: String,
    /// `error-active`, `error-warning`, `error-passive`, `bus-off`, `stopped` or `sleeping`.
    pub state: String,
    /// In bit/s; `None` before one is set.
    pub bitrate: Option<u32>,
    /// The transmit error counter, if the driver reports it.
    pub tx_errors: Option<u16>,
    /// The receive error counter.
    pub rx_errors: Option<u16>,
    /// Number of bus-offs since it was plugged in. Replugging while canhub runs does not reset it.
    pub bus_offs: u64,
    /// Number of restarts, counted the same way.
    pub restarts: u64,
}

/// One container on a bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Docker's ID.
    pub endpoint: EndpointId,
    /// The container's name, once Docker's API has answered; that of another member.
    pub container: Option<String>,
    /// What it is.
    #[serde(default)]
    pub kind: MemberKind,
    /// The interface name in the container, or the desired name if there is none.
    pub interface: String,
    /// The lifecycle stage, with the container's sandbox.
    #[serde(flatten)]
    pub stage: Stage,
    /// Its current pace in bit/s; `None` if it is not paced.
    #[serde(default)]
    pub rate: Option<u32>,
    /// What it may send and hear, as its endpoint or network says; absent: everything.
    #[serde(flatten)]
    pub filters: Filters,
    /// What happens to its frames on purpose, as its endpoint or network says; absent: nothing.
    #[serde(flatten)]
    pub shapes: Shapes,
    /// Repairs of this member since canhub started.
    pub heals: u64,
    /// Its frames.
    #[serde(flatten)]
    pub traffic: Traffic,
}

/// Frames of one end of a bus, as counted by can-gw. They never fall while canhub runs ([`crate::traffic`]).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Frames to this end.
    pub frames_in: Count,
    /// Frames from this end.
    pub frames_out: Count,
    /// Frames to this end that were lost.
    #[serde(default)]
    pub lost_in: Lost,
    /// Frames from this end that were lost before any other member could receive them.
    #[serde(default)]
    pub lost_out: Lost,
    /// Frames to this end that its shape dropped. Like those from it, they are counted nowhere else.
    #[serde(default)]
    pub dropped_on_purpose_in: u64,
    /// Frames from this end that its shape dropped before they reached the bus.
    #[serde(default)]
    pub dropped_on_purpose_out: u64,
}

/// Frames that were forwarded or dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Forwarded. An outgoing frame counts once, however many receive it.
    pub handled: u64,
    /// Dropped because the destination was down or refused them. An outgoing frame counts once per destination.
    pub dropped: u64,
}

/// A health status. The order is from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Not monitored: it cannot be checked from here, or the policy says so. Does not count.
    Unwatched,
    /// Everything works.
    Healthy,
    /// It works, with restrictions.
    Degraded,
    /// Not checked yet, or too early to tell. Counts as not healthy.
    Unknown,
    /// It does not work.
    Unhealthy,
}

impl HealthStatus {
    /// As in JSON and the log.
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

    /// As in metrics: 0 healthy or unwatched, 1 degraded, 2 unhealthy or unknown.
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
        let is_met = |one: &ExpectationStatus| one.state != ExpectationState::Down;
        self.ready
            && self.late.is_empty()
            && self.span.as_ref().is_none_or(|span| span.running && span.problem.is_none())
            && self.buses.iter().all(BusStatus::is_well)
            && self.expectations.iter().all(is_met)
    }
}

impl BusStatus {
    /// The members that are in their containers.
    pub fn joined(&self) -> impl Iterator<Item = &MemberStatus> {
        self.members.iter().filter(|member| member.stage.sandbox().is_some())
    }

    /// The current name of the interface on the host; while the adapter is missing, its selector.
    pub fn interface(&self) -> &str {
        self.adapter.as_ref().map_or(&self.hub, |adapter| &adapter.interface)
    }

    /// Whether it is in the desired state, without problems.
    pub fn is_well(&self) -> bool {
        self.steps.is_empty()
            && self.problems.is_empty()
            && self.span.as_ref().is_none_or(SpanStatus::is_well)
    }
}
