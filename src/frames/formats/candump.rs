//! What `candump -L` writes and `canplayer` reads: `(1436509052.249713) vcan0 123#11223344`, one frame a line.
//!
//! The interface is the sender. socketcan prints the frames. Reading is our own, because a line without an end, which a
//! killed recorder leaves, must not pass as a shorter frame, and because candump writes `_E` behind the data for DLCs
//! beyond 8, which socketcan refuses.

use std::io::{BufRead, Write as _};

use super::{
    ReadError,
    lines::Lines,
    parts::{self, ERROR},
    writer::Encode,
};
use crate::frames::{CanAnyFrame, Record, Timestamp};

#[derive(Debug)]
pub(super) struct Encoder;

impl Encode for Encoder {
    fn record(&mut self, record: &Record, out: &mut Vec<u8>) {
        let micros = record.time.0 / 1000;
        let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
        // An interface of another program's file can have blanks in its name, which would end the column here.
        let sender = record.sender.to_string().replace(char::is_whitespace, "_");
        let _ = writeln!(out, "({seconds}.{micros:06}) {sender} {:X}", record.frame);
    }
}

pub(super) struct Reader<R> {
    lines: Lines<R>,
}

impl<R: BufRead> Reader<R> {
    pub(super) fn new(file: R) -> Self {
        Self { lines: Lines::new(file) }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let record = match self.lines.next_line()? {
                Ok(line) if line.is_empty() || line.starts_with(['#', ';', '/']) => continue,
                Ok(line) => record(line),
                Err(err) => return Some(Err(err)),
            };
            return Some(record.map_err(|why| ReadError::wrong(self.lines.at(), why)));
        }
    }
}

fn record(line: &str) -> Result<Record, String> {
    let mut columns = line.split_whitespace();
    let (time, interface, text) = (columns.next(), columns.next(), columns.next());
    let time = time.and_then(|time| time.strip_prefix('(')?.strip_suffix(')')).and_then(parts::nanoseconds);
    let time = time.ok_or("does not start with a time like (1436509052.249713)")?;
    let (Some(interface), Some(text)) = (interface, text) else {
        return Err("ends before the frame; expected is (TIME) INTERFACE FRAME".into());
    };
    // `candump -x` and python-can add the direction.
    if let Some(direction) = columns.next()
        && !matches!(direction, "R" | "T" | "r" | "t")
    {
        return Err(format!("has {direction:?} behind the frame; allowed are R and T"));
    }
    let frame = frame(text).map_err(|why| format!("has the frame {text:?}: {why}"))?;
    Ok(Record { time: Timestamp(time), sender: parts::sender(interface), frame })
}

/// A frame as candump prints it (`parse_canframe` in can-utils' `lib.h` describes the notation).
fn frame(text: &str) -> Result<CanAnyFrame, String> {
    let (id, rest) = text.split_once('#').ok_or("there is no # behind the id")?;
    let is_extended = match id.len() {
        3 => false,
        8 => true,
        _ => return Err("the id has neither three nor eight digits".into()),
    };
    let id = id.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u32::from_str_radix(id, 16).ok());
    let id = id.flatten().ok_or("the id is not hexadecimal")?;
    let bytes = |data: &str| {
        parts::hex_bytes(data).ok_or_else(|| "the data are not pairs of hexadecimal digits".to_owned())
    };

    if let Some(fd) = rest.strip_prefix('#') {
        let flags = fd.chars().next().and_then(|flags| flags.to_digit(16));
        let flags = flags.ok_or("there are no flags behind ##")?;
        return parts::fd(
            id,
            is_extended,
            parts::fd_flags(flags & 1 != 0, flags & 2 != 0),
            &bytes(&fd[1..])?,
        );
    }
    // The raw DLC of a frame with 8 bytes; a socket does not show it unless asked to.
    let rest = rest.split_once('_').map_or(rest, |(rest, _)| rest);
    if id & ERROR != 0 && is_extended {
        return parts::error(id, &bytes(rest)?);
    }
    match rest.strip_prefix(['R', 'r']) {
        Some("") => parts::remote(id, is_extended, 0),
        Some(dlc) => {
            let dlc = u8::from_str_radix(dlc, 16).ok().filter(|dlc| *dlc <= 0xF);
            parts::remote(id, is_extended, dlc.ok_or("there is no length between 0 and F behind R")?)
        }
        None => parts::classic(id, is_extended, &bytes(rest)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_candump_prints_are_read() {
        for text in [
            "123#",
            "123#11",
            "00000123#1122334455667788",
            "1FFFFFFF#R",
            "123#R5",
            "123##4",
            "123##7112233445566778899AABBCC",
            "20000004#000C000000000000",
        ] {
            assert_eq!(format!("{:X}", frame(text).unwrap()), text);
        }
        assert_eq!(frame("123#1122334455667788_E"), frame("123#1122334455667788"));
        assert_eq!(frame("20000080#"), frame("20000080#0000000000000000"));
    }

    #[test]
    fn errors_name_what_is_wrong() {
        for (line, part) in [
            ("123#11", "does not start with a time"),
            ("(1.5) can0", "ends before the frame"),
            ("(1.x) can0 123#", "does not start with a time"),
            ("(1.5) can0 12#", "neither three nor eight"),
            ("(1.5) can0 800#", "beyond 7FF"),
            ("(1.5) can0 12G#", "not hexadecimal"),
            ("(1.5) can0 123#1", "pairs"),
            ("(1.5) can0 123#é", "pairs"),
            ("(1.5) can0 123##", "no flags"),
            ("(1.5) can0 123##é", "no flags"),
            ("(1.5) can0 123#112233445566778899", "more than 8"),
            ("(1.5) can0 123#RG", "no length"),
            ("(1.5) can0 123#11 X", "allowed are R and T"),
            ("(99999999999999999999.5) can0 123#11", "does not start with a time"),
        ] {
            let error = record(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
