//! The messages between canhub and `canhub-span` on the control socket, `/run/canhub-span/control.sock`.
//!
//! A stream of lines, one JSON object each, at most [`LINE_MAX`] bytes. `canhub-span` listens and serves one connection:
//! a new one replaces the old one. canhub sends [`ToSpan::Ports`], the complete list, when it connects and whenever the
//! list changes. `canhub-span` answers with [`FromSpan::State`]: when it changes, at most four times a second, and at
//! least once a second.
//!
//! Every line has the number of the protocol; fields may be added within it. Neither side trusts the other's text: names
//! and sentences that are too long or contain control characters are refused, because they end up in logs and on
//! terminals.

use std::io;

use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned, de::Error as _};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

use crate::names::{IfName, NetworkId, SpanName};

/// The version of these messages.
pub const PROTOCOL: u32 = 1;
/// Where `canhub-span` listens.
pub const CONTROL_SOCKET: &str = "/run/canhub-span/control.sock";
/// The length of a line in bytes: 100 spans of 64 hosts each take 4 MiB.
pub const LINE_MAX: usize = 8 << 20;
/// The length of a name or a sentence in bytes.
pub const TEXT_MAX: usize = 1024;

/// Seconds since 1970-01-01, UTC, of this host's clock.
pub type UnixSeconds = u64;

/// What canhub tells `canhub-span`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToSpan {
    /// All span ports of this host.
    Ports(Vec<Port>),
    /// Forget this host: it is no longer listed, until it is heard again.
    #[serde(deserialize_with = "text")]
    Forget(String),
}

/// What `canhub-span` tells canhub.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FromSpan {
    /// Everything.
    State(State),
}

/// A span port: an interface on the host through which `canhub-span` takes part in a bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The value of the option `span`.
    pub span: SpanName,
    /// Docker's ID of the network.
    pub network: NetworkId,
    /// The network's name; the start of its ID until Docker's API has answered.
    #[serde(deserialize_with = "text")]
    pub network_name: String,
    /// The end of the port that belongs to `canhub-span`, in the host's namespace. It may not exist yet or be replaced at
    /// any time: then its index changes.
    pub interface: IfName,
    /// The frames that the bus carries.
    pub frames: Frames,
    /// The option `span-age`: frames that are older are dropped, in milliseconds.
    pub age_ms: u32,
    /// The adapter that carries this bus on this host, if one does: its interface, or its selector while it is away.
    #[serde(default, deserialize_with = "text_or_none")]
    pub adapter: Option<String>,
    /// The option `span-bridge`: other hosts may have adapters on this span, too.
    pub bridge: bool,
    /// The bitrate of the adapter in bit/s, if known.
    #[serde(default)]
    pub bitrate: Option<u32>,
    /// The bitrate of its data phase in bit/s, if it has one.
    #[serde(default)]
    pub dbitrate: Option<u32>,
}

/// The frames that a bus carries across hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Frames {
    /// Classic CAN frames, up to 8 bytes.
    Classic,
    /// Classic and FD frames, up to 64 bytes.
    Fd,
}

impl Frames {
    /// As in JSON and in the option `frames`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Fd => "fd",
        }
    }
}

/// What `canhub-span` knows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The version of `canhub-span`.
    #[serde(deserialize_with = "text")]
    pub version: String,
    /// The name of this host in its fleet; empty before `canhub-span join`.
    #[serde(deserialize_with = "text")]
    pub host: String,
    /// When `canhub-span` started. Counters begin at 0 when it starts for the first time since the host did; a later run goes
    /// on where the one before ended, however it ended.
    pub started: UnixSeconds,
    /// Why it cannot work at all: one sentence.
    #[serde(default, deserialize_with = "text_or_none")]
    pub problem: Option<String>,
    /// When the certificate of this host expires.
    #[serde(default)]
    pub certificate_expires: Option<UnixSeconds>,
    /// Hosts that were refused before it was known on which span, with the reason.
    #[serde(default)]
    pub refused: Vec<Refused>,
    /// Addresses in the settings at which no host was reached in the last attempt.
    #[serde(default)]
    pub unreachable: Vec<Unreachable>,
    /// One per port, in the order of [`ToSpan::Ports`].
    #[serde(default)]
    pub spans: Vec<SpanState>,
}

/// One span, as seen by this host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpanState {
    /// The span.
    pub span: SpanName,
    /// The network of the port.
    pub network: NetworkId,
    /// What is wrong on this host, for example that the interface cannot be opened: one sentence.
    #[serde(default, deserialize_with = "text_or_none")]
    pub problem: Option<String>,
    /// Whether nothing is carried: a loop, for a while, or this host has no right for the span. `problem` says which.
    #[serde(default)]
    pub stopped: bool,
    /// Hosts that may not speak or listen on this span, with the reason.
    #[serde(default)]
    pub refused: Vec<Refused>,
    /// Frames of this bus that nobody took in, because `canhub-span` was not running or had not opened the port yet, or that
    /// ended with it.
    #[serde(default)]
    pub missed: u64,
    /// Frames of this bus that `canhub-span` was too slow to read.
    #[serde(default)]
    pub lost_at_port: u64,
    /// Frames of this bus that were not sent because a loop was stopped.
    #[serde(default)]
    pub held_back: u64,
    /// Frames of other hosts that could not be written to the bus, or waited for it when `canhub-span` ended.
    #[serde(default)]
    pub write_errors: u64,
    /// Frames that were dropped because they were older than `age_ms`.
    #[serde(default)]
    pub too_old: TooOld,
    /// Frames of this host's bus that were sent to the other hosts. One counts once, however many hosts hear it.
    #[serde(default)]
    pub frames_out: u64,
    /// The other hosts that are, or were, on this span.
    #[serde(default)]
    pub hosts: Vec<HostState>,
}

impl SpanState {
    /// A span of which nothing is known.
    pub fn new(span: SpanName, network: NetworkId) -> Self {
        Self {
            span,
            network,
            problem: None,
            stopped: false,
            refused: Vec::new(),
            missed: 0,
            lost_at_port: 0,
            held_back: 0,
            write_errors: 0,
            too_old: TooOld::default(),
            frames_out: 0,
            hosts: Vec::new(),
        }
    }
}

/// Frames that were too old, by the place where they were dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TooOld {
    /// Here, before they were sent to the other hosts.
    pub before_sending: u64,
    /// On arrival from another host.
    pub on_arrival: u64,
    /// Here, before they went to the adapter.
    pub before_wire: u64,
}

/// A host that was refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Refused {
    /// Its name, or its address if it has not proved a name.
    #[serde(deserialize_with = "text")]
    pub host: String,
    /// One sentence: why, and what to do.
    #[serde(deserialize_with = "text")]
    pub reason: String,
}

/// An address at which no host is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreachable {
    /// `ADDRESS:PORT`, as in the settings.
    #[serde(deserialize_with = "text")]
    pub address: String,
    /// Why: the end of a sentence.
    #[serde(deserialize_with = "text")]
    pub reason: String,
}

/// Another host on a span.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HostState {
    /// Its name.
    #[serde(deserialize_with = "text")]
    pub name: String,
    /// Whether it is connected and on this span.
    pub online: bool,
    /// Since when it is online or offline.
    pub since: UnixSeconds,
    /// When it was last heard; `None`: never.
    #[serde(default)]
    pub heard: Option<UnixSeconds>,
    /// Whether it said that it leaves the fleet.
    #[serde(default)]
    pub left: bool,
    /// How it is reached: its address, and the router if there is one.
    #[serde(default, deserialize_with = "text_or_none")]
    pub path: Option<String>,
    /// The adapter that carries the bus there, if one does.
    #[serde(default, deserialize_with = "text_or_none")]
    pub adapter: Option<String>,
    /// The frames that the bus carries there.
    #[serde(default)]
    pub frames: Option<Frames>,
    /// The version of `canhub-span` there.
    #[serde(default, deserialize_with = "text_or_none")]
    pub version: Option<String>,
    /// The one-way delay of its frames to this host in the last 10 s; `None` without frames or without a known offset of
    /// the clocks.
    #[serde(default)]
    pub delay_us: Option<Delay>,
    /// Frames that arrived from it and were written to this bus.
    #[serde(default)]
    pub frames_in: u64,
    /// Frames of this bus that were sent to it while it was online.
    #[serde(default)]
    pub frames_out: u64,
    /// Frames that it sent and that did not arrive.
    #[serde(default)]
    pub lost: u64,
    /// Frames that arrived from it too late.
    #[serde(default)]
    pub too_old: u64,
    /// Frames that were refused: it has no right to speak on this span, or they are not what this bus carries.
    #[serde(default)]
    pub refused: u64,
    /// Batches that arrived twice.
    #[serde(default)]
    pub duplicates: u64,
    /// Frames of this bus that came back from it.
    #[serde(default)]
    pub looped: u64,
    /// Its clock minus this host's, in microseconds.
    #[serde(default)]
    pub clock_offset_us: Option<i64>,
    /// By how much that may be wrong.
    #[serde(default)]
    pub clock_uncertainty_us: Option<u64>,
    /// When its certificate expires.
    #[serde(default)]
    pub certificate_expires: Option<UnixSeconds>,
}

/// A distribution of delays in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delay {
    /// Half of the frames took no longer.
    pub p50: u64,
    /// 99 of 100 frames took no longer.
    pub p99: u64,
    /// The slowest one.
    pub max: u64,
}

/// A line: the number of the protocol, and the message beside it.
#[derive(Serialize, Deserialize)]
struct Line<T> {
    protocol: u32,
    #[serde(flatten)]
    message: T,
}

#[derive(Deserialize)]
struct Version {
    protocol: u32,
}

/// A message as a line with its newline.
///
/// # Errors
/// If it would be longer than [`LINE_MAX`].
pub fn encode(message: impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&Line { protocol: PROTOCOL, message })?;
    line.push(b'\n');
    match line.len() <= LINE_MAX {
        true => Ok(line),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, too_long())),
    }
}

/// The message of a line.
///
/// # Errors
/// A sentence without its subject: another protocol, or what is wrong with the line.
pub fn decode<T: DeserializeOwned>(line: &[u8]) -> Result<T, String> {
    let wrong = |err: serde_json::Error| format!("a line is not a message of protocol {PROTOCOL}: {err}");
    let Version { protocol } = serde_json::from_slice(line).map_err(wrong)?;
    if protocol != PROTOCOL {
        return Err(format!(
            "it speaks protocol {protocol} of the control socket, this program speaks {PROTOCOL}: install the same version of canhub and canhub-span"
        ));
    }
    serde_json::from_slice::<Line<T>>(line).map(|line| line.message).map_err(wrong)
}

/// Reads the next line into `line`, without its newline. Returns false at the end of the stream.
///
/// If the future is dropped, what was read so far is in `line`; the next call continues with it. Clear `line` after each
/// complete one.
///
/// # Errors
/// As the stream does; if a line is longer than [`LINE_MAX`] or the last one is incomplete.
pub async fn read_line(from: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> io::Result<bool> {
    let room = (LINE_MAX + 1).saturating_sub(line.len());
    from.take(room as u64).read_until(b'\n', line).await?;
    match line.pop() {
        None => Ok(false),
        Some(b'\n') => Ok(true),
        Some(_) if line.len() >= LINE_MAX => Err(io::Error::new(io::ErrorKind::InvalidData, too_long())),
        Some(_) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn too_long() -> String {
    format!("a line is longer than {LINE_MAX} bytes")
}

/// A name or a sentence that can be shown.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.len() > TEXT_MAX {
        return Err(D::Error::custom(format_args!(
            "a text has {} bytes, at most {TEXT_MAX} are allowed",
            text.len()
        )));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(bad) => Err(D::Error::custom(format_args!("a text contains the control character {bad:?}"))),
        None => Ok(text),
    }
}

fn text_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    struct Text(#[serde(deserialize_with = "text")] String);
    Option::<Text>::deserialize(deserializer).map(|text| text.map(|Text(text)| text))
}

#[cfg(test)]
mod tests;
