//! Writing.

use std::{io::Write as _, time::SystemTime};

use super::{
    super::{
        parts::{self, Channels, Names},
        writer::Encode,
    },
    ERROR_COMMENT, date,
};
use crate::frames::{CanAnyFrame, Record, Timestamp};
use socketcan::{EmbeddedFrame as _, Frame as _};

#[derive(Debug, Default)]
pub(in crate::frames::formats) struct Encoder {
    start: Option<Timestamp>,
    last: Timestamp,
    channels: Channels,
}

impl Encoder {
    /// The first frame's time is the zero of all others, so the header waits for it.
    fn start(&mut self, first: Timestamp, out: &mut Vec<u8>) -> Timestamp {
        *self.start.get_or_insert_with(|| {
            let start = parts::start_of(first);
            let date = date::print(start);
            // The order and the words are those that python-can and CANoe expect.
            let _ = write!(
                out,
                "date {date}\nbase hex  timestamps absolute\ninternal events logged\n\
                 // canhub {}: all times are UTC\n\
                 Begin Triggerblock {date}\n   0.000000 Start of measurement\n",
                env!("CARGO_PKG_VERSION")
            );
            start
        })
    }
}

impl Encode for Encoder {
    fn record(&mut self, record: &Record, out: &mut Vec<u8>) {
        let start = self.start(record.time, out);
        let (channel, is_new) = self.channels.of(&record.sender);
        if is_new {
            let _ = writeln!(out, "// {}", Names::text(channel, &record.sender));
        }
        // The format has no times before its start, to which a clock may be set back.
        self.last = if record.time < start { self.last.max(start) } else { record.time };
        let micros = self.last.since(start).as_micros();
        let time = format_args!("{:>4}.{:06}", micros / 1_000_000, micros % 1_000_000).to_string();
        let frame = &record.frame;
        let id = format!("{:X}{}", frame.raw_id(), if frame.is_extended() { "x" } else { "" });
        let _ = match frame {
            CanAnyFrame::Normal(_) => {
                let _ = write!(out, "{time} {channel}  {id:<15} Rx   d {:x}", frame.data().len());
                data(frame, out);
                writeln!(out)
            }
            CanAnyFrame::Remote(_) => writeln!(out, "{time} {channel}  {id:<15} Rx   r {:x}", frame.dlc()),
            CanAnyFrame::Error(_) => {
                writeln!(out, "// {ERROR_COMMENT}{frame:X}\n{time} {channel}  ErrorFrame")
            }
            CanAnyFrame::Fd(fd) => {
                let (brs, esi) = (u32::from(fd.is_brs()), u32::from(fd.is_esi()));
                let length = frame.data().len();
                let dlc = parts::fd_dlc(length);
                let _ = write!(
                    out,
                    "{time} CANFD {channel:>3} Rx   {id:>8}  {:>32} {brs} {esi} {dlc:x} {length:>2}",
                    ""
                );
                data(frame, out);
                // Duration and length of the message, flags, CRC, and four bit timings, which nobody knows here.
                let flags = 1 << 12 | brs << 13 | esi << 14;
                writeln!(out, "        0    0 {flags:>8X}        0        0        0        0        0")
            }
        };
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.start(SystemTime::now().into(), out);
        out.extend(b"End TriggerBlock\n");
    }
}

fn data(frame: &CanAnyFrame, out: &mut Vec<u8>) {
    for byte in frame.data() {
        let _ = write!(out, " {byte:02X}");
    }
}
