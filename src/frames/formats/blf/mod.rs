//! Vector's binary format (CANoe, CANalyzer, python-can).
//!
//! Vector publishes no description. The layouts are those that the readers and writers in the open agree on: python-can
//! (`can/io/blf.py`) and Toby Lorenz' Vector_BLF. A file is a header and containers; a container is a packed sequence of
//! objects. canhub gives the channels their names in objects with application texts.

mod objects;
mod read;
mod write;

pub(super) use read::Reader;
pub(super) use write::Encoder;

use crate::{clock, frames::Timestamp};

const FILE_SIGNATURE: &[u8; 4] = b"LOGG";
const OBJECT_SIGNATURE: &[u8; 4] = b"LOBJ";

/// Signature, header length, versions, sizes, counts, first and last time, and 72 unused bytes.
const FILE_HEADER: usize = 144;
/// Where the header has the time of the start.
const START: usize = 40;
/// What a header has at least.
const FILE_HEADER_MIN: usize = 72;

/// Signature, header length u16, header version u16, object length u32, kind u32.
const BASE_HEADER: usize = 16;
/// The base header, time unit u32, index u16, version u16, time u64.
const OBJECT_HEADER: usize = 32;
/// Behind a container's base header: method u16, 6 bytes, unpacked length u32, 4 bytes.
const CONTAINER_HEADER: usize = 16;

const STORED: u16 = 0;
const ZLIB: u16 = 2;

const UNIT_10_MICROSECONDS: u32 = 1;
const UNIT_NANOSECOND: u32 = 2;

/// Kinds of objects.
mod kind {
    pub(super) const CAN: u32 = 1;
    pub(super) const CAN_ERROR: u32 = 2;
    pub(super) const CONTAINER: u32 = 10;
    pub(super) const APPLICATION_TEXT: u32 = 65;
    pub(super) const CAN_ERROR_EXT: u32 = 73;
    pub(super) const CAN_2: u32 = 86;
    pub(super) const CAN_FD: u32 = 100;
    pub(super) const CAN_FD_64: u32 = 101;
    pub(super) const CAN_FD_ERROR_64: u32 = 104;
}

/// Flag of classic frames, and of FD objects that hold a classic one.
const REMOTE: u8 = 0x80;
/// Flags of FD objects.
const FDF: u8 = 1;
const BRS: u8 = 2;
const ESI: u8 = 4;

/// Windows' `SYSTEMTIME`, UTC: year, month, weekday, day, hour, minute, second, millisecond.
fn print_time(time: Timestamp) -> [u8; 16] {
    let millis = time.0 / 1_000_000;
    let (days, second) = (millis / 86_400_000, millis / 1000 % 86_400);
    let (year, month, day) = clock::date(days);
    // 1970-01-01 was a Thursday.
    let fields =
        [year, month, (days + 4) % 7, day, second / 3600, second / 60 % 60, second % 60, millis % 1000];
    let mut bytes = [0; 16];
    for (bytes, field) in bytes.chunks_exact_mut(2).zip(fields) {
        bytes.copy_from_slice(&(field as u16).to_le_bytes());
    }
    bytes
}

/// Zero if it is no date, as in a file without one.
fn parse_time(bytes: &[u8]) -> Timestamp {
    let mut fields = bytes.chunks_exact(2).map(|bytes| u64::from(u16::from_le_bytes([bytes[0], bytes[1]])));
    let mut next = || fields.next().unwrap_or(0);
    let (year, month, _, day) = (next(), next(), next(), next());
    let (hour, minute, second, millis) = (next(), next(), next(), next());
    let days = clock::days(year, month, day).unwrap_or(0);
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    Timestamp((seconds * 1000 + millis).saturating_mul(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_parsed_as_they_are_printed() {
        let time = Timestamp(1_795_774_470_123_000_000);
        let fields: Vec<_> = print_time(time).chunks(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
        assert_eq!(fields, [2026, 11, 5, 27, 10, 14, 30, 123]);
        assert_eq!(parse_time(&print_time(time)), time);
        assert_eq!(parse_time(&[0; 16]), Timestamp(0));
        parse_time(&[0xFF; 16]);
    }
}
