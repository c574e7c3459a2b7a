//! What several formats are made of.

/// Flags of an id, and all bits of a standard one.
pub(super) use socketcan::id::{
    CAN_EFF_FLAG as EXTENDED, CAN_ERR_FLAG as ERROR, CAN_RTR_FLAG as REMOTE, CAN_SFF_MASK as STANDARD,
};
use socketcan::{
    CanAnyFrame, CanDataFrame, CanErrorFrame, CanFdFrame, CanRemoteFrame, EmbeddedFrame as _, ExtendedId, Id,
    StandardId, id::FdFlags,
};

use crate::frames::{Sender, Timestamp};

/// The class of an error frame of which a file only says that it was one: `CAN_ERR_BUSERROR`, as python-can has it.
pub(super) const SOME_ERROR: u32 = 0x80;

const LENGTHS: [usize; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64];

/// The length of an FD frame with this DLC, in bytes.
pub(super) fn fd_length(dlc: u8) -> usize {
    LENGTHS[usize::from(dlc & 0xF)]
}

/// The DLC of a length in bytes; of the next larger one if there is no such length.
pub(super) fn fd_dlc(length: usize) -> u8 {
    LENGTHS.iter().position(|allowed| *allowed >= length).map_or(15, |dlc| dlc as u8)
}

fn id(id: u32, is_extended: bool) -> Result<Id, String> {
    let id = match is_extended {
        true => ExtendedId::new(id).map(Id::from),
        false => u16::try_from(id).ok().and_then(StandardId::new).map(Id::from),
    };
    id.ok_or_else(|| format!("the id is beyond {}", if is_extended { "1FFFFFFF" } else { "7FF" }))
}

/// A classic frame with data; at most 8 bytes.
pub(super) fn classic(number: u32, is_extended: bool, data: &[u8]) -> Result<CanAnyFrame, String> {
    let frame = CanDataFrame::new(id(number, is_extended)?, data);
    frame.map(CanAnyFrame::Normal).ok_or_else(|| too_long(data, 8))
}

/// A remote frame. DLCs beyond 8 mean 8.
pub(super) fn remote(number: u32, is_extended: bool, dlc: u8) -> Result<CanAnyFrame, String> {
    let frame = CanRemoteFrame::new_remote(id(number, is_extended)?, usize::from(dlc.min(8)));
    frame.map(CanAnyFrame::Remote).ok_or_else(|| "this is not a remote frame".to_owned())
}

/// An FD frame; at most 64 bytes.
pub(super) fn fd(number: u32, is_extended: bool, flags: FdFlags, data: &[u8]) -> Result<CanAnyFrame, String> {
    let frame = CanFdFrame::with_flags(id(number, is_extended)?, data, flags);
    frame.map(CanAnyFrame::Fd).ok_or_else(|| too_long(data, 64))
}

/// An error frame of this class, with or without the kernel's flag; at most 8 bytes.
pub(super) fn error(class: u32, data: &[u8]) -> Result<CanAnyFrame, String> {
    CanErrorFrame::new_error(class, data).map(CanAnyFrame::Error).map_err(|_| too_long(data, 8))
}

fn too_long(data: &[u8], allowed: usize) -> String {
    format!("the frame has {} bytes, more than {allowed}", data.len())
}

/// BRS and ESI.
pub(super) fn fd_flags(brs: bool, esi: bool) -> FdFlags {
    let mut flags = FdFlags::FDF;
    flags.set(FdFlags::BRS, brs);
    flags.set(FdFlags::ESI, esi);
    flags
}

/// Numbers for senders, in the order in which they first send. The first is 1.
#[derive(Debug, Default)]
pub(super) struct Channels {
    senders: Vec<Sender>,
}

impl Channels {
    /// The number of a sender, and whether it is a new one.
    pub(super) fn of(&mut self, sender: &Sender) -> (u16, bool) {
        let known = self.senders.iter().position(|known| known == sender);
        if known.is_none() && self.senders.len() < usize::from(u16::MAX) {
            self.senders.push(sender.clone());
        }
        (u16::try_from(known.map_or(self.senders.len(), |at| at + 1)).unwrap_or(u16::MAX), known.is_none())
    }
}

/// The names of channels, as far as a file gives them.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: Vec<(u16, Sender)>,
}

impl Names {
    /// The text for other programs to skip.
    pub(super) fn text(channel: u16, sender: &Sender) -> String {
        format!("canhub channel {channel} is {sender}")
    }

    /// Takes over such a text.
    pub(super) fn learn(&mut self, text: &str) {
        let named = text.trim().strip_prefix("canhub channel ").and_then(|text| text.split_once(" is "));
        if let Some((channel, name)) = named
            && let Ok(channel) = channel.parse()
        {
            self.names.retain(|(known, _)| *known != channel);
            self.names.push((channel, sender(name)));
        }
    }

    /// The sender on a channel; its number if it has no name.
    pub(super) fn sender(&self, channel: u16) -> Sender {
        let known = self.names.iter().find(|(known, _)| *known == channel);
        known.map_or_else(|| sender(&channel.to_string()), |(_, sender)| sender.clone())
    }
}

/// A sender from its name.
pub(super) fn sender(name: &str) -> Sender {
    match name.parse() {
        Ok(sender) => sender,
        Err(never) => match never {},
    }
}

/// The zero of a file whose times are relative. Such files start at a millisecond.
pub(super) fn start_of(first: Timestamp) -> Timestamp {
    Timestamp(first.0 / 1_000_000 * 1_000_000)
}

/// A decimal number of seconds as nanoseconds; at least one digit on both sides of the point.
pub(super) fn nanoseconds(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    if !is_number(seconds) || !is_number(fraction) || fraction.len() > 9 {
        return None;
    }
    let nanos = fraction.parse::<u64>().ok()? * 10_u64.pow(9 - u32::try_from(fraction.len()).ok()?);
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(nanos)
}

/// Pairs of hexadecimal digits.
pub(super) fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let pairs = digits.chunks_exact(2).filter_map(|pair| str::from_utf8(pair).ok());
    pairs.map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}
