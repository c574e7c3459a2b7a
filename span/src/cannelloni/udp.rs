//! Packets of UDP, and of SCTP: a header of 5 bytes, then frames.

use canhub::frames::CanAnyFrame;

use super::frame::{self, FRAME_MAX, FrameError};
use crate::parts::Unfit;

/// The version of the format.
const VERSION: u8 = 2;
/// The only kind of packet that is ever sent.
const DATA: u8 = 0;
const HEADER: usize = 5;
/// Where the number of frames is in the header.
const COUNT: std::ops::Range<usize> = 3..5;
/// What fits into a packet on an Ethernet: 1500 bytes without the headers of IPv4 and UDP.
pub const PAYLOAD: usize = 1472;

/// Why a packet is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Less than a header.
    #[error("a packet of {0} bytes is shorter than its header")]
    Short(usize),
    /// Not version 2.
    #[error("the packet has version {0} of cannelloni's format, canhub knows version {VERSION}")]
    Version(u8),
    /// Not a packet with frames.
    #[error("the packet has the operation code {0}, canhub knows {DATA}, data")]
    Operation(u8),
    /// It ends before the number of frames that it says.
    #[error("the packet ends within frame {0}")]
    Cut(u16),
    /// A frame is wrong. The first is 0.
    #[error("frame {frame} of a packet: {error}")]
    Frame {
        /// Which one.
        frame: u16,
        /// What is wrong with it.
        error: FrameError,
    },
}

/// The frames of a packet. Bytes after the last one are ignored, as cannelloni does.
#[derive(Debug, Clone)]
pub struct Packet<'a> {
    sequence: u8,
    left: u16,
    rest: &'a [u8],
}

/// Reads a packet: all of its frames are right, or it is refused.
///
/// # Errors
/// [`PacketError`] with the first thing that is wrong.
pub fn decode(bytes: &[u8]) -> Result<Packet<'_>, PacketError> {
    let Some((&[version, operation, sequence, high, low], rest)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(PacketError::Short(bytes.len()));
    };
    if version != VERSION {
        return Err(PacketError::Version(version));
    }
    if operation != DATA {
        return Err(PacketError::Operation(operation));
    }
    let packet = Packet { sequence, left: u16::from_be_bytes([high, low]), rest };
    let mut unread = rest;
    for number in 0..packet.left {
        match frame::split(unread) {
            Ok(Some((_, after))) => unread = after,
            Ok(None) => return Err(PacketError::Cut(number)),
            Err(error) => return Err(PacketError::Frame { frame: number, error }),
        }
    }
    Ok(packet)
}

impl Packet<'_> {
    /// Counts packets, and wraps. Senders with several threads or peers do not keep it in order: nothing may depend on it.
    pub fn sequence(&self) -> u8 {
        self.sequence
    }
}

impl Iterator for Packet<'_> {
    type Item = CanAnyFrame;

    fn next(&mut self) -> Option<CanAnyFrame> {
        self.left = self.left.checked_sub(1)?;
        let (frame, rest) = frame::split(self.rest).ok()??;
        self.rest = rest;
        Some(frame)
    }
}

/// Writes packets, one after the other, into the same memory.
#[derive(Debug)]
pub struct Encoder {
    bytes: Vec<u8>,
    payload: usize,
    count: u16,
    sequence: u8,
}

impl Encoder {
    /// For packets of at most so many bytes; at least one frame fits.
    pub fn new(payload: usize) -> Self {
        let payload = payload.clamp(HEADER + FRAME_MAX, usize::from(u16::MAX));
        let mut bytes = Vec::with_capacity(payload);
        bytes.extend_from_slice(&[VERSION, DATA, 0, 0, 0]);
        Self { bytes, payload, count: 0, sequence: 0 }
    }

    /// Adds a frame. Returns whether it still fitted; if not, it goes into the next packet.
    ///
    /// # Errors
    /// The frame goes into no packet.
    pub fn push(&mut self, frame: &CanAnyFrame) -> Result<bool, Unfit> {
        let before = self.bytes.len();
        frame::put(&mut self.bytes, frame)?;
        if self.bytes.len() > self.payload {
            self.bytes.truncate(before);
            return Ok(false);
        }
        self.count += 1;
        Ok(true)
    }

    /// Whether no frame was added.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Gives the packet to `send`, and begins the next one.
    pub fn flush<T>(&mut self, send: impl FnOnce(&[u8]) -> T) -> T {
        if let Some(sequence) = self.bytes.get_mut(2) {
            *sequence = self.sequence;
        }
        if let Some(count) = self.bytes.get_mut(COUNT) {
            count.copy_from_slice(&self.count.to_be_bytes());
        }
        let sent = send(&self.bytes);
        self.sequence = self.sequence.wrapping_add(1);
        self.count = 0;
        self.bytes.truncate(HEADER);
        sent
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use socketcan::{EmbeddedFrame as _, Frame as _};

    use super::*;
    use crate::parts::{FDF, REMOTE, tests::any_frame};

    /// 123#DEADBEEF; 1FFFFFFF#R with a length of 8; 7FF as FD with BRS and FDF, 12 bytes.
    const EXAMPLE: &[u8] = &[
        2, 0, 9, 0, 3, //
        0x00, 0x00, 0x01, 0x23, 4, 0xDE, 0xAD, 0xBE, 0xEF, //
        0xDF, 0xFF, 0xFF, 0xFF, 8, //
        0x00, 0x00, 0x07, 0xFF, 0x8C, 5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
    ];

    #[test]
    fn a_packet_is_read_and_written_byte_by_byte() {
        let packet = decode(EXAMPLE).unwrap();
        assert_eq!(packet.sequence(), 9);
        let frames: Vec<_> = packet.collect();
        let [data, remote, fd] = &frames[..] else { panic!("{frames:?}") };
        assert_eq!((data.id_word(), data.data()), (0x123, &[0xDE, 0xAD, 0xBE, 0xEF][..]));
        assert_eq!((remote.id_word(), remote.dlc(), remote.data()), (0xDFFF_FFFF, 8, &[][..]));
        let CanAnyFrame::Fd(fd) = fd else { panic!("{fd:?}") };
        assert_eq!((fd.is_brs(), fd.is_esi(), fd.data().len()), (true, false, 12));

        let mut encoder = Encoder::new(PAYLOAD);
        for _ in 0..9 {
            encoder.flush(|_| ());
        }
        for frame in &frames {
            assert_eq!(encoder.push(frame), Ok(true));
        }
        encoder.flush(|bytes| assert_eq!(bytes, EXAMPLE));
        assert!(encoder.is_empty());
    }

    #[test]
    fn each_wrong_packet_is_refused_with_the_reason() {
        let changed = |at: usize, byte: u8| {
            let mut bytes = EXAMPLE.to_vec();
            bytes[at] = byte;
            decode(&bytes).unwrap_err()
        };
        assert_eq!(decode(&EXAMPLE[..4]).unwrap_err(), PacketError::Short(4));
        assert_eq!(changed(0, 1), PacketError::Version(1));
        assert_eq!(changed(1, 2), PacketError::Operation(2));
        assert_eq!(changed(4, 4), PacketError::Cut(3));
        assert_eq!(changed(9, 9), PacketError::Frame { frame: 0, error: FrameError::Length(9) });
        assert_eq!(changed(23, 0x80 | 65), PacketError::Frame { frame: 2, error: FrameError::Length(65) });
        assert_eq!(changed(5, 0x20), PacketError::Frame { frame: 0, error: FrameError::Id(0x2000_0123) });
        assert_eq!(changed(19, 0x40), PacketError::Frame { frame: 2, error: FrameError::Id(0x4000_07FF) });
        for length in 0..EXAMPLE.len() {
            assert!(decode(&EXAMPLE[..length]).is_err(), "{length} bytes of it");
        }
    }

    #[test]
    fn what_other_programs_send_is_understood() {
        let followed: Vec<u8> = EXAMPLE.iter().copied().chain([0; 9]).collect();
        assert_eq!(decode(&followed).unwrap().count(), 3, "bytes after the last frame");
        assert_eq!(decode(&[2, 0, 0, 0, 0]).unwrap().count(), 0);
        let odd = [2, 0, 0, 0, 1, 0, 0, 0, 1, 0x80 | 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
        let Some(CanAnyFrame::Fd(frame)) = decode(&odd).unwrap().next() else { panic!("not an FD frame") };
        assert_eq!(frame.data(), &[1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0], "FD without FDF, 9 bytes");
    }

    #[test]
    fn a_frame_that_does_not_fit_goes_into_the_next_packet() {
        let mut encoder = Encoder::new(0);
        let data = [7; 64];
        let long = crate::parts::Parts { id: 1, flags: FDF, length: 64, len8_dlc: 0, data: &data }.frame();
        assert_eq!((encoder.push(&long), encoder.push(&long)), (Ok(true), Ok(false)));
        encoder.flush(|bytes| {
            assert_eq!(
                (decode(bytes).unwrap().count(), bytes.len()),
                (1, HEADER + FRAME_MAX),
                "nothing of the second"
            );
        });
        assert_eq!(encoder.push(&long), Ok(true));
        let error = socketcan::CanErrorFrame::new_error(4, &[0; 8]).unwrap().into();
        assert_eq!(encoder.push(&error), Err(Unfit::Error));
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(frames in prop::collection::vec(any_frame(), 0..15)) {
            let mut encoder = Encoder::new(PAYLOAD);
            for frame in &frames {
                prop_assert_eq!(encoder.push(frame), Ok(true));
            }
            let read: Vec<_> = encoder.flush(|bytes| decode(bytes).unwrap().collect());
            // The DLC of classic frames beyond 8 is lost.
            let is_same = |(read, sent): (&CanAnyFrame, &CanAnyFrame)| {
                (read.id_word(), read.data(), read.dlc()) == (sent.id_word(), sent.data(), sent.dlc())
            };
            prop_assert!(read.len() == frames.len() && read.iter().zip(&frames).all(is_same));
            prop_assert!(read.iter().all(|frame| frame.id_word() & REMOTE == 0 || frame.data().is_empty()));
        }
    }
}
