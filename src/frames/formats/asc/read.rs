//! Reading. Lines about anything but frames are skipped, as there are many kinds.

use std::io::BufRead;

use super::{
    super::{
        ReadError,
        lines::Lines,
        parts::{self, Names, SOME_ERROR},
    },
    ERROR_COMMENT, date,
};
use crate::frames::{CanAnyFrame, Record, Timestamp};

pub(in crate::frames::formats) struct Reader<R> {
    lines: Lines<R>,
    state: State,
}

struct State {
    start: Timestamp,
    /// The numbers of ids, DLCs and data: 16, or 10 if the file says so.
    base: u32,
    /// Whether each time counts from the event before.
    is_relative: bool,
    /// The time of the last event, from the start.
    last: u64,
    names: Names,
    /// From a comment of canhub: the next error frame.
    error: Option<CanAnyFrame>,
}

impl<R: BufRead> Reader<R> {
    pub(in crate::frames::formats) fn new(file: R) -> Self {
        let state = State {
            start: Timestamp(0),
            base: 16,
            is_relative: false,
            last: 0,
            names: Names::default(),
            error: None,
        };
        Self { lines: Lines::new(file), state }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let record = match self.lines.next_line()? {
                Ok(line) => self.state.line(line),
                Err(err) => return Some(Err(err)),
            };
            if let Some(record) = record.transpose() {
                return Some(record.map_err(|why| ReadError::wrong(self.lines.at(), why)));
            }
        }
    }
}

impl State {
    fn line(&mut self, line: &str) -> Result<Option<Record>, String> {
        if let Some(comment) = line.strip_prefix("//") {
            self.comment(comment.trim());
            return Ok(None);
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((first, rest)) = words.split_first() else { return Ok(None) };
        let Some(time) = parts::nanoseconds(first) else {
            self.header(first, rest);
            return Ok(None);
        };
        self.last = if self.is_relative { self.last.saturating_add(time) } else { time };
        let (channel, frame) = match rest {
            ["CANFD", channel, direction, rest @ ..] if is_direction(direction) => (channel, self.fd(rest)?),
            [channel, "ErrorFrame", ..] => (channel, Some(self.error_frame()?)),
            [channel, id, direction, rest @ ..] if is_direction(direction) => {
                (channel, self.classic(id, rest)?)
            }
            _ => return Ok(None),
        };
        let (Ok(channel), Some(frame)) = (channel.parse(), frame) else { return Ok(None) };
        let time = Timestamp(self.start.0.saturating_add(self.last));
        Ok(Some(Record { time, sender: self.names.sender(channel), frame }))
    }

    fn comment(&mut self, comment: &str) {
        self.names.learn(comment);
        if let Some(error) = comment.strip_prefix(ERROR_COMMENT)
            && let Some((class, data)) = error.split_once('#')
            && let (Ok(class), Some(data)) = (u32::from_str_radix(class, 16), parts::hex_bytes(data))
        {
            self.error = parts::error(class, &data).ok();
        }
    }

    fn header(&mut self, first: &str, rest: &[&str]) {
        match (first.to_lowercase().as_str(), rest) {
            ("date", date) | ("begin", [_, date @ ..]) => {
                self.start = date::parse(&date.join(" ")).unwrap_or(self.start);
            }
            ("base", [base, rest @ ..]) => {
                self.base = if base.eq_ignore_ascii_case("dec") { 10 } else { 16 };
                self.is_relative = rest.iter().any(|word| word.eq_ignore_ascii_case("relative"));
            }
            _ => {}
        }
    }

    fn error_frame(&mut self) -> Result<CanAnyFrame, String> {
        self.error.take().map_or_else(|| parts::error(SOME_ERROR, &[]), Ok)
    }

    fn number(&self, what: &str, text: &str) -> Result<u32, String> {
        u32::from_str_radix(text, self.base)
            .map_err(|_| format!("has {text:?} as {what}, which is not a number to base {}", self.base))
    }

    fn id(&self, text: &str) -> Result<(u32, bool), String> {
        let number = text.strip_suffix(['x', 'X']);
        Ok((self.number("id", number.unwrap_or(text))?, number.is_some()))
    }

    fn data(&self, length: usize, words: &[&str]) -> Result<Vec<u8>, String> {
        if words.len() < length {
            return Err(format!("has {} of {length} bytes", words.len()));
        }
        let byte = |word: &&str| {
            u8::try_from(self.number("byte", word)?).map_err(|_| format!("has {word:?} as byte"))
        };
        words[..length].iter().map(byte).collect()
    }

    /// `d 2 01 02 …` or `r 2 …`
    fn classic(&self, id: &str, rest: &[&str]) -> Result<Option<CanAnyFrame>, String> {
        let (kind, rest) = match rest {
            // Events such as `1 Statistic: Rx …`.
            [] => return Ok(None),
            [kind, rest @ ..] => (kind.to_lowercase(), rest),
        };
        let dlc = |rest: &[&str]| rest.first().map(|dlc| self.number("DLC", dlc)).transpose();
        match kind.as_str() {
            "d" => {
                let (id, is_extended) = self.id(id)?;
                let length = dlc(rest)?.ok_or("ends before the DLC")?.min(8) as usize;
                parts::classic(id, is_extended, &self.data(length, &rest[1..])?).map(Some)
            }
            "r" => {
                let (id, is_extended) = self.id(id)?;
                // Old versions write no DLC, and others go on with `Length = …`.
                let dlc = dlc(rest).ok().flatten().unwrap_or(0).min(8) as u8;
                parts::remote(id, is_extended, dlc).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// `ID [NAME] BRS ESI DLC LENGTH DATA … DURATION LENGTH FLAGS …`, or an error frame.
    fn fd(&mut self, words: &[&str]) -> Result<Option<CanAnyFrame>, String> {
        let (id, mut rest) = match words {
            ["ErrorFrame", ..] => return self.error_frame().map(Some),
            [id, rest @ ..] => (self.id(id)?, rest),
            [] => return Err("ends before the id".into()),
        };
        if let [name, after @ ..] = rest
            && !matches!(*name, "0" | "1")
        {
            rest = after;
        }
        let [brs, esi, dlc, length, rest @ ..] = rest else { return Err("ends before the data".into()) };
        let dlc = self.number("DLC", dlc)?.min(15) as u8;
        let length = length.parse().ok().filter(|length| *length <= 64);
        let length: usize = length.ok_or("has no length between 0 and 64")?;
        let data = self.data(length, rest)?;
        let flags = rest.get(length + 2).and_then(|flags| u32::from_str_radix(flags, 16).ok());
        let is_fd = flags.is_none_or(|flags| flags & 1 << 12 != 0);
        let frame = match (length, dlc) {
            (0, 1..) => parts::remote(id.0, id.1, dlc),
            _ if is_fd || length > 8 => {
                parts::fd(id.0, id.1, parts::fd_flags(*brs == "1", *esi == "1"), &data)
            }
            _ => parts::classic(id.0, id.1, &data),
        };
        frame.map(Some)
    }
}

fn is_direction(word: &str) -> bool {
    word.eq_ignore_ascii_case("Rx") || word.eq_ignore_ascii_case("Tx")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        let records = Reader::new(text.as_bytes()).map(|record| match record {
            Ok(record) => format!(
                "{}.{:09} {} {:X}",
                record.time.0 / 1_000_000_000,
                record.time.0 % 1_000_000_000,
                record.sender,
                record.frame
            ),
            Err(err) => err.to_string(),
        });
        records.collect()
    }

    #[test]
    fn a_file_of_canoe_is_read() {
        let text = "date Sam Sep 30 15:06:13.191 2017\nbase dec timestamps relative\ninternal events logged\n\
            // version 9.0.0\nBegin Triggerblock Sam Sep 30 15:06:13.191 2017\n   0.000000 Start of measurement\n\
            0.015991 CAN 1 Status:chip status error passive - TxErr: 132 RxErr: 0\n\
            0.000009 1  291             Rx   d 2 255 0  Length = 10 BitCount = 67 ID = 291\n\
            1.000000 2  291x            TxRq d 1 0\n\
            1.000000 2  291x            Tx   r\n\
            0.000000 1  Statistic: D 0 R 0 XD 0 XR 0 E 0 O 0 B 0.00%\n\
            0.000000 CANFD   2 Rx         18                                  Engine 1 0 9 12 1 2 3 4 5 6 7 8 9 10 11 12  130000  130   3000 0 0 0 0 0\n\
            0.500000 1 ErrorFrame\nEnd TriggerBlock\n";
        assert_eq!(
            read(text),
            [
                "1506783973.207000000 1 123#FF00",
                "1506783975.207000000 2 00000123#R",
                "1506783975.207000000 2 012##50102030405060708090A0B0C",
                "1506783975.707000000 1 20000080#0000000000000000",
            ]
        );
    }

    #[test]
    fn errors_name_the_line() {
        for (line, part) in [
            ("0.1 1 12G Rx d 1 00", "line 2: has \"12G\" as id"),
            ("0.1 1 123 Rx d 2 00", "line 2: has 1 of 2 bytes"),
            ("0.1 1 800 Rx d 1 00", "line 2: the id is beyond 7FF"),
            ("0.1 CANFD 1 Rx 123 1 0 9 12 00", "line 2: has 1 of 12 bytes"),
            ("0.1 CANFD 1 Rx 123 1 0 9 65 00", "line 2: has no length"),
            ("0.1 CANFD 1 Rx", "line 2: ends before the id"),
            ("0.1 1 123 Rx d 1 100", "line 2: has \"100\" as byte"),
        ] {
            assert!(
                read(&format!("\n{line}\n"))[0].starts_with(part),
                "{line}: {:?}",
                read(&format!("\n{line}\n"))
            );
        }
    }
}
