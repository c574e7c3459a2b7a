//! Writing.

use socketcan::{EmbeddedFrame as _, Frame as _};

use super::{
    super::{parts::Channels, writer::Encode},
    BRS, BYTE_ORDER, ESI, FDF, INTERFACE, LINK_TYPE_SOCKETCAN, OPTION_END, OPTION_NAME, OPTION_PROGRAM,
    OPTION_RESOLUTION, PACKET, SECTION,
};
use crate::frames::{CanAnyFrame, Record};

#[derive(Debug, Default)]
pub(in crate::frames::formats) struct Encoder {
    interfaces: Channels,
}

impl Encode for Encoder {
    fn begin(&mut self, out: &mut Vec<u8>) {
        let mut body = BYTE_ORDER.to_le_bytes().to_vec();
        // Version 1.0; the section's length is not known.
        body.extend([1, 0, 0, 0]);
        body.extend(u64::MAX.to_le_bytes());
        option(OPTION_PROGRAM, concat!("canhub ", env!("CARGO_PKG_VERSION")).as_bytes(), &mut body);
        option(OPTION_END, &[], &mut body);
        block(SECTION, &body, out);
    }

    fn record(&mut self, record: &Record, out: &mut Vec<u8>) {
        let (interface, is_new) = self.interfaces.of(&record.sender);
        if is_new {
            let mut body = u32::from(LINK_TYPE_SOCKETCAN).to_le_bytes().to_vec();
            // No limit for the length of packets.
            body.extend(0_u32.to_le_bytes());
            option(OPTION_NAME, record.sender.to_string().as_bytes(), &mut body);
            // Times count in 10^-9 s.
            option(OPTION_RESOLUTION, &[9], &mut body);
            option(OPTION_END, &[], &mut body);
            block(INTERFACE, &body, out);
        }
        let packet = packet(&record.frame);
        let length = (packet.len() as u32).to_le_bytes();
        let mut body = u32::from(interface - 1).to_le_bytes().to_vec();
        body.extend(((record.time.0 >> 32) as u32).to_le_bytes());
        body.extend((record.time.0 as u32).to_le_bytes());
        body.extend(length);
        body.extend(length);
        body.extend(packet);
        block(PACKET, &body, out);
    }
}

fn packet(frame: &CanAnyFrame) -> Vec<u8> {
    let (length, flags) = match frame {
        CanAnyFrame::Fd(fd) => {
            (fd.data().len(), FDF | if fd.is_brs() { BRS } else { 0 } | if fd.is_esi() { ESI } else { 0 })
        }
        frame => (frame.dlc(), 0),
    };
    let mut packet = frame.id_word().to_be_bytes().to_vec();
    packet.extend([length as u8, flags, 0, 0]);
    packet.extend(frame.data());
    packet
}

fn option(code: u16, value: &[u8], out: &mut Vec<u8>) {
    out.extend(code.to_le_bytes());
    out.extend((value.len() as u16).to_le_bytes());
    out.extend(value);
    pad(out);
}

fn block(kind: u32, body: &[u8], out: &mut Vec<u8>) {
    let length = (12 + body.len().next_multiple_of(4)) as u32;
    out.extend(kind.to_le_bytes());
    out.extend(length.to_le_bytes());
    out.extend(body);
    pad(out);
    out.extend(length.to_le_bytes());
}

/// All blocks and options start at multiples of four bytes.
fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}
