//! What one host sends to the others: the frames of a bus that its members sent, in batches.
//!
//! `docs/span-batch.md` describes the format, with an example that a test of this module reads. The rules: fixed header, then
//! the frames back to back, in network byte order; one version; every byte has to be as described, or the whole batch is
//! refused with the reason; nothing is allocated by what a length field says.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use canhub::frames::{CanAnyFrame, Timestamp};

pub use decode::{Batch, BatchError, Fault, Frames, decode};
pub use encode::{Encoder, PushError};

use crate::flow::Moment;

/// The first bytes of a batch: "canhub span batch".
const MAGIC: [u8; 4] = *b"CHSB";
/// The version of the format. A host of another version is refused.
pub const VERSION: u8 = 1;
/// Bytes of the header.
pub const HEADER: usize = 52;
/// Bytes of a frame without its data.
const FRAME: usize = 11;
/// The most frames of a batch.
pub const FRAMES_MAX: u16 = 1024;
/// The most bytes of a batch, header included: zenoh sends up to 64 KiB in one piece, and adds the key and its own header.
pub const BYTES_MAX: usize = 60_000;

/// What a batch says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// A random number of this run of the sender's `canhub-span`, other than 0. Who hears its own drops the batch.
    pub instance: u64,
    /// Counts the times when the sender started anew, after an outage. From 1.
    pub epoch: u32,
    /// Counts the batches of this instance on this span. From 1.
    pub sequence: u64,
    /// How many frames the batches before this one had, of this instance on this span.
    pub frames_before: u64,
    /// When the first frame entered the sender's bus, by the sender's `CLOCK_BOOTTIME`; without frames, when it was sent.
    pub base: Moment,
    /// The same by the sender's wall clock. For people and recordings: nothing is decided by it.
    pub wall: Timestamp,
}

/// A frame and when it entered the sender's bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timed {
    /// By the `CLOCK_BOOTTIME` of the sender.
    pub time: Moment,
    /// The frame.
    pub frame: CanAnyFrame,
}
