//! What the probe says, as JSON lines. Shared with the tests that read it.

use serde::{Deserialize, Serialize};

/// The kinds of frame that a bus carries.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An 11-bit identifier and 8 bytes.
    Classic,
    /// A 29-bit identifier and 8 bytes.
    Extended,
    /// A remote request: no data, so all that it tells is in its identifier.
    Remote,
    /// An FD frame with 64 bytes and the bit rate switched.
    Fd,
    /// What a controller tells of its wire, as a simulation of one sends it. Heard only by who asks for it.
    Error,
}

/// The frames of one kind from one sender, as one listener heard them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stream {
    /// The sender's number.
    pub from: u8,
    /// Which frames.
    pub kind: Kind,
    /// How many different ones came.
    pub frames: u32,
    /// The lowest sequence number.
    pub first: u32,
    /// The highest.
    pub last: u32,
    /// How many between the two never came.
    pub missing: u32,
    /// How many came again.
    pub doubled: u32,
    /// How many came after a later one.
    pub disordered: u32,
    /// How many came with other content than they were sent with.
    pub damaged: u32,
}

/// What a listener heard in all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// By sender and kind.
    pub streams: Vec<Stream>,
    /// Frames that no probe sent.
    pub others: u32,
    /// The longest silence between two frames, in milliseconds.
    pub longest_gap_ms: u64,
}

/// What a sender did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Frames that the kernel took.
    pub sent: u32,
    /// How many of them the very socket that sent them heard.
    pub own: u32,
}

/// One ISO-TP message that arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// In bytes.
    pub size: usize,
    /// Whether each byte is the one that was sent.
    pub intact: bool,
}
