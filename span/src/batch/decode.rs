//! Reading batches.

use canhub::frames::Timestamp;

use super::{BYTES_MAX, FRAME, FRAMES_MAX, HEADER, Header, MAGIC, Timed, VERSION};
use crate::{
    flow::Moment,
    parts::{self, CLASSIC_MAX, FD_FLAGS, FDF, Parts, REMOTE},
};

/// Why a batch is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Less than a header.
    #[error("a batch of {0} bytes is shorter than its header")]
    Short(usize),
    /// More than [`BYTES_MAX`].
    #[error("a batch of {0} bytes is longer than {BYTES_MAX}")]
    Long(usize),
    /// It does not begin as one.
    #[error("this is no batch: it begins with {0:02X?}")]
    Magic([u8; 4]),
    /// The other host runs another version of `canhub-span`.
    #[error(
        "the batch has version {0} of the format, this host knows version {VERSION}: install the same canhub on both"
    )]
    Version(u8),
    /// A field of the header has a value that it cannot have.
    #[error("the {0} of a batch cannot be {1}")]
    Header(&'static str, u64),
    /// A frame is wrong. The first is 0.
    #[error("frame {frame} of a batch: {fault}")]
    Frame {
        /// Which one.
        frame: u16,
        /// What is wrong with it.
        fault: Fault,
    },
    /// So many bytes come after the last frame.
    #[error("{0} bytes follow the last frame of a batch")]
    Trailing(usize),
}

/// What is wrong with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The batch ends in it.
    #[error("the batch ends within it")]
    Cut,
    /// Bits that an id cannot have, or the flag of error frames.
    #[error("{0:08X} is no id")]
    Id(u32),
    /// Flags that this kind of frame cannot have.
    #[error("it cannot have the flags {0:02X}")]
    Flags(u8),
    /// A length that this kind of frame cannot have.
    #[error("it cannot have {0} bytes")]
    Length(u8),
    /// A DLC that a frame of this length cannot have.
    #[error("it cannot have the DLC {0}")]
    Dlc(u8),
}

/// A batch without faults. It borrows the bytes.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    header: Header,
    count: u16,
    frames: &'a [u8],
}

/// Reads a batch: all of it is right, or it is refused.
///
/// # Errors
/// [`BatchError`] with the first thing that is wrong.
pub fn decode(bytes: &[u8]) -> Result<Batch<'_>, BatchError> {
    let Some((head, frames)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(BatchError::Short(bytes.len()));
    };
    let mut head = Fields(head);
    let magic = head.take();
    if magic != MAGIC {
        return Err(BatchError::Magic(magic));
    }
    let [version, reserved] = head.take();
    // First: another version may have other limits.
    if version != VERSION {
        return Err(BatchError::Version(version));
    }
    if bytes.len() > BYTES_MAX {
        return Err(BatchError::Long(bytes.len()));
    }
    if reserved != 0 {
        return Err(BatchError::Header("reserved byte", reserved.into()));
    }
    let count = u16::from_be_bytes(head.take());
    if count > FRAMES_MAX {
        return Err(BatchError::Header("number of frames", count.into()));
    }
    let header = Header {
        instance: u64::from_be_bytes(head.take()),
        epoch: u32::from_be_bytes(head.take()),
        sequence: u64::from_be_bytes(head.take()),
        frames_before: u64::from_be_bytes(head.take()),
        base: Moment(u64::from_be_bytes(head.take())),
        wall: Timestamp(u64::from_be_bytes(head.take())),
    };
    for (field, value) in
        [("instance", header.instance), ("epoch", header.epoch.into()), ("sequence", header.sequence)]
    {
        if value == 0 {
            return Err(BatchError::Header(field, value));
        }
    }
    // Whoever adds these up needs no care.
    if header.frames_before > u64::MAX / 2 {
        return Err(BatchError::Header("number of frames before", header.frames_before));
    }
    let mut rest = frames;
    for frame in 0..count {
        let (_, after) = split_frame(rest).map_err(|fault| BatchError::Frame { frame, fault })?;
        rest = after;
    }
    if rest.is_empty() { Ok(Batch { header, count, frames }) } else { Err(BatchError::Trailing(rest.len())) }
}

impl<'a> Batch<'a> {
    /// What it says about itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How many frames it has. None: it only tells that the sender is there, and how many frames there were before.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Its frames, in the order in which they entered the sender's bus.
    pub fn frames(&self) -> Frames<'a> {
        Frames { base: self.header.base, rest: self.frames }
    }
}

/// The frames of a batch.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    base: Moment,
    rest: &'a [u8],
}

impl Iterator for Frames<'_> {
    type Item = Timed;

    fn next(&mut self) -> Option<Timed> {
        let ((delta, parts), rest) = split_frame(self.rest).ok()?;
        self.rest = rest;
        Some(Timed { time: Moment(self.base.0.saturating_add(delta.into())), frame: parts.frame() })
    }
}

/// The first frame, with its time after the base in nanoseconds, and what comes after it.
fn split_frame(bytes: &[u8]) -> Result<((u32, Parts<'_>), &[u8]), Fault> {
    let (head, rest) = bytes.split_first_chunk::<FRAME>().ok_or(Fault::Cut)?;
    let mut head = Fields(head);
    let (delta, id) = (u32::from_be_bytes(head.take()), u32::from_be_bytes(head.take()));
    let [flags, length, len8_dlc] = head.take();
    if !parts::is_id(id) {
        return Err(Fault::Id(id));
    }
    let is_fd = flags & FDF != 0;
    let is_remote = id & REMOTE != 0;
    if flags & !FD_FLAGS != 0 || (!is_fd && flags != 0) || (is_fd && is_remote) {
        return Err(Fault::Flags(flags));
    }
    let fits = if is_fd { parts::is_fd_length(length) } else { usize::from(length) <= CLASSIC_MAX };
    if !fits {
        return Err(Fault::Length(length));
    }
    if !parts::is_dlc(length, len8_dlc) || (is_fd && len8_dlc != 0) {
        return Err(Fault::Dlc(len8_dlc));
    }
    let there = if is_remote { 0 } else { usize::from(length) };
    let (data, rest) = rest.split_at_checked(there).ok_or(Fault::Cut)?;
    Ok(((delta, Parts { id, flags, length, len8_dlc, data }), rest))
}

/// Takes fields off the front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// The next bytes; zeroes beyond the end, where no caller reads: all know the length.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((field, rest)) = self.0.split_first_chunk() else { return [0; N] };
        self.0 = rest;
        *field
    }
}
