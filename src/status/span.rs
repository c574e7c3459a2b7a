//! Spans in the status: `canhub-span`, and the other hosts of each bus.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Traffic;
use crate::{
    clock::{rfc3339, unix_seconds},
    names::{EndpointId, NetworkId, SpanName},
    options::SpanOptions,
    span::{
        Link,
        protocol::{Delay, Frames, HostState, Refused, State, TooOld, UnixSeconds, Unreachable},
    },
};

/// `canhub-span`, the program that connects the buses of several hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanProgram {
    /// Whether it answers.
    pub running: bool,
    /// Since when it does or does not, in RFC 3339, UTC; `None` before the first attempt.
    pub since: Option<String>,
    /// Why it does not answer, or cannot work: one sentence without its subject.
    pub problem: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The name of this host in its fleet; `None` before `canhub-span join`.
    pub host: Option<String>,
    /// When the certificate of this host expires, in RFC 3339, UTC.
    pub certificate_expires: Option<String>,
    /// The same in seconds from now; negative once it has expired.
    pub certificate_expires_s: Option<i64>,
    /// Hosts that were refused before it was known on which span.
    pub refused: Vec<Refused>,
    /// Addresses in its settings at which it reaches no host.
    pub unreachable: Vec<Unreachable>,
}

/// The span of a bus. The frames are those of the span port: to it for other hosts, from it by other hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanStatus {
    /// The value of the option `span`.
    pub name: SpanName,
    /// The end of the span port that is `canhub-span`'s.
    pub interface: String,
    /// Frames that are older do not reach another host, in milliseconds.
    pub age_ms: u32,
    /// Whether several hosts may have an adapter on this span.
    pub bridge: bool,
    /// The current pace of frames from other hosts in bit/s; `None` if they are not paced.
    pub rate: Option<u32>,
    /// Repairs of the span port since canhub started.
    pub heals: u64,
    /// What is wrong on this host: one sentence.
    pub problem: Option<String>,
    /// Whether nothing is carried; the problem says why.
    pub stopped: bool,
    /// Hosts that may not speak or listen on this span.
    pub refused: Vec<Refused>,
    /// Frames of this bus that nobody took in, because `canhub-span` was not running or had not opened the port yet.
    pub missed: u64,
    /// Frames of this bus that `canhub-span` was too slow to read.
    pub lost_at_port: u64,
    /// Frames of this bus that were not sent because a loop was stopped.
    pub held_back: u64,
    /// Frames of other hosts that could not be written to this bus.
    pub write_errors: u64,
    /// Frames that were dropped because they were older than `age_ms`, by place.
    pub too_old: TooOld,
    /// Frames of this bus that were sent to the other hosts; each counts once.
    pub frames_sent: u64,
    /// The other hosts.
    pub hosts: Vec<HostStatus>,
    /// Frames of the span port.
    #[serde(flatten)]
    pub traffic: Traffic,
}

/// Another host on a span, and which span that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostOnSpan {
    /// The value of the option `span`.
    pub span: SpanName,
    /// Docker's ID of the network.
    pub network: NetworkId,
    /// The network's name; the start of its ID until Docker's API has answered.
    pub network_name: String,
    /// The host.
    #[serde(flatten)]
    pub host: HostStatus,
}

/// Another host on a span. Counters never fall while canhub runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Its name.
    pub name: String,
    /// Whether it is connected and on this span.
    pub online: bool,
    /// Since when it is online or offline, in RFC 3339, UTC.
    pub since: String,
    /// The same in seconds ago.
    pub since_s: u64,
    /// When it was last heard; `None`: never.
    pub heard: Option<String>,
    /// Whether it said that it leaves the fleet.
    pub left: bool,
    /// How it is reached.
    pub path: Option<String>,
    /// The adapter that carries the bus there, if one does.
    pub adapter: Option<String>,
    /// The frames that the bus carries there.
    pub frames: Option<Frames>,
    /// The version of `canhub-span` there.
    pub version: Option<String>,
    /// The one-way delay of its frames in the last 10 s, in microseconds.
    pub delay_us: Option<Delay>,
    /// Frames that arrived from it and were written to this bus.
    pub frames_in: u64,
    /// Frames of this bus that were sent to it.
    pub frames_out: u64,
    /// Frames that it sent and that did not arrive.
    pub lost: u64,
    /// Frames that arrived from it too late.
    pub too_old: u64,
    /// Frames of it that were refused.
    pub refused: u64,
    /// Batches of it that arrived twice.
    pub duplicates: u64,
    /// Frames of this bus that came back from it.
    pub looped: u64,
    /// Its clock minus this host's, in microseconds.
    pub clock_offset_us: Option<i64>,
    /// By how much that may be wrong.
    pub clock_uncertainty_us: Option<u64>,
    /// When its certificate expires, in RFC 3339, UTC.
    pub certificate_expires: Option<String>,
    /// The same in seconds from now; negative once it has expired.
    pub certificate_expires_s: Option<i64>,
}

impl SpanProgram {
    /// What is known about it.
    pub(crate) fn new(link: &Link, state: &State, now: SystemTime) -> Self {
        let (running, since, problem) = match link {
            Link::Untried => (false, None, Some("canhub has not tried to reach it yet".to_owned())),
            Link::Up { since } => (true, Some(rfc3339(*since)), state.problem.clone()),
            Link::Down { since, why, .. } => (false, Some(rfc3339(*since)), Some(why.clone())),
        };
        let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Self {
            running,
            since,
            problem,
            version: filled(&state.version),
            host: filled(&state.host),
            certificate_expires: state.certificate_expires.map(shown),
            certificate_expires_s: state.certificate_expires.map(|at| from_now(at, now)),
            refused: state.refused.clone(),
            unreachable: if running { state.unreachable.clone() } else { Vec::new() },
        }
    }
}

impl SpanStatus {
    /// That of a network of which `canhub-span` has told nothing yet.
    pub(crate) fn new(options: &SpanOptions, port: &EndpointId, heals: u64) -> Self {
        Self {
            name: options.name.clone(),
            interface: port.container_end().to_string(),
            age_ms: options.age_ms(),
            bridge: options.bridge,
            rate: None,
            heals,
            problem: None,
            stopped: false,
            refused: Vec::new(),
            missed: 0,
            lost_at_port: 0,
            held_back: 0,
            write_errors: 0,
            too_old: TooOld::default(),
            frames_sent: 0,
            hosts: Vec::new(),
            traffic: Traffic::default(),
        }
    }

    /// Whether nothing is wrong on this host.
    pub fn is_well(&self) -> bool {
        self.problem.is_none() && !self.stopped
    }
}

impl HostStatus {
    /// What is known about a host.
    pub(crate) fn new(host: &HostState, now: SystemTime) -> Self {
        Self {
            name: host.name.clone(),
            online: host.online,
            since: shown(host.since),
            since_s: from_now(host.since, now).min(0).unsigned_abs(),
            heard: host.heard.map(shown),
            left: host.left,
            path: host.path.clone(),
            adapter: host.adapter.clone(),
            frames: host.frames,
            version: host.version.clone(),
            delay_us: host.delay_us,
            frames_in: host.frames_in,
            frames_out: host.frames_out,
            lost: host.lost,
            too_old: host.too_old,
            refused: host.refused,
            duplicates: host.duplicates,
            looped: host.looped,
            clock_offset_us: host.clock_offset_us,
            clock_uncertainty_us: host.clock_uncertainty_us,
            certificate_expires: host.certificate_expires.map(shown),
            certificate_expires_s: host.certificate_expires.map(|at| from_now(at, now)),
        }
    }
}

/// A time beyond the year 9999 is shown as that.
fn shown(at: UnixSeconds) -> String {
    rfc3339(UNIX_EPOCH + Duration::from_secs(at.min(253_402_300_799)))
}

fn from_now(at: UnixSeconds, now: SystemTime) -> i64 {
    let seconds = i128::from(at) - i128::from(unix_seconds(now));
    i64::try_from(seconds).unwrap_or(i64::MAX)
}
