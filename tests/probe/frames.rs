//! Numbered frames: each contains its sender and its number, whatever its kind. Those with data can also contain the time
//! at which they were sent.

use nix::libc;
use socketcan::{
    CanAnyFrame, CanErrorFrame, CanFdFrame, CanFilter, CanFrame, EmbeddedFrame, ExtendedId, Frame,
    StandardId, id::FdFlags,
};

use crate::report::Kind;

/// Marks a frame of the probe.
const MARK: u8 = 0xCA;
/// Marks one with a time: 3 bytes of sequence number, 4 bytes of time.
const STAMPED: u8 = 0xCB;
/// Its sequence numbers.
const STAMPED_SEQUENCE: u32 = (1 << 24) - 1;
const STANDARD: u16 = 0x400;
const EXTENDED: u32 = 0x18CA_0000;
/// A remote frame has no data: bit 28, 8 bits of sender, 20 bits of sequence number.
const REMOTE: u32 = 1 << 28;
const REMOTE_SEQUENCE: u32 = (1 << 20) - 1;
/// `CAN_ERR_CRTL`: controller problems.
const ERROR_CLASS: u32 = 0x4;

/// What distinguishes a classic frame of the probe from others.
const CLASSIC_MASK: u32 = libc::CAN_SFF_MASK | libc::CAN_EFF_FLAG | libc::CAN_RTR_FLAG;

/// A frame of the probe's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbered {
    /// The sender's number.
    pub from: u8,
    /// The kind of frame.
    pub kind: Kind,
    /// The sequence number.
    pub sequence: u32,
    /// Whether its content is unmodified.
    pub intact: bool,
    /// When it was sent, if it says so.
    pub stamp: Option<Stamp>,
}

/// A time in units of 10 µs, which starts again after 11.9 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(pub u32);

impl Stamp {
    /// Microseconds from this time to the other; 0 if the other is the earlier one.
    pub fn until(self, other: Self) -> u64 {
        let ahead = other.0.wrapping_sub(self.0);
        if ahead > u32::MAX / 2 { 0 } else { u64::from(ahead) * 10 }
    }
}

/// The frame to send, with the time if there is one and room for it.
pub fn stamped(from: u8, kind: Kind, sequence: u32, stamp: Option<Stamp>) -> Option<CanAnyFrame> {
    let (Some(Stamp(time)), Kind::Classic | Kind::Extended | Kind::Fd) = (stamp, kind) else {
        return frame(from, kind, sequence);
    };
    let [_, a, b, c] = (sequence & STAMPED_SEQUENCE).to_be_bytes();
    let [d, e, f, g] = time.to_be_bytes();
    let head = [STAMPED, a, b, c, d, e, f, g];
    let standard = StandardId::new(STANDARD | u16::from(from))?;
    let extended = ExtendedId::new(EXTENDED | u32::from(from))?;
    Some(match kind {
        Kind::Classic => CanFrame::new(standard, &head)?.into(),
        Kind::Fd => CanFdFrame::with_flags(extended, &filled::<64>(head), flags(sequence))?.into(),
        _ => CanFrame::new(extended, &head)?.into(),
    })
}

/// The frame to send.
pub fn frame(from: u8, kind: Kind, sequence: u32) -> Option<CanAnyFrame> {
    let standard = StandardId::new(STANDARD | u16::from(from))?;
    let extended = ExtendedId::new(EXTENDED | u32::from(from))?;
    Some(match kind {
        Kind::Classic => CanFrame::new(standard, &payload::<8>(from, sequence))?.into(),
        Kind::Extended => CanFrame::new(extended, &payload::<8>(from, sequence))?.into(),
        Kind::Fd => CanFdFrame::with_flags(extended, &payload::<64>(from, sequence), flags(sequence))?.into(),
        Kind::Error => {
            CanAnyFrame::Error(CanErrorFrame::new_error(ERROR_CLASS, &payload::<8>(from, sequence)).ok()?)
        }
        Kind::Remote => {
            let id = REMOTE | u32::from(from) << 20 | (sequence & REMOTE_SEQUENCE);
            CanFrame::new_remote(ExtendedId::new(id)?, remote_length(sequence))?.into()
        }
    })
}

/// Parses a frame; `None` if it is not from a probe.
pub fn read(frame: &CanAnyFrame) -> Option<Numbered> {
    let id = frame.raw_id();
    let kind = match frame {
        CanAnyFrame::Normal(_) if frame.is_extended() => Kind::Extended,
        CanAnyFrame::Normal(_) => Kind::Classic,
        CanAnyFrame::Fd(_) => Kind::Fd,
        CanAnyFrame::Remote(_) if id & REMOTE != 0 => {
            let sequence = id & REMOTE_SEQUENCE;
            let intact = frame.dlc() == remote_length(sequence);
            return Some(Numbered {
                from: (id >> 20) as u8,
                kind: Kind::Remote,
                sequence,
                intact,
                stamp: None,
            });
        }
        CanAnyFrame::Error(_) => Kind::Error,
        CanAnyFrame::Remote(_) => return None,
    };
    let data = frame.data();
    if let &[STAMPED, a, b, c, d, e, f, g, ..] = data {
        let sequence = u32::from_be_bytes([0, a, b, c]);
        let intact = match frame {
            CanAnyFrame::Fd(_) => {
                data == filled::<64>([STAMPED, a, b, c, d, e, f, g]) && has_its_flags(frame, sequence)
            }
            _ => data.len() == 8,
        };
        let stamp = Some(Stamp(u32::from_be_bytes([d, e, f, g])));
        return Some(Numbered { from: id as u8, kind, sequence, intact, stamp });
    }
    let &[MARK, from, a, b, c, d, ..] = data else { return None };
    let sequence = u32::from_be_bytes([a, b, c, d]);
    if let CanAnyFrame::Error(error) = frame {
        let intact = error.error_bits() == ERROR_CLASS && data == payload::<8>(from, sequence);
        return Some(Numbered { from, kind, sequence, intact, stamp: None });
    }
    let (base, content) = match kind {
        Kind::Classic => (u32::from(STANDARD), data == payload::<8>(from, sequence)),
        Kind::Fd => (EXTENDED, data == payload::<64>(from, sequence) && has_its_flags(frame, sequence)),
        Kind::Extended | Kind::Remote | Kind::Error => (EXTENDED, data == payload::<8>(from, sequence)),
    };
    let intact = content && id == base | u32::from(from);
    Some(Numbered { from, kind, sequence, intact, stamp: None })
}

/// Lets everything pass except one sender's classic frames.
pub fn all_but_classic_from(from: u8) -> CanFilter {
    CanFilter::new_inverted(u32::from(STANDARD | u16::from(from)), CLASSIC_MASK)
}

/// Lets only one sender's classic frames pass.
pub fn only_classic_from(from: u8) -> CanFilter {
    CanFilter::new(u32::from(STANDARD | u16::from(from)), CLASSIC_MASK)
}

/// Bit rate switching, and in every other frame that its sender is error passive.
fn flags(sequence: u32) -> FdFlags {
    if sequence.is_multiple_of(2) { FdFlags::BRS } else { FdFlags::BRS | FdFlags::ESI }
}

fn has_its_flags(frame: &CanAnyFrame, sequence: u32) -> bool {
    matches!(frame, CanAnyFrame::Fd(fd) if (fd.is_brs(), fd.is_esi()) == (true, !sequence.is_multiple_of(2)))
}

fn filled<const SIZE: usize>(head: [u8; 8]) -> [u8; SIZE] {
    std::array::from_fn(|at| head.get(at).copied().unwrap_or(head[3].wrapping_mul(31).wrapping_add(at as u8)))
}

fn payload<const SIZE: usize>(from: u8, sequence: u32) -> [u8; SIZE] {
    let [a, b, c, d] = sequence.to_be_bytes();
    let head = [MARK, from, a, b, c, d];
    std::array::from_fn(|at| head.get(at).copied().unwrap_or(d.wrapping_mul(31).wrapping_add(at as u8)))
}

/// Remote frames request 0 to 8 bytes; that number must arrive too.
fn remote_length(sequence: u32) -> usize {
    (sequence % 9) as usize
}
