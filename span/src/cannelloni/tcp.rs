//! The byte stream of TCP: both sides send a greeting, then frames without anything between them.

use canhub::frames::CanAnyFrame;

use super::frame::{self, FRAME_MAX, FrameError};
use crate::parts::Unfit;

/// The first bytes in both directions.
pub const GREETING: &[u8; 12] = b"CANNELLONIv1";

/// Why a connection is given up. Nothing after it can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The other side is not cannelloni, or another version.
    #[error("the other side does not begin with CANNELLONIv1")]
    Greeting,
    /// A frame is wrong, so that the beginning of the next one is unknown.
    #[error("frame {number} of the connection: {error}")]
    Frame {
        /// Which one. The first is 0.
        number: u64,
        /// What is wrong with it.
        error: FrameError,
    },
}

/// Appends a frame to what is sent.
///
/// # Errors
/// The frame is not sent.
pub fn put(bytes: &mut Vec<u8>, frame: &CanAnyFrame) -> Result<(), Unfit> {
    frame::put(bytes, frame)
}

/// Reads what comes, in pieces of any size.
#[derive(Debug)]
pub struct Reader {
    greeted: usize,
    /// The beginning of a frame, of the piece before.
    partial: [u8; FRAME_MAX],
    partial_length: usize,
    frames: u64,
    failed: Option<StreamError>,
}

impl Default for Reader {
    fn default() -> Self {
        Self { greeted: 0, partial: [0; FRAME_MAX], partial_length: 0, frames: 0, failed: None }
    }
}

impl Reader {
    /// Whether the greeting came.
    pub fn is_greeted(&self) -> bool {
        self.greeted == GREETING.len()
    }

    /// The next piece came. Calls `each` for each frame that it completes.
    ///
    /// # Errors
    /// What came cannot be read; the frames before it were. The connection is to be closed: each later call fails the same way.
    pub fn read(&mut self, bytes: &[u8], each: impl FnMut(CanAnyFrame)) -> Result<(), StreamError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let read = self.frames_of(bytes, each);
        self.failed = read.err();
        read
    }

    fn frames_of(&mut self, bytes: &[u8], mut each: impl FnMut(CanAnyFrame)) -> Result<(), StreamError> {
        let expected = GREETING.get(self.greeted..).unwrap_or_default();
        let there = expected.len().min(bytes.len());
        let Some((greeting, mut rest)) = bytes.split_at_checked(there) else { return Ok(()) };
        if !expected.starts_with(greeting) {
            return Err(StreamError::Greeting);
        }
        self.greeted += there;
        // Byte by byte until the frame that began in the piece before is complete; the others as they are.
        while self.partial_length > 0 {
            let (Some((&byte, after)), Some(place)) =
                (rest.split_first(), self.partial.get_mut(self.partial_length))
            else {
                return Ok(());
            };
            *place = byte;
            (rest, self.partial_length) = (after, self.partial_length + 1);
            let partial = self.partial;
            let partial = partial.get(..self.partial_length).unwrap_or_default();
            if let Some((frame, _)) = self.split(partial)? {
                self.partial_length = 0;
                each(frame);
            }
        }
        while let Some((frame, after)) = self.split(rest)? {
            rest = after;
            each(frame);
        }
        if let Some(partial) = self.partial.get_mut(..rest.len()) {
            partial.copy_from_slice(rest);
            self.partial_length = rest.len();
        }
        Ok(())
    }

    fn split<'b>(&mut self, bytes: &'b [u8]) -> Result<Option<(CanAnyFrame, &'b [u8])>, StreamError> {
        let frame = frame::split(bytes).map_err(|error| StreamError::Frame { number: self.frames, error })?;
        self.frames += u64::from(frame.is_some());
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use socketcan::Frame as _;

    use super::*;
    use crate::parts::tests::any_frame;

    fn read(reader: &mut Reader, bytes: &[u8]) -> (Vec<CanAnyFrame>, Result<(), StreamError>) {
        let mut frames = Vec::new();
        let read = reader.read(bytes, |frame| frames.push(frame));
        (frames, read)
    }

    #[test]
    fn frames_follow_the_greeting_without_anything_between() {
        let mut reader = Reader::default();
        assert_eq!(read(&mut reader, b"CANNELL"), (vec![], Ok(())));
        assert!(!reader.is_greeted());
        let (frames, result) = read(&mut reader, b"ONIv1\0\0\x01\x23\x02\xAB\xCD\x80\0\0\x01\x00\0\0");
        assert_eq!((frames.len(), result, reader.is_greeted()), (2, Ok(()), true));
        assert_eq!((frames[0].id_word(), frames[1].id_word()), (0x123, 0x8000_0001));
        let mut bytes = Vec::new();
        put(&mut bytes, &frames[0]).unwrap();
        assert_eq!(bytes, b"\0\0\x01\x23\x02\xAB\xCD");
    }

    #[test]
    fn a_connection_that_cannot_be_read_is_given_up() {
        let mut reader = Reader::default();
        assert_eq!(read(&mut reader, b"CANNELLONIv2").1, Err(StreamError::Greeting));
        assert_eq!(read(&mut reader, b"1").1, Err(StreamError::Greeting), "and stays so");
        let mut reader = Reader::default();
        let (frames, result) = read(&mut reader, b"CANNELLONIv1\0\0\0\x01\x00\0\0\0\x01\xC1\0");
        let error = FrameError::Length(65);
        assert_eq!((frames.len(), result), (1, Err(StreamError::Frame { number: 1, error })));
        let later = read(&mut reader, b"\0\0\0\x01\x00");
        assert_eq!(later, (vec![], Err(StreamError::Frame { number: 1, error })), "nothing after it is read");
    }

    proptest! {
        #[test]
        fn pieces_may_have_any_size(
            frames in prop::collection::vec(any_frame(), 0..20),
            sizes in prop::collection::vec(1..200_usize, 1..50),
        ) {
            let mut bytes = GREETING.to_vec();
            for frame in &frames {
                put(&mut bytes, frame).unwrap();
            }
            let mut reader = Reader::default();
            let (mut rest, mut sizes, mut came) = (&bytes[..], sizes.iter().cycle(), Vec::new());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                came.extend(read(&mut reader, piece).0);
                rest = after;
            }
            let ids = |frames: &[CanAnyFrame]| frames.iter().map(|frame| frame.id_word()).collect::<Vec<_>>();
            prop_assert_eq!(ids(&came), ids(&frames));
        }
    }
}
