//! Writing batches.

use super::{BYTES_MAX, FRAME, FRAMES_MAX, HEADER, Header, MAGIC, Timed, VERSION};
use crate::parts::{Parts, Unfit};

/// Where the number of frames is in the header.
const COUNT: std::ops::Range<usize> = 6..8;

/// Why a frame is not in the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// It goes into the next one: this one has all the frames or bytes that it can have, or started 4 s before the frame.
    #[error("the batch is full")]
    Full,
    /// It goes into none.
    #[error(transparent)]
    Unfit(#[from] Unfit),
}

/// Writes batches, one after the other, into the same memory ([`BYTES_MAX`]).
#[derive(Debug)]
pub struct Encoder {
    bytes: Vec<u8>,
    base: u64,
    count: u16,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { bytes: Vec::with_capacity(BYTES_MAX), base: 0, count: 0 }
    }
}

impl Encoder {
    /// Begins a batch.
    pub fn start(&mut self, header: &Header) {
        (self.base, self.count) = (header.base.0, 0);
        self.bytes.clear();
        self.bytes.extend_from_slice(&MAGIC);
        self.bytes.extend_from_slice(&[VERSION, 0, 0, 0]);
        self.bytes.extend_from_slice(&header.instance.to_be_bytes());
        self.bytes.extend_from_slice(&header.epoch.to_be_bytes());
        for field in [header.sequence, header.frames_before, header.base.0, header.wall.0] {
            self.bytes.extend_from_slice(&field.to_be_bytes());
        }
        debug_assert_eq!(self.bytes.len(), HEADER);
    }

    /// Adds a frame. A time before that of the header counts as that.
    ///
    /// # Errors
    /// [`PushError`]; the batch is as it was.
    pub fn push(&mut self, timed: &Timed) -> Result<(), PushError> {
        let parts = Parts::of(&timed.frame)?;
        let delta = u32::try_from(timed.time.0.saturating_sub(self.base)).map_err(|_| PushError::Full)?;
        if self.count == FRAMES_MAX || self.bytes.len() + FRAME + parts.data.len() > BYTES_MAX {
            return Err(PushError::Full);
        }
        self.bytes.extend_from_slice(&delta.to_be_bytes());
        self.bytes.extend_from_slice(&parts.id.to_be_bytes());
        self.bytes.extend_from_slice(&[parts.flags, parts.length, parts.len8_dlc]);
        self.bytes.extend_from_slice(parts.data);
        self.count += 1;
        Ok(())
    }

    /// How many frames the batch has.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// The batch. It is valid until the next [`Encoder::start`].
    pub fn finish(&mut self) -> &[u8] {
        if let Some(count) = self.bytes.get_mut(COUNT) {
            count.copy_from_slice(&self.count.to_be_bytes());
        }
        &self.bytes
    }
}
