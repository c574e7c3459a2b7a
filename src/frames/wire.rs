//! How long a frame takes on a wire: the bits of ISO 11898-1:2015 (10.4 and 10.5), with the stuff bits that this very frame
//! has.

use socketcan::{EmbeddedFrame as _, Frame as _};

use super::CanAnyFrame;

/// After the CRC: its delimiter, acknowledgement with delimiter, 7 bits end of frame, 3 bits to the next frame.
const TAIL_BITS: u64 = 13;
/// Of the CRC of classic frames (ISO 11898-1, 10.4.2.6).
const CRC15: u32 = 0x4599;

/// The speed of a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wire {
    /// Bit/s.
    pub bitrate: u32,
    /// Bit/s, of the data of FD frames with bit rate switching.
    pub data_bitrate: Option<u32>,
}

impl Wire {
    /// How long the frame and the pause after it occupy the wire, in ns. Error frames are reports of a controller and take
    /// none.
    pub fn occupied_by(self, frame: &CanAnyFrame) -> u64 {
        let bits = bits(frame);
        let ns = |bits: u64, rate: u32| bits * 1_000_000_000 / u64::from(rate.max(1));
        let is_fast = matches!(frame, CanAnyFrame::Fd(frame) if frame.is_brs());
        let data_rate = self.data_bitrate.filter(|_| is_fast).unwrap_or(self.bitrate);
        ns(bits.slow, self.bitrate) + ns(bits.fast, data_rate)
    }
}

/// The bits of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Bits {
    /// At the bitrate.
    slow: u64,
    /// At the data bitrate, if the frame switches.
    fast: u64,
}

fn bits(frame: &CanAnyFrame) -> Bits {
    if matches!(frame, CanAnyFrame::Error(_)) {
        return Bits::default();
    }
    let mut stream = Stream::default();
    let id = frame.raw_id();
    let is_remote = u32::from(frame.is_remote_frame());
    stream.push(0, 1);
    match frame.is_extended() {
        // Base identifier, SRR and IDE, the rest of the identifier.
        true => [(id >> 18, 11), (0b11, 2), (id, 18)].map(|(value, bits)| stream.push(value, bits)),
        // IDE is in the control bits.
        false => [(id, 11), (0, 0), (0, 0)].map(|(value, bits)| stream.push(value, bits)),
    };
    let data = frame.data();
    if let CanAnyFrame::Fd(fd) = frame {
        // RRS, for standard IDs IDE, then FDF, res, BRS.
        let switches = u32::from(fd.is_brs());
        stream.push(0b10 << 1 | switches, if frame.is_extended() { 4 } else { 5 });
        let slow = stream.bits;
        stream.push(u32::from(fd.is_esi()), 1);
        stream.push(fd_length_code(data.len()), 4);
        stream.push_bytes(data);
        // 4 bits with the number of stuff bits and the CRC, with a fixed stuff bit in front and after each 4 of them.
        let crc = if data.len() > 16 { 25 } else { 21u64 };
        return Bits { slow: slow + TAIL_BITS, fast: stream.bits - slow + crc + crc.div_ceil(4) };
    }
    // RTR, IDE or r1, r0; the length; the data.
    stream.push(is_remote << 2, 3);
    stream.push(frame.dlc().min(8) as u32, 4);
    stream.push_bytes(data);
    stream.push(stream.crc, 15);
    Bits { slow: stream.bits + TAIL_BITS, fast: 0 }
}

/// The code of an FD frame's length (ISO 11898-1, table 5).
fn fd_length_code(length: usize) -> u32 {
    match length {
        0..=8 => length as u32,
        9..=12 => 9,
        13..=16 => 10,
        17..=20 => 11,
        21..=24 => 12,
        25..=32 => 13,
        33..=48 => 14,
        _ => 15,
    }
}

/// Counts bits as they are sent: after five equal ones, the opposite one is stuffed.
#[derive(Debug, Default)]
struct Stream {
    bits: u64,
    last: u32,
    equal: u32,
    crc: u32,
}

impl Stream {
    /// Sends the lowest `count` bits, the highest of them first.
    fn push(&mut self, value: u32, count: u32) {
        for at in (0..count).rev() {
            self.push_bit(value >> at & 1);
        }
    }

    fn push_bytes(&mut self, data: &[u8]) {
        for byte in data {
            self.push(u32::from(*byte), 8);
        }
    }

    fn push_bit(&mut self, bit: u32) {
        self.crc = (self.crc << 1 & 0x7FFF) ^ if self.crc >> 14 & 1 != bit { CRC15 } else { 0 };
        self.bits += 1;
        self.equal = if bit == self.last && self.bits > 1 { self.equal + 1 } else { 1 };
        self.last = bit;
        if self.equal == 5 {
            // The stuff bit counts as the first of the next equal ones.
            (self.bits, self.last, self.equal) = (self.bits + 1, 1 - bit, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use socketcan::{CanDataFrame, CanFdFrame, CanRemoteFrame, ExtendedId, StandardId, id::FdFlags};

    use super::*;

    fn standard(id: u16, data: &[u8]) -> CanAnyFrame {
        CanDataFrame::new(StandardId::new(id).unwrap(), data).unwrap().into()
    }

    #[test]
    fn a_classic_frame_has_its_stuff_bits_and_no_more() {
        // 47 bits without data and stuffing. 0x555 alternates; then five zeroes of RTR, IDE, r0 and the length.
        let shortest = bits(&standard(0x555, &[])).slow;
        assert!((48..=55).contains(&shortest), "{shortest}");
        let busy = bits(&standard(0x2AA, &[0xAA; 8])).slow;
        let dull = bits(&standard(0, &[0; 8])).slow;
        assert!(busy >= 111 && dull > busy && dull <= 135, "{busy} {dull}");
    }

    #[test]
    fn the_checksum_is_that_of_a_known_frame() {
        // 123#DEAD, calculated with another program. What is followed by its own checksum has the checksum 0.
        let mut stream = Stream::default();
        for (value, count) in [(0, 1), (0x123, 11), (0, 3), (2, 4), (0xDE, 8), (0xAD, 8)] {
            stream.push(value, count);
        }
        assert_eq!(stream.crc, 0xB6E);
        stream.push(stream.crc, 15);
        assert_eq!(stream.crc, 0);
    }

    #[test]
    fn remote_frames_carry_no_data_and_error_frames_are_not_on_the_wire() {
        let id = StandardId::new(0x123).unwrap();
        let remote = CanRemoteFrame::new_remote(id, 8).unwrap().into();
        assert!(bits(&remote).slow < 60);
        let error = socketcan::CanErrorFrame::new_error(0x4, &[0; 8]).unwrap().into();
        assert_eq!(Wire { bitrate: 500_000, data_bitrate: None }.occupied_by(&error), 0);
    }

    #[test]
    fn fd_data_are_sent_at_the_data_bitrate_if_the_frame_says_so() {
        let id = ExtendedId::new(0x18FE_F100).unwrap();
        let frame = |flags| CanAnyFrame::from(CanFdFrame::with_flags(id, &[0x55; 64], flags).unwrap());
        let wire = Wire { bitrate: 500_000, data_bitrate: Some(2_000_000) };
        let (slow, fast) =
            (wire.occupied_by(&frame(FdFlags::empty())), wire.occupied_by(&frame(FdFlags::BRS)));
        assert!(fast * 2 < slow && fast > 300_000, "{fast} {slow}");
    }
}
