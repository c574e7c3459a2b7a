//! A frame, as in both formats: the id with Linux' flag bits in network byte order; the length in bytes, with the highest bit
//! set if it is an FD frame; in an FD frame its flags; the data, unless it is a remote frame.

use canhub::frames::CanAnyFrame;

use crate::parts::{self, CLASSIC_MAX, FD_FLAGS, FD_MAX, FDF, Parts, REMOTE, Unfit};

/// Marks FD frames.
const FD: u8 = 0x80;
/// Bytes of the longest frame.
pub const FRAME_MAX: usize = 4 + 1 + 1 + FD_MAX;

/// Why a frame is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// More bytes than such a frame can have.
    #[error("a frame cannot have {0} bytes")]
    Length(u8),
    /// Bits that an id cannot have, the flag of error frames, or an FD frame that is a remote frame.
    #[error("{0:08X} is no id of such a frame")]
    Id(u32),
}

/// Appends a frame.
pub(super) fn put(bytes: &mut Vec<u8>, frame: &CanAnyFrame) -> Result<(), Unfit> {
    let parts = Parts::of(frame)?;
    bytes.extend_from_slice(&parts.id.to_be_bytes());
    match parts.is_fd() {
        true => bytes.extend_from_slice(&[parts.length | FD, parts.flags]),
        false => bytes.push(parts.length),
    }
    bytes.extend_from_slice(parts.data);
    Ok(())
}

/// The first frame, and what comes after it. `None` if the bytes end within it.
///
/// FD frames with a length that no DLC stands for get zeroes up to the next such length, as a controller would do.
pub(super) fn split(bytes: &[u8]) -> Result<Option<(CanAnyFrame, &[u8])>, FrameError> {
    let Some((id, rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let id = u32::from_be_bytes(*id);
    let Some((&marked, rest)) = rest.split_first() else { return Ok(None) };
    let (is_fd, length) = (marked & FD != 0, marked & !FD);
    // Before more bytes are waited for.
    if usize::from(length) > if is_fd { FD_MAX } else { CLASSIC_MAX } {
        return Err(FrameError::Length(length));
    }
    let is_remote = id & REMOTE != 0;
    if !parts::is_id(id) || (is_fd && is_remote) {
        return Err(FrameError::Id(id));
    }
    let (flags, rest) = match (is_fd, rest.split_first()) {
        (false, _) => (0, rest),
        (true, Some((flags, rest))) => (flags & FD_FLAGS | FDF, rest),
        (true, None) => return Ok(None),
    };
    let there = if is_remote { 0 } else { usize::from(length) };
    let Some((data, rest)) = rest.split_at_checked(there) else { return Ok(None) };
    Ok(Some((Parts { id, flags, length, len8_dlc: 0, data }.frame(), rest)))
}
