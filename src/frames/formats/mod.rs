//! Files of frames.
//!
//! | ending | format | senders are |
//! |---|---|---|
//! | `.log` | what `candump -L` writes | interfaces |
//! | `.asc` | Vector's text format | channels, with a comment for each name |
//! | `.blf` | Vector's binary format | channels, with an application text for each name |
//! | `.pcapng` | Wireshark's | interfaces |
//!
//! Other programs skip the comments and texts. In their files the senders are the interfaces' names and the channels'
//! numbers. Times are kept to the nanosecond in `.blf` and `.pcapng`, to the microsecond in the others, and are UTC.

mod asc;
mod blf;
mod candump;
mod lines;
mod parts;
mod pcapng;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fmt,
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

pub use writer::Writer;

use super::Record;

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// What `candump -L` writes.
    CandumpLog,
    /// Vector's text format.
    Asc,
    /// Vector's binary format.
    Blf,
    /// Wireshark's format.
    Pcapng,
}

impl Format {
    /// Each with its ending.
    pub const ALL: [(&str, Self); 4] =
        [("log", Self::CandumpLog), ("asc", Self::Asc), ("blf", Self::Blf), ("pcapng", Self::Pcapng)];

    /// The format that a file's name ends with.
    ///
    /// # Errors
    ///
    /// The ending is another one; the text names those that are allowed.
    pub fn of(path: &Path) -> Result<Self, String> {
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        Self::ALL.iter().find(|(name, _)| *name == ending).map(|(_, format)| *format).ok_or_else(|| {
            format!(
                "the name of {} must end in .log (candump), .asc or .blf (Vector) or .pcapng (Wireshark)",
                path.display()
            )
        })
    }

    /// All records of a file, in the file's order.
    pub fn read(self, file: impl Read + Send + 'static) -> Reader {
        let file = BufReader::with_capacity(1 << 16, file);
        match self {
            Self::CandumpLog => Box::new(Until::the_first_error(candump::Reader::new(file))),
            Self::Asc => Box::new(Until::the_first_error(asc::Reader::new(file))),
            Self::Blf => Box::new(Until::the_first_error(blf::Reader::new(file))),
            Self::Pcapng => Box::new(Until::the_first_error(pcapng::Reader::new(file))),
        }
    }
}

/// All records of the file at `path`, whose format is chosen by the ending.
///
/// # Errors
///
/// The ending is unknown or the file cannot be opened; the text names the file.
pub fn open(path: &Path) -> Result<Reader, String> {
    let format = Format::of(path)?;
    let file = File::open(path).map_err(|err| format!("cannot open {}: {err}", path.display()))?;
    Ok(format.read(file))
}

/// Records in the file's order. Ends after the first error.
pub type Reader = Box<dyn Iterator<Item = Result<Record, ReadError>> + Send>;

/// Why a file cannot be read any further.
#[derive(Debug)]
pub struct ReadError {
    at: At,
    why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// The first is 1.
    Line(u64),
    /// The first is 0.
    Byte(u64),
}

#[derive(Debug)]
enum Why {
    Wrong(String),
    Cut,
    Io(io::Error),
}

impl ReadError {
    fn wrong(at: At, why: impl Into<String>) -> Self {
        Self { at, why: Why::Wrong(why.into()) }
    }

    fn cut(at: At) -> Self {
        Self { at, why: Why::Cut }
    }

    fn io(at: At, err: io::Error) -> Self {
        match err.kind() {
            io::ErrorKind::UnexpectedEof => Self::cut(at),
            _ => Self { at, why: Why::Io(err) },
        }
    }

    /// Whether the file ends in the middle of a frame, as if the recorder was killed. Everything before is right.
    pub fn is_cut(&self) -> bool {
        matches!(self.why, Why::Cut)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            At::Line(line) => write!(f, "line {line}")?,
            At::Byte(byte) => write!(f, "byte {byte}")?,
        }
        match &self.why {
            Why::Wrong(why) => write!(f, ": {why}"),
            Why::Cut => {
                f.write_str(": the file ends in the middle of a frame, as if its recorder was killed")
            }
            Why::Io(err) => write!(f, ": cannot read on: {err}"),
        }
    }
}

impl std::error::Error for ReadError {}

/// Ends an iterator after its first error: what follows a broken place cannot be trusted, and a disk that fails would
/// be read for ever.
struct Until<I> {
    records: Option<I>,
}

impl<I> Until<I> {
    fn the_first_error(records: I) -> Self {
        Self { records: Some(records) }
    }
}

impl<T, I: Iterator<Item = Result<T, ReadError>>> Iterator for Until<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        let next = self.records.as_mut()?.next();
        if !matches!(next, Some(Ok(_))) {
            self.records = None;
        }
        next
    }
}
