//! What a frame is made of, for formats that write it byte by byte.
//!
//! The frame type is canhub's. Its constructors forget the DLC of classic frames beyond 8, and its ids have no flag bits, so
//! the kernel's structures are read and built here.

use canhub::frames::CanAnyFrame;
use socketcan::{
    Frame as _,
    frame::{can_frame_default, canfd_frame_default},
    id::{CAN_EFF_MASK, CAN_SFF_MASK, FdFlags, IdFlags},
};

/// `CAN_EFF_FLAG`: the id has 29 bits.
pub const EXTENDED: u32 = IdFlags::EFF.bits();
/// `CAN_RTR_FLAG`: a remote frame.
pub const REMOTE: u32 = IdFlags::RTR.bits();
/// `CAN_ERR_FLAG`: the report of a controller. No frame of a wire.
pub const ERROR: u32 = IdFlags::ERR.bits();

/// The flags of FD frames that mean something: BRS, ESI and FDF. The kernel passes others on, too.
pub const FD_FLAGS: u8 = FdFlags::all().bits();
/// The flag that tells an FD frame from a classic one.
pub const FDF: u8 = FdFlags::FDF.bits();
/// Bytes of a classic frame.
pub const CLASSIC_MAX: usize = 8;
/// Bytes of an FD frame.
pub const FD_MAX: usize = 64;

/// Why a frame cannot be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It reports the state of this host's controller.
    #[error("an error frame is about the wire of one host and is not passed on to others")]
    Error,
    /// Programs can write such frames to an interface without a wire.
    #[error("an FD frame cannot be a remote frame")]
    RemoteFd,
}

/// A frame, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Parts<'a> {
    /// With [`EXTENDED`] and [`REMOTE`].
    pub id: u32,
    /// Of an FD frame [`FDF`], and BRS and ESI as they were; of a classic one 0.
    pub flags: u8,
    /// In bytes; of a remote frame the length that it asks for.
    pub length: u8,
    /// 9 to 15 if a classic frame of 8 bytes had this DLC, else 0.
    pub len8_dlc: u8,
    /// None in a remote frame.
    pub data: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Takes a frame apart. Bits without a meaning are left out: those of an id beyond its length, and unknown FD flags.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn of(frame: &'a CanAnyFrame) -> Result<Self, Unfit> {
        let word = frame.id_word();
        let id = match word & EXTENDED {
            0 => word & (REMOTE | CAN_SFF_MASK),
            _ => word & (EXTENDED | REMOTE | CAN_EFF_MASK),
        };
        let (raw, data) = match frame {
            CanAnyFrame::Fd(_) if word & REMOTE != 0 => return Err(Unfit::RemoteFd),
            _ if word & ERROR != 0 => return Err(Unfit::Error),
            CanAnyFrame::Error(_) => return Err(Unfit::Error),
            CanAnyFrame::Fd(frame) => {
                let raw = frame.as_ref();
                let data = raw.data.get(..usize::from(raw.len)).unwrap_or(&raw.data);
                return Ok(Self {
                    id,
                    flags: raw.flags & FD_FLAGS | FDF,
                    length: data.len() as u8,
                    len8_dlc: 0,
                    data,
                });
            }
            CanAnyFrame::Normal(frame) => {
                let raw = frame.as_ref();
                (raw, raw.data.get(..usize::from(raw.can_dlc)).unwrap_or(&raw.data))
            }
            CanAnyFrame::Remote(frame) => (frame.as_ref(), &[][..]),
        };
        let length = raw.can_dlc.min(CLASSIC_MAX as u8);
        Ok(Self {
            id,
            flags: 0,
            length,
            len8_dlc: if is_dlc(length, raw.len8_dlc) { raw.len8_dlc } else { 0 },
            data,
        })
    }

    /// Whether it is an FD frame.
    pub fn is_fd(&self) -> bool {
        self.flags & FDF != 0
    }

    /// Puts a frame together. Whoever read the parts has checked them: data beyond the longest frame are cut off.
    pub fn frame(&self) -> CanAnyFrame {
        if self.is_fd() {
            let mut raw = canfd_frame_default();
            raw.can_id = self.id;
            raw.flags = self.flags;
            raw.len = copy(&mut raw.data, self.data);
            return raw.into();
        }
        let mut raw = can_frame_default();
        raw.can_id = self.id;
        raw.can_dlc = copy(&mut raw.data, self.data);
        if self.id & REMOTE != 0 {
            raw.can_dlc = self.length;
        }
        raw.len8_dlc = self.len8_dlc;
        raw.into()
    }
}

/// Copies what fits. Returns how many bytes.
fn copy(to: &mut [u8], from: &[u8]) -> u8 {
    let length = from.len().min(to.len());
    if let (Some(to), Some(from)) = (to.get_mut(..length), from.get(..length)) {
        to.copy_from_slice(from);
    }
    length as u8
}

/// Whether an id has no bits but those that its length and kind allow.
pub fn is_id(id: u32) -> bool {
    let bits = if id & EXTENDED == 0 { CAN_SFF_MASK } else { CAN_EFF_MASK };
    id & !(EXTENDED | REMOTE | bits) == 0
}

/// Whether this is the length of an FD frame, in bytes.
pub fn is_fd_length(length: u8) -> bool {
    socketcan::CanFdFrame::is_valid_data_len(usize::from(length))
}

/// Whether a classic frame of this length can have this `len8_dlc`.
pub fn is_dlc(length: u8, len8_dlc: u8) -> bool {
    len8_dlc == 0 || (usize::from(length) == CLASSIC_MAX && (9..=15).contains(&len8_dlc))
}

/// Frames for the tests of this crate.
#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> impl Strategy<Value = u32> {
        prop_oneof![0..=CAN_SFF_MASK, (0..=CAN_EFF_MASK).prop_map(|id| id | EXTENDED)]
    }

    /// Any frame that can be passed on.
    pub(crate) fn any_frame() -> impl Strategy<Value = CanAnyFrame> {
        let classic =
            (id(), prop::collection::vec(any::<u8>(), 0..=8), 0..=15_u8).prop_map(|(id, data, dlc)| {
                let length = data.len() as u8;
                let len8_dlc = if is_dlc(length, dlc) { dlc } else { 0 };
                Parts { id, flags: 0, length, len8_dlc, data: &data }.frame()
            });
        let remote = (id(), 0..=8_u8).prop_map(|(id, length)| {
            Parts { id: id | REMOTE, flags: 0, length, len8_dlc: 0, data: &[] }.frame()
        });
        let length = prop::sample::select(vec![0_usize, 1, 7, 8, 12, 16, 20, 24, 32, 48, 64]);
        let fd = (id(), length, any::<[u8; 32]>(), 0..4_u8).prop_map(|(id, length, data, flags)| {
            let data: Vec<u8> = data.iter().cycle().take(length).copied().collect();
            Parts { id, flags: FDF | flags, length: length as u8, len8_dlc: 0, data: &data }.frame()
        });
        prop_oneof![4 => classic, 1 => remote, 3 => fd]
    }

    proptest! {
        #[test]
        fn a_frame_is_the_same_after_it_was_taken_apart(frame in any_frame()) {
            let parts = Parts::of(&frame).unwrap();
            prop_assert_eq!(parts.frame(), frame);
            prop_assert!(is_id(parts.id));
        }
    }

    #[test]
    fn error_frames_and_remote_fd_frames_stay_here() {
        let error = socketcan::CanErrorFrame::new_error(4, &[0; 8]).unwrap().into();
        assert_eq!(Parts::of(&error), Err(Unfit::Error));
        let mut raw = canfd_frame_default();
        raw.can_id = REMOTE | 1;
        assert_eq!(Parts::of(&raw.into()), Err(Unfit::RemoteFd));
        raw.can_id = ERROR | 1;
        assert_eq!(Parts::of(&raw.into()), Err(Unfit::Error));
    }

    #[test]
    fn bits_without_a_meaning_are_left_out() {
        let mut raw = can_frame_default();
        (raw.can_id, raw.can_dlc, raw.len8_dlc) = (0x1234_5123, 3, 11);
        let frame = raw.into();
        let parts = Parts::of(&frame).unwrap();
        assert_eq!((parts.id, parts.length, parts.len8_dlc), (0x123, 3, 0));
        let mut raw = canfd_frame_default();
        (raw.can_id, raw.flags) = (EXTENDED | 1, 0xF9);
        assert_eq!(Parts::of(&raw.into()).unwrap().flags, FDF | 1);
    }
}
