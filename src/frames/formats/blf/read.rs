//! Reading.

use std::io::{self, Read};

use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;

use super::{
    super::{At, ReadError, parts::Names},
    BASE_HEADER, CONTAINER_HEADER, FILE_HEADER_MIN, FILE_SIGNATURE, OBJECT_HEADER, OBJECT_SIGNATURE, START,
    STORED, UNIT_10_MICROSECONDS, ZLIB, kind,
    objects::{self, Object},
    parse_time,
};
use crate::frames::{Record, Timestamp};

/// Containers have 128 KiB when unpacked; embedded attachments may be larger.
const OBJECT_MAX: u32 = 1 << 26;
/// Objects are padded to four bytes, by some programs in odd ways.
const PADDING_MAX: usize = 8;

pub(in crate::frames::formats) struct Reader<R> {
    file: R,
    /// Where in the file is read next.
    at: u64,
    /// Where the objects come from that are being read.
    from: At,
    start: Option<Timestamp>,
    names: Names,
    /// Unpacked objects. One can continue in the next container.
    objects: Vec<u8>,
    position: usize,
}

/// The base header of an object.
struct Base {
    header: usize,
    length: usize,
    kind: u32,
}

impl Base {
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let length = u32_at(bytes, 8);
        let (header, kind) = (usize::from(u32_at(bytes, 4) as u16), u32_at(bytes, 12));
        if length < BASE_HEADER as u32 || length > OBJECT_MAX {
            return Err(format!("an object cannot have {length} bytes"));
        }
        Ok(Self { header, length: length as usize, kind })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// How many bytes of padding come before the next object, if it starts soon.
fn padding(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).take(PADDING_MAX).position(|bytes| bytes == OBJECT_SIGNATURE)
}

impl<R: Read> Reader<R> {
    pub(in crate::frames::formats) fn new(file: R) -> Self {
        Self {
            file,
            at: 0,
            from: At::Byte(0),
            start: None,
            names: Names::default(),
            objects: Vec::new(),
            position: 0,
        }
    }

    /// So many bytes, or fewer at the end of the file.
    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.by_ref().take(length as u64).read_to_end(&mut bytes)?;
        self.at += bytes.len() as u64;
        Ok(bytes)
    }

    fn file_header(&mut self) -> Result<Timestamp, ReadError> {
        let at = At::Byte(0);
        let head = self.take(FILE_HEADER_MIN).map_err(|err| ReadError::io(at, err))?;
        if !head.starts_with(FILE_SIGNATURE) {
            return Err(ReadError::wrong(at, "this is not a BLF file"));
        }
        let length = u32_at(&head, 4) as usize;
        if head.len() < FILE_HEADER_MIN {
            return Err(ReadError::cut(at));
        }
        self.take(length.saturating_sub(FILE_HEADER_MIN).min(1 << 16))
            .map_err(|err| ReadError::io(at, err))?;
        Ok(parse_time(&head[START..START + 16]))
    }

    /// Appends the next object of the file, or the content of the next container, to `objects`. False at the end.
    fn fill(&mut self) -> Result<bool, ReadError> {
        self.from = At::Byte(self.at);
        let from = self.from;
        let io = |err| ReadError::io(from, err);
        let mut base = self.take(BASE_HEADER).map_err(io)?;
        let skipped = match padding(&base) {
            Some(skipped) => skipped,
            None if base.iter().all(|byte| *byte == 0) && base.len() < PADDING_MAX => return Ok(false),
            None if base.len() < BASE_HEADER => return Err(ReadError::cut(from)),
            None => return Err(ReadError::wrong(from, "there is no object")),
        };
        base.drain(..skipped);
        base.extend(self.take(skipped).map_err(io)?);
        if base.len() < BASE_HEADER {
            return Err(ReadError::cut(from));
        }
        let Base { length, kind, .. } = Base::parse(&base).map_err(|why| ReadError::wrong(from, why))?;
        let body = self.take(length - BASE_HEADER).map_err(io)?;
        if body.len() < length - BASE_HEADER {
            return Err(ReadError::cut(from));
        }

        self.objects.drain(..self.position);
        self.position = 0;
        if kind == kind::CONTAINER {
            let objects = unpack(&body).map_err(|why| ReadError::wrong(from, why))?;
            self.objects.extend(objects);
        } else {
            self.objects.extend(base);
            self.objects.extend(body);
        }
        Ok(true)
    }

    /// The next record that is in `objects` as a whole.
    fn record(&mut self, start: Timestamp) -> Result<Option<Record>, String> {
        loop {
            let rest = self.objects.get(self.position..).unwrap_or_default();
            let Some(padding) = padding(rest) else {
                let is_enough = rest.len() >= BASE_HEADER + PADDING_MAX;
                return if is_enough { Err("there is no object".into()) } else { Ok(None) };
            };
            let rest = &rest[padding..];
            if rest.len() < BASE_HEADER {
                return Ok(None);
            }
            let base = Base::parse(rest)?;
            let Some(object) = rest.get(..base.length) else { return Ok(None) };
            self.position += padding + base.length;
            // Both versions of the header have unit and time here. Texts have them, too.
            if base.header < OBJECT_HEADER || object.len() < base.header {
                continue;
            }
            let count = u64::from(u32_at(object, 24)) | u64::from(u32_at(object, 28)) << 32;
            let unit = if u32_at(object, 16) == UNIT_10_MICROSECONDS { 10_000 } else { 1 };
            match objects::decode(base.kind, &object[base.header..])? {
                Object::Text(text) => self.names.learn(text.trim_end_matches(['\0', ' '])),
                Object::Other => {}
                Object::Frame { channel, frame } => {
                    let time = Timestamp(start.0.saturating_add(count.saturating_mul(unit)));
                    return Ok(Some(Record { time, sender: self.names.sender(channel), frame }));
                }
            }
        }
    }

    fn next_record(&mut self) -> Result<Option<Record>, ReadError> {
        let start = match self.start {
            Some(start) => start,
            None => {
                let start = self.file_header()?;
                *self.start.insert(start)
            }
        };
        loop {
            if let Some(record) = self.record(start).map_err(|why| ReadError::wrong(self.from, why))? {
                return Ok(Some(record));
            }
            if self.objects.len() - self.position > 2 * OBJECT_MAX as usize {
                return Err(ReadError::wrong(self.from, "an object is too large"));
            }
            if !self.fill()? {
                let has_rest = self.objects[self.position..].iter().any(|byte| *byte != 0);
                return if has_rest { Err(ReadError::cut(self.from)) } else { Ok(None) };
            }
        }
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_record().transpose()
    }
}

/// The objects in a container.
fn unpack(body: &[u8]) -> Result<Vec<u8>, String> {
    let Some((header, packed)) = body.split_at_checked(CONTAINER_HEADER) else {
        return Err("the container is too short".into());
    };
    let (method, length) = (u32_at(header, 0) as u16, u32_at(header, 8).min(OBJECT_MAX));
    match method {
        STORED => Ok(packed.to_vec()),
        ZLIB => decompress_to_vec_zlib_with_limit(packed, length as usize)
            .map_err(|err| format!("the container cannot be unpacked: {err}")),
        method => Err(format!("the container is packed with the unknown method {method}")),
    }
}
