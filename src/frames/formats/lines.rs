//! Lines of a text file, with their numbers.

use std::io::{BufRead, Read as _};

use super::{At, ReadError};

/// A line of an FD frame has some 300 bytes. Without a limit, a file that is not text could be one endless line.
const LENGTH_MAX: u64 = 1 << 14;

/// The lines of a file.
pub(super) struct Lines<R> {
    file: R,
    number: u64,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(file: R) -> Self {
        Self { file, number: 0, line: Vec::new() }
    }

    /// Where the last line is.
    pub(super) fn at(&self) -> At {
        At::Line(self.number)
    }

    /// The next line, without blanks at its ends.
    pub(super) fn next_line(&mut self) -> Option<Result<&str, ReadError>> {
        self.number += 1;
        self.line.clear();
        let at = self.at();
        match self.file.by_ref().take(LENGTH_MAX).read_until(b'\n', &mut self.line) {
            Ok(0) => return None,
            Ok(_) if self.line.ends_with(b"\n") => {}
            Ok(length) if length as u64 == LENGTH_MAX => {
                return Some(Err(ReadError::wrong(at, "is too long for a frame; this is not a text file")));
            }
            // What is left of a frame can look like a shorter one.
            Ok(_) => return Some(Err(ReadError::cut(at))),
            Err(err) => return Some(Err(ReadError::io(at, err))),
        }
        Some(match str::from_utf8(&self.line) {
            Ok(line) => Ok(line.trim()),
            Err(_) => Err(ReadError::wrong(at, "is not text")),
        })
    }
}
