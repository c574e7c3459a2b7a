//! The bodies of objects: frames and texts. All numbers are little-endian.

use socketcan::{EmbeddedFrame as _, Frame as _, id::CAN_EFF_MASK};

use super::{
    super::parts::{self, EXTENDED, SOME_ERROR},
    BRS, ESI, FDF, REMOTE, kind,
};
use crate::frames::CanAnyFrame;

/// What an object says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Object {
    Frame {
        channel: u16,
        frame: CanAnyFrame,
    },
    Text(String),
    /// Something else.
    Other,
}

/// The kind and the body of an object with this frame.
pub(super) fn encode(channel: u16, frame: &CanAnyFrame) -> (u32, Vec<u8>) {
    let data = frame.data();
    let mut body = channel.to_le_bytes().to_vec();
    let id = frame.raw_id() | if frame.is_extended() { EXTENDED } else { 0 };
    match frame {
        CanAnyFrame::Normal(_) | CanAnyFrame::Remote(_) => {
            body.extend([if frame.is_remote_frame() { REMOTE } else { 0 }, frame.dlc() as u8]);
            body.extend(id.to_le_bytes());
            body.extend(data);
            body.resize(16, 0);
            (kind::CAN, body)
        }
        CanAnyFrame::Fd(fd) => {
            body.extend([0, parts::fd_dlc(data.len())]);
            body.extend(id.to_le_bytes());
            // Duration and bits of the frame are not known.
            body.extend([0; 5]);
            body.push(FDF | if fd.is_brs() { BRS } else { 0 } | if fd.is_esi() { ESI } else { 0 });
            body.extend([data.len() as u8, 0, 0, 0, 0, 0]);
            body.extend(data);
            body.resize(84, 0);
            (kind::CAN_FD, body)
        }
        CanAnyFrame::Error(error) => {
            // Length, flags, error code, position.
            body.extend([0; 8]);
            body.extend([data.len() as u8, 0]);
            body.extend([0; 4]);
            // The class is where python-can has it.
            body.extend(error.error_bits().to_le_bytes());
            body.extend([0; 4]);
            body.extend(data);
            (kind::CAN_ERROR_EXT, body)
        }
    }
}

/// The body of an object with a text, padded with blanks so that the next object is aligned.
pub(super) fn text(text: &str) -> Vec<u8> {
    let length = text.len().next_multiple_of(4);
    // Source 0: a comment on the measurement.
    let mut body = vec![0; 8];
    body.extend((length as u32).to_le_bytes());
    body.extend([0; 4]);
    body.extend(text.as_bytes());
    body.resize(16 + length, b' ');
    body
}

/// The content of an object; `Err` if its body is too short or wrong.
pub(super) fn decode(kind: u32, body: &[u8]) -> Result<Object, String> {
    let short = || format!("an object of kind {kind} is too short");
    let u8_at = |at: usize| body.get(at).copied().ok_or_else(short);
    let u16_at = |at| Ok::<_, String>(u16::from_le_bytes([u8_at(at)?, u8_at(at + 1)?]));
    let u32_at = |at| Ok::<_, String>(u32::from(u16_at(at)?) | u32::from(u16_at(at + 2)?) << 16);
    let data = |at: usize, length: usize| body.get(at..at + length).ok_or_else(short);
    let id_at = |at| u32_at(at).map(|id| (id & CAN_EFF_MASK, id & EXTENDED != 0));

    let (channel, frame) = match kind {
        kind::CAN | kind::CAN_2 => {
            let (id, is_extended) = id_at(4)?;
            let frame = match u8_at(2)? & REMOTE {
                0 => parts::classic(id, is_extended, data(8, usize::from(u8_at(3)?.min(8)))?),
                _ => parts::remote(id, is_extended, u8_at(3)?),
            };
            (u16_at(0)?, frame)
        }
        kind::CAN_FD => {
            let (flags, valid) = (u8_at(13)?, usize::from(u8_at(14)?.min(64)));
            let frame = any(Any {
                id: id_at(4)?,
                dlc: u8_at(3)?,
                is_remote: u8_at(2)? & REMOTE != 0,
                is_fd: flags & FDF != 0,
                brs: flags & BRS != 0,
                esi: flags & ESI != 0,
                data: data(20, valid)?,
            });
            (u16_at(0)?, frame)
        }
        kind::CAN_FD_64 => {
            let (flags, valid) = (u32_at(12)?, usize::from(u8_at(2)?.min(64)));
            let frame = any(Any {
                id: id_at(4)?,
                dlc: u8_at(1)?,
                is_remote: flags & 0x10 != 0,
                is_fd: flags & 0x1000 != 0,
                brs: flags & 0x2000 != 0,
                esi: flags & 0x4000 != 0,
                data: data(40, valid)?,
            });
            (u16::from(u8_at(0)?), frame)
        }
        kind::CAN_ERROR_EXT => {
            let class = match u32_at(16)? & CAN_EFF_MASK {
                0 => SOME_ERROR,
                class => class,
            };
            (u16_at(0)?, parts::error(class, data(24, usize::from(u8_at(10)?.min(8)))?))
        }
        kind::CAN_ERROR => (u16_at(0)?, parts::error(SOME_ERROR, &[])),
        kind::CAN_FD_ERROR_64 => (u16::from(u8_at(0)?), parts::error(SOME_ERROR, &[])),
        kind::APPLICATION_TEXT => {
            let length = u32_at(8)? as usize;
            let text = body.get(16..).unwrap_or_default();
            return Ok(Object::Text(
                String::from_utf8_lossy(text.get(..length).unwrap_or(text)).into_owned(),
            ));
        }
        _ => return Ok(Object::Other),
    };
    Ok(Object::Frame { channel, frame: frame? })
}

/// A frame of an object for FD, which can hold a classic one too.
struct Any<'a> {
    id: (u32, bool),
    dlc: u8,
    is_remote: bool,
    is_fd: bool,
    brs: bool,
    esi: bool,
    data: &'a [u8],
}

fn any(frame: Any<'_>) -> Result<CanAnyFrame, String> {
    let (id, is_extended) = frame.id;
    let mut data = frame.data.to_vec();
    match (frame.is_remote, frame.is_fd) {
        (true, _) => parts::remote(id, is_extended, frame.dlc),
        (false, true) => {
            // Zeros at the end may be left out.
            data.resize(parts::fd_length(frame.dlc).max(data.len()), 0);
            parts::fd(id, is_extended, parts::fd_flags(frame.brs, frame.esi), &data)
        }
        (false, false) => {
            data.truncate(8);
            parts::classic(id, is_extended, &data)
        }
    }
}
