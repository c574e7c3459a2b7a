//! Writes records so that the file can be read at any time.

use std::{fs::File, io, os::unix::fs::FileExt as _, path::Path};

use super::{Format, asc, blf, candump, pcapng};
use crate::frames::Record;

/// This much is written to the file without waiting for a flush.
const PENDING_MAX: usize = 1 << 18;

/// How a format looks in bytes.
pub(super) trait Encode: Send {
    /// What the file starts with.
    fn begin(&mut self, _out: &mut Vec<u8>) {}

    /// One record. May keep it until the next flush.
    fn record(&mut self, record: &Record, out: &mut Vec<u8>);

    /// Everything that was kept.
    fn flush(&mut self, _out: &mut Vec<u8>) {}

    /// What the file ends with. A file without it must be readable too.
    fn end(&mut self, _out: &mut Vec<u8>) {}

    /// What the file's first bytes must be, now that it has this length; always as many as `begin` wrote.
    fn header(&self, _length: u64) -> Option<Vec<u8>> {
        None
    }
}

/// Writes records to a file.
///
/// The file grows by whole frames only: if a write fails, say on a full disk, what was written of a frame is cut off
/// again. After each [`flush`](Self::flush) all frames so far can be read, by any program, also if this one is killed.
pub struct Writer {
    file: File,
    encoder: Box<dyn Encode>,
    pending: Vec<u8>,
    /// The length of the file.
    length: u64,
    written: u64,
    kept: u64,
}

impl Writer {
    /// Creates the file at `path`, or empties it. Its format is `format`, whatever the ending.
    ///
    /// # Errors
    ///
    /// The file cannot be created.
    pub fn create(path: &Path, format: Format) -> io::Result<Self> {
        Ok(Self::new(File::create(path)?, format))
    }

    /// Writes to an empty file that is open for writing.
    pub fn new(file: File, format: Format) -> Self {
        let mut encoder: Box<dyn Encode> = match format {
            Format::CandumpLog => Box::new(candump::Encoder),
            Format::Asc => Box::<asc::Encoder>::default(),
            Format::Blf => Box::<blf::Encoder>::default(),
            Format::Pcapng => Box::<pcapng::Encoder>::default(),
        };
        let mut pending = Vec::new();
        encoder.begin(&mut pending);
        Self { file, encoder, pending, length: 0, written: 0, kept: 0 }
    }

    /// Adds a record; it is in the file after the next flush, or earlier.
    ///
    /// # Errors
    ///
    /// The file cannot be written, see [`flush`](Self::flush).
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        self.encoder.record(record, &mut self.pending);
        self.written += 1;
        if self.pending.len() < PENDING_MAX {
            return Ok(());
        }
        self.flush()
    }

    /// Makes everything so far readable in the file. Does not wait for the disk.
    ///
    /// # Errors
    ///
    /// The file cannot be written, for example because the disk is full. It is then as it was after the last flush; what
    /// is missing is tried again by the next one.
    pub fn flush(&mut self) -> io::Result<()> {
        self.encoder.flush(&mut self.pending);
        if !self.pending.is_empty() {
            if let Err(err) = self.file.write_all_at(&self.pending, self.length) {
                // Fails for what is no regular file; the first error says more.
                let _ = self.file.set_len(self.length);
                return Err(err);
            }
            self.length += self.pending.len() as u64;
            self.pending.clear();
            if let Some(header) = self.encoder.header(self.length) {
                self.file.write_all_at(&header, 0)?;
            }
        }
        self.kept = self.written;
        Ok(())
    }

    /// Completes the file and waits until it is on the disk. Without this it can be read, too.
    ///
    /// # Errors
    ///
    /// The file cannot be written, see [`flush`](Self::flush).
    pub fn finish(mut self) -> io::Result<()> {
        self.encoder.flush(&mut self.pending);
        self.encoder.end(&mut self.pending);
        self.flush()?;
        self.file.sync_all()
    }

    /// The length of the file in bytes, and what waits for the next flush. For BLF that is an estimate.
    pub fn length(&self) -> u64 {
        self.length + self.pending.len() as u64
    }

    /// How many records are in the file.
    pub fn kept(&self) -> u64 {
        self.kept
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("length", &self.length)
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}
