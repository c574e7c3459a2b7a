//! `canhub watch` in a pipe: a line for each frame.

use serde::{Serialize, Serializer, ser::SerializeMap};
use socketcan::{EmbeddedFrame as _, Frame as _};

use super::{super::lines::try_print, source::Source, words};
use crate::{
    clock::rfc3339_in,
    frames::{
        CanAnyFrame, Lost, Record,
        dbc::{Database, Message, Value},
    },
};

/// Senders' names are padded to this width.
const SENDER: usize = 12;
/// The data of 8 bytes, so that signals are aligned.
const DATA: usize = 23;

/// Prints each frame until the reader of the pipe has enough, or the source ends.
pub(super) fn run(mut source: impl Source, database: &Database, json: bool) -> Result<(), String> {
    let mut records = Vec::new();
    let mut told = Lost::default();
    loop {
        let lost = source.read(&mut records)?;
        let mut text = String::new();
        for record in records.drain(..) {
            text += &match json {
                true => as_json(&record, database.message(&record.frame)),
                false => as_line(&record, database.message(&record.frame)),
            };
            text.push('\n');
        }
        if lost.at_most > told.at_most {
            told = lost;
            text += &match json {
                true => format!("{{\"lost\":{},\"lost_at_least\":{}}}\n", lost.at_most, lost.at_least),
                false => format!("{} so far, because canhub did not read fast enough\n", words::lost(lost)),
            };
        }
        if !text.is_empty() && !try_print(&text)? {
            return Ok(());
        }
    }
}

/// `2026-11-27T10:14:26.123456Z  door  1A0  [2]  12 34  Motion: Speed=46.60 km/h`
fn as_line(record: &Record, message: Option<&Message>) -> String {
    let Record { time, sender, frame } = record;
    let data = match frame {
        CanAnyFrame::Error(error) => error.into_error().to_string(),
        frame => words::hex(frame.data()),
    };
    let (id, length) = (words::id(frame), format!("[{}]", words::length(frame)));
    let line = format!("{}  {sender:SENDER$}  {id:>8}  {length:<5}  {data}", rfc3339_in((*time).into(), 6));
    let Some(message) = message else { return line };
    let readings: Vec<String> =
        message.decode(frame.data()).map(|reading| words::reading(&reading)).collect();
    let pad = DATA.saturating_sub(data.chars().count());
    let line = format!("{line}{:pad$}  {}: {}", "", message.name, readings.join(" "));
    line.trim_end().trim_end_matches(':').to_owned()
}

/// What the line says, for programs.
#[derive(Serialize)]
struct Line<'a> {
    /// RFC 3339, UTC, with nanoseconds.
    time: String,
    sender: String,
    /// Three hexadecimal digits are a standard id, eight an extended one.
    id: String,
    /// `data`, `fd`, `remote` or `error`.
    kind: &'static str,
    /// In bytes; of a remote frame, that of the data it asks for.
    length: usize,
    /// Hexadecimal digits.
    data: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    brs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    esi: Option<bool>,
    /// The message's name, if a DBC file describes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signals: Option<Signals<'a>>,
}

/// An object with a member for each signal, in the order of the DBC file.
struct Signals<'a> {
    message: &'a Message,
    data: &'a [u8],
}

#[derive(Serialize)]
struct SignalValue<'a> {
    /// `null` for an IEEE signal that is infinite or not a number.
    value: Number,
    #[serde(skip_serializing_if = "str::is_empty")]
    unit: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
}

struct Number(Value);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Whole(value) => serializer.serialize_i128(value),
            Value::Float(value) => serializer.serialize_f64(value),
        }
    }
}

impl Serialize for Signals<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for reading in self.message.decode(self.data) {
            let signal = reading.signal;
            let value = Number(signal.rounded(reading.value));
            map.serialize_entry(
                &signal.name,
                &SignalValue { value, unit: &signal.unit, label: reading.label },
            )?;
        }
        map.end()
    }
}

fn as_json(record: &Record, message: Option<&Message>) -> String {
    let Record { time, sender, frame } = record;
    let (kind, fd) = match frame {
        CanAnyFrame::Normal(_) => ("data", None),
        CanAnyFrame::Fd(frame) => ("fd", Some(frame)),
        CanAnyFrame::Remote(_) => ("remote", None),
        CanAnyFrame::Error(_) => ("error", None),
    };
    let data = frame.data();
    let line = Line {
        time: rfc3339_in((*time).into(), 9),
        sender: sender.to_string(),
        id: words::id(frame),
        kind,
        length: if frame.is_remote_frame() { frame.dlc() } else { frame.len() },
        data: words::hex(data).replace(' ', ""),
        brs: fd.map(|frame| frame.is_brs()),
        esi: fd.map(|frame| frame.is_esi()),
        message: message.map(|message| message.name.as_str()),
        signals: message.map(|message| Signals { message, data }),
    };
    serde_json::to_string(&line).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use socketcan::{CanErrorFrame, CanFdFrame, CanRemoteFrame, ExtendedId, StandardId, id::FdFlags};

    use super::{super::samples, *};
    use crate::frames::{Sender, Timestamp};

    const TIME: Timestamp = Timestamp(1_795_860_866_123_456_789);

    fn record(sender: Sender, frame: impl Into<CanAnyFrame>) -> Record {
        Record { time: TIME, sender, frame: frame.into() }
    }

    fn records() -> [Record; 4] {
        let door = Sender::Member("door".into());
        let id = StandardId::new(0x1A0).unwrap();
        let fd = CanFdFrame::with_flags(ExtendedId::new(0x18FE_E527).unwrap(), &[20, 0, 0, 0], FdFlags::BRS);
        [
            record(door, samples::standard(0x1A0, &[0x12, 0x34, 0x9C, 0xFF, 5, 0x80, 0, 0xE2])),
            record(Sender::Host, fd.unwrap()),
            record(Sender::Wire, CanRemoteFrame::new_remote(id, 8).unwrap()),
            record(Sender::Unknown, CanErrorFrame::new_error(0x40, &[0; 8]).unwrap()),
        ]
    }

    #[test]
    fn lines_have_time_sender_id_data_and_signals() {
        let database = samples::database();
        let lines = records().map(|record| as_line(&record, database.message(&record.frame)));
        assert_eq!(
            lines[0],
            "2026-11-28T10:14:26.123456Z  door               1A0  [8]    12 34 9C FF 05 80 00 E2  Motion: Speed=46.60 km/h Temperature=-90.0 °C Gear=5 Ratio=-32768 Mode=eco Level=6"
        );
        assert_eq!(lines[1], "2026-11-28T10:14:26.123456Z  (host)        18FEE527  [F4]   14 00 00 00");
        assert_eq!(
            lines[2],
            "2026-11-28T10:14:26.123456Z  (wire)             1A0  [R8]                            Motion"
        );
        assert_eq!(lines[3], "2026-11-28T10:14:26.123456Z  (unknown)     20000040  [E8]   bus off");
    }

    #[test]
    fn json_says_the_same() {
        let database = samples::database();
        let lines = records().map(|record| as_json(&record, database.message(&record.frame)));
        assert_eq!(
            lines[0],
            r#"{"time":"2026-11-28T10:14:26.123456789Z","sender":"door","id":"1A0","kind":"data","length":8,"data":"12349CFF058000E2","message":"Motion","signals":{"Speed":{"value":46.6,"unit":"km/h"},"Temperature":{"value":-90.0,"unit":"°C"},"Gear":{"value":5},"Ratio":{"value":-32768},"Mode":{"value":2,"label":"eco"},"Level":{"value":6}}}"#
        );
        assert_eq!(
            lines[1],
            r#"{"time":"2026-11-28T10:14:26.123456789Z","sender":"(host)","id":"18FEE527","kind":"fd","length":4,"data":"14000000","brs":true,"esi":false}"#
        );
        assert!(lines[2].contains(r#""kind":"remote","length":8,"data":"""#), "{}", lines[2]);
        assert!(lines[3].contains(r#""id":"20000040","kind":"error""#), "{}", lines[3]);
    }

    #[test]
    fn numbers_that_json_does_not_have_are_null() {
        let frame = samples::standard(0x305, &[0, 0, 0x80, 0x7F, 0, 0, 0, 0]);
        let database = samples::database();
        let line = as_json(&record(Sender::Host, frame), database.message(&frame));
        assert!(line.contains(r#""Little":{"value":null,"unit":"V"}"#), "{line}");
    }
}
