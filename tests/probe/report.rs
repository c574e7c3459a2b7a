//! The output of the probe, as JSON lines. Shared with the tests that read it.

use serde::{Deserialize, Serialize};

/// The kinds of frames that a bus carries.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An 11-bit identifier and 8 bytes.
    Classic,
    /// A 29-bit identifier and 8 bytes.
    Extended,
    /// A remote request: no data, so all its information is in the identifier.
    Remote,
    /// An FD frame with 64 bytes and bit rate switching; every other one has the flag ESI.
    Fd,
    /// A controller's error report, as a simulation sends it. Only received by those who subscribe to it.
    Error,
}

/// The frames of one kind from one sender, as one listener received them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stream {
    /// The sender's number.
    pub from: u8,
    /// The kind.
    pub kind: Kind,
    /// The number of different ones.
    pub frames: u32,
    /// The lowest sequence number.
    pub first: u32,
    /// The highest.
    pub last: u32,
    /// The number of missing ones between the two.
    pub missing: u32,
    /// The number of duplicates.
    pub doubled: u32,
    /// The number that arrived after a later one.
    pub disordered: u32,
    /// The number with modified content.
    pub damaged: u32,
}

/// Everything that a listener received.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// By sender and kind.
    pub streams: Vec<Stream>,
    /// Frames of other programs.
    pub others: u32,
    /// The longest silence between two frames, in milliseconds.
    pub longest_gap_ms: u64,
    /// The silences that are long enough to be told apart from a busy machine.
    #[serde(default)]
    pub silences: Vec<Silence>,
    /// How old those frames were that say when they were sent.
    #[serde(default)]
    pub age: Option<Age>,
}

/// The times of the frame before and of the frame after, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// The last frame.
    pub from_ms: u64,
    /// The next frame.
    pub until_ms: u64,
}

/// From the sender's clock to the listener's clock, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Age {
    /// Of half of the frames at most.
    pub p50_us: u64,
    /// Of all but one in a hundred at most.
    pub p99_us: u64,
    /// Of the oldest frame.
    pub max_us: u64,
}

/// The result of a sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Frames that the kernel accepted.
    pub sent: u32,
    /// How many of them the sending socket received itself.
    pub own: u32,
}

/// An ISO-TP message that arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// In bytes.
    pub size: usize,
    /// Whether all bytes are unmodified.
    pub intact: bool,
}
