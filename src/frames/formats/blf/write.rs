//! Writing.

use miniz_oxide::deflate::compress_to_vec_zlib;

use super::{
    super::{
        parts::{Channels, Names},
        writer::Encode,
    },
    BASE_HEADER, CONTAINER_HEADER, FILE_HEADER, FILE_SIGNATURE, OBJECT_HEADER, OBJECT_SIGNATURE,
    UNIT_NANOSECOND, ZLIB, kind, objects, print_time,
};
use crate::frames::{Record, Timestamp, formats::parts::start_of};

/// What Vector's programs put into a container at most.
const CONTAINER_MAX: usize = 128 * 1024;

/// Fast: a recorder must keep up with full buses on small devices.
const LEVEL: u8 = 1;

/// The format's version that is written, as python-can has it.
const VERSION: [u8; 4] = [2, 6, 8, 1];

#[derive(Debug, Default)]
pub(in crate::frames::formats) struct Encoder {
    start: Option<Timestamp>,
    stop: Timestamp,
    last: Timestamp,
    channels: Channels,
    /// The container that is being filled.
    objects: Vec<u8>,
    count: u32,
    /// Of all closed containers, without the file's header.
    unpacked: u64,
}

impl Encoder {
    fn object(&mut self, time: Timestamp, kind: u32, body: &[u8], out: &mut Vec<u8>) {
        let length = OBJECT_HEADER + body.len();
        if self.objects.len() + length > CONTAINER_MAX {
            self.flush(out);
        }
        let start = *self.start.get_or_insert(start_of(time));
        // The format has no times before its start, to which a clock may be set back.
        self.last = if time < start { self.last.max(start) } else { time };
        self.stop = self.stop.max(self.last);
        self.count = self.count.wrapping_add(1);
        base_header(OBJECT_HEADER, length, kind, &mut self.objects);
        self.objects.extend(UNIT_NANOSECOND.to_le_bytes());
        self.objects.extend([0; 4]);
        self.objects.extend((self.last.since(start).as_nanos() as u64).to_le_bytes());
        self.objects.extend(body);
    }
}

impl Encode for Encoder {
    fn begin(&mut self, out: &mut Vec<u8>) {
        out.extend(self.header(FILE_HEADER as u64).unwrap_or_default());
    }

    fn record(&mut self, record: &Record, out: &mut Vec<u8>) {
        let (channel, is_new) = self.channels.of(&record.sender);
        if is_new {
            let text = objects::text(&Names::text(channel, &record.sender));
            self.object(record.time, kind::APPLICATION_TEXT, &text, out);
        }
        let (kind, body) = objects::encode(channel, &record.frame);
        self.object(record.time, kind, &body, out);
    }

    /// Closes the container, because a reader sees nothing of an open one.
    fn flush(&mut self, out: &mut Vec<u8>) {
        if self.objects.is_empty() {
            return;
        }
        let packed = compress_to_vec_zlib(&self.objects, LEVEL);
        let length = BASE_HEADER + CONTAINER_HEADER + packed.len();
        base_header(BASE_HEADER, length, kind::CONTAINER, out);
        out.extend(ZLIB.to_le_bytes());
        out.extend([0; 6]);
        out.extend((self.objects.len() as u32).to_le_bytes());
        out.extend([0; 4]);
        out.extend(packed);
        // So much padding, though it does not align anything, is what all programs expect.
        out.extend([0; 4].iter().take(length % 4));
        self.unpacked += (BASE_HEADER + CONTAINER_HEADER + self.objects.len()) as u64;
        self.objects.clear();
    }

    fn header(&self, length: u64) -> Option<Vec<u8>> {
        let mut header = FILE_SIGNATURE.to_vec();
        header.extend((FILE_HEADER as u32).to_le_bytes());
        // The program and its version: none of Vector's.
        header.extend([0; 4]);
        header.extend(VERSION);
        header.extend(length.to_le_bytes());
        header.extend((FILE_HEADER as u64 + self.unpacked).to_le_bytes());
        header.extend(self.count.to_le_bytes());
        header.extend([0; 4]);
        for time in [self.start, self.start.map(|_| self.stop)] {
            header.extend(time.map_or([0; 16], print_time));
        }
        header.resize(FILE_HEADER, 0);
        Some(header)
    }
}

fn base_header(header: usize, length: usize, kind: u32, out: &mut Vec<u8>) {
    out.extend(OBJECT_SIGNATURE);
    out.extend((header as u16).to_le_bytes());
    out.extend(1_u16.to_le_bytes());
    out.extend((length as u32).to_le_bytes());
    out.extend(kind.to_le_bytes());
}
