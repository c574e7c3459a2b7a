//! Reading. Packets of other link types, and blocks about anything but packets, are skipped.

use std::io::Read;

use super::{
    super::{
        At, ReadError,
        parts::{self, ERROR, EXTENDED, REMOTE, STANDARD},
    },
    BRS, BYTE_ORDER, ESI, FD_PACKET, FDF, HEADER, INTERFACE, LINK_TYPE_SOCKETCAN, OPTION_END, OPTION_NAME,
    OPTION_OFFSET, OPTION_RESOLUTION, PACKET, SECTION,
};
use crate::frames::{CanAnyFrame, Record, Sender, Timestamp};

/// Blocks of CAN captures have some hundred bytes; other blocks, such as TLS secrets, a few kilobytes.
const BLOCK_MAX: u32 = 1 << 24;

pub(in crate::frames::formats) struct Reader<R> {
    file: R,
    at: u64,
    is_big_endian: bool,
    /// Those of the section.
    interfaces: Vec<Interface>,
    body: Vec<u8>,
}

struct Interface {
    is_can: bool,
    sender: Sender,
    /// Units of time in a second.
    per_second: u64,
    /// Seconds to be added.
    offset: i64,
}

impl<R: Read> Reader<R> {
    pub(in crate::frames::formats) fn new(file: R) -> Self {
        Self { file, at: 0, is_big_endian: false, interfaces: Vec::new(), body: Vec::new() }
    }

    fn u16(&self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes = bytes.get(at..at + 2)?.try_into().ok()?;
        Some(if self.is_big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn u32(&self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    /// Reads the next block into `body` and returns its kind.
    fn block(&mut self) -> Option<Result<u32, ReadError>> {
        let at = At::Byte(self.at);
        let mut head = [0; 12];
        match self.file.read(&mut head[..1]) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(err) => return Some(Err(ReadError::io(at, err))),
        }
        Some(self.rest_of_block(at, head))
    }

    fn rest_of_block(&mut self, at: At, mut head: [u8; 12]) -> Result<u32, ReadError> {
        self.file.read_exact(&mut head[1..]).map_err(|err| ReadError::io(at, err))?;
        let is_section = self.u32(&head, 0) == Some(SECTION);
        match (is_section, u32::from_le_bytes([head[8], head[9], head[10], head[11]])) {
            (true, BYTE_ORDER) => self.is_big_endian = false,
            (true, order) if order.swap_bytes() == BYTE_ORDER => self.is_big_endian = true,
            (true, _) => return Err(ReadError::wrong(at, "the section has no byte order")),
            (false, _) if self.at == 0 => return Err(ReadError::wrong(at, "this is not a pcapng file")),
            (false, _) => {}
        }
        let (kind, length) = (self.u32(&head, 0).unwrap_or(0), self.u32(&head, 4).unwrap_or(0));
        if length < 12 || length % 4 != 0 || length > BLOCK_MAX {
            return Err(ReadError::wrong(at, format!("a block cannot have {length} bytes")));
        }
        // The first four bytes of the body, or the second length, have been read.
        self.body.clear();
        self.body.extend(&head[8..]);
        self.body.resize(length as usize - 8, 0);
        self.file.read_exact(&mut self.body[4..]).map_err(|err| ReadError::io(at, err))?;
        if self.u32(&self.body, length as usize - 12) != Some(length) {
            return Err(ReadError::wrong(at, "the block has two different lengths"));
        }
        self.body.truncate(length as usize - 12);
        self.at += u64::from(length);
        Ok(kind)
    }

    fn interface(&self) -> Option<Interface> {
        let number = self.interfaces.len();
        let mut interface = Interface {
            is_can: self.u16(&self.body, 0)? == LINK_TYPE_SOCKETCAN,
            sender: parts::sender(&number.to_string()),
            per_second: 1_000_000,
            offset: 0,
        };
        let mut options = self.body.get(8..).unwrap_or_default();
        while let (Some(code @ 1..), Some(length)) = (self.u16(options, 0), self.u16(options, 2)) {
            debug_assert_ne!(code, OPTION_END);
            let value = options.get(4..4 + usize::from(length))?;
            match (code, value) {
                (OPTION_NAME, name) => {
                    let name = String::from_utf8_lossy(name);
                    interface.sender = parts::sender(name.trim_end_matches('\0'));
                }
                (OPTION_RESOLUTION, [resolution, ..]) => interface.per_second = per_second(*resolution)?,
                (OPTION_OFFSET, value) => {
                    let value = value.get(..8)?.try_into().ok()?;
                    interface.offset = if self.is_big_endian {
                        i64::from_be_bytes(value)
                    } else {
                        i64::from_le_bytes(value)
                    };
                }
                _ => {}
            }
            options = options.get(4 + usize::from(length).next_multiple_of(4)..).unwrap_or_default();
        }
        Some(interface)
    }

    /// `None` if the packet is no CAN frame.
    fn packet(&self) -> Result<Option<Record>, String> {
        let short = "the packet is too short";
        let number = self.u32(&self.body, 0).ok_or(short)? as usize;
        let interface =
            self.interfaces.get(number).ok_or("the packet is of an interface that is not described")?;
        if !interface.is_can {
            return Ok(None);
        }
        let (high, low) = (self.u32(&self.body, 4).ok_or(short)?, self.u32(&self.body, 8).ok_or(short)?);
        let length = self.u32(&self.body, 12).ok_or(short)? as usize;
        let packet = self.body.get(20..).and_then(|rest| rest.get(..length)).ok_or(short)?;
        let time = interface.time(u64::from(high) << 32 | u64::from(low));
        let Some(frame) = frame(packet)? else { return Ok(None) };
        Ok(Some(Record { time, sender: interface.sender.clone(), frame }))
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let at = At::Byte(self.at);
            let record = match self.block()? {
                Ok(SECTION) => {
                    self.interfaces.clear();
                    continue;
                }
                Ok(INTERFACE) => match self.interface() {
                    Some(interface) => {
                        self.interfaces.push(interface);
                        continue;
                    }
                    None => Err("the description of an interface is broken".to_owned()),
                },
                Ok(PACKET) => self.packet(),
                Ok(_) => continue,
                Err(err) => return Some(Err(err)),
            };
            if let Some(record) = record.transpose() {
                return Some(record.map_err(|why| ReadError::wrong(at, why)));
            }
        }
    }
}

impl Interface {
    fn time(&self, count: u64) -> Timestamp {
        let nanos = u128::from(count) * 1_000_000_000 / u128::from(self.per_second);
        let offset = i128::from(self.offset) * 1_000_000_000;
        let nanos = i128::try_from(nanos).unwrap_or(i128::MAX).saturating_add(offset).max(0);
        Timestamp(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// The highest bit tells a power of two from one of ten.
fn per_second(resolution: u8) -> Option<u64> {
    let power = u32::from(resolution & 0x7F);
    if resolution & 0x80 == 0 { 10_u64.checked_pow(power) } else { 2_u64.checked_pow(power) }
}

fn frame(packet: &[u8]) -> Result<Option<CanAnyFrame>, String> {
    let Some((head, rest)) = packet.split_at_checked(HEADER) else {
        return Err(format!("the packet has {} bytes and no CAN id", packet.len()));
    };
    let [a, b, c, d, length, flags, ..] = *head else { return Ok(None) };
    // CAN XL has a bit here, where the others have their length.
    if length & 0x80 != 0 {
        return Ok(None);
    }
    let id = u32::from_be_bytes([a, b, c, d]);
    let is_extended = id & EXTENDED != 0;
    // A program can send a standard id with more bits on a virtual bus; like the kernel's filters, nobody looks at them.
    let bits = if is_extended || id & ERROR != 0 { !(EXTENDED | REMOTE | ERROR) } else { STANDARD };
    let number = id & bits;
    let data = || rest.get(..usize::from(length)).ok_or("the packet is shorter than its frame".to_owned());
    let frame = if id & ERROR != 0 {
        parts::error(number, rest.get(..usize::from(length).min(8)).unwrap_or(rest))
    } else if id & REMOTE != 0 {
        parts::remote(number, is_extended, length)
    } else if flags & FDF != 0 || packet.len() == FD_PACKET {
        parts::fd(number, is_extended, parts::fd_flags(flags & BRS != 0, flags & ESI != 0), data()?)
    } else {
        parts::classic(number, is_extended, data()?)
    };
    frame.map(Some)
}
