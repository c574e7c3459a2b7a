//! What a file has, read before anything is sent.

use std::{collections::BTreeMap, path::Path, time::Duration};

use super::Selection;
use crate::frames::{CanAnyFrame, Sender, Timestamp, formats};

/// What a file has.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// Its selected frames.
    pub frames: u64,
    /// The FD frames among them.
    pub fd: u64,
    /// Error frames that the selection leaves out.
    pub errors_left_out: u64,
    /// The selected frames' times: from the smallest to the largest.
    times: Option<(Timestamp, Timestamp)>,
    /// All senders, and how much they sent.
    pub senders: BTreeMap<Sender, u64>,
    /// Why the end is missing, if it is.
    pub cut: Option<String>,
}

impl Contents {
    /// Reads a file. `is_stopped` can end that early.
    ///
    /// # Errors
    /// The file cannot be opened or read; the text names the file, the place and the reason.
    pub fn read(path: &Path, selection: &Selection, is_stopped: &dyn Fn() -> bool) -> Result<Self, String> {
        let mut contents = Self::default();
        let everything = Selection { without_errors: false, ..selection.clone() };
        for record in formats::open(path)? {
            let record = match record {
                Ok(record) => record,
                Err(err) if err.is_cut() => {
                    contents.cut = Some(format!("{}: {err}", path.display()));
                    break;
                }
                Err(err) => return Err(format!("{}: {err}", path.display())),
            };
            *contents.senders.entry(record.sender.clone()).or_default() += 1;
            if selection.contains(&record) {
                contents.frames += 1;
                contents.fd += u64::from(matches!(record.frame, CanAnyFrame::Fd(_)));
                let (first, last) = contents.times.unwrap_or((record.time, record.time));
                contents.times = Some((first.min(record.time), last.max(record.time)));
            } else if everything.contains(&record) {
                contents.errors_left_out += 1;
            }
            if contents.frames.is_multiple_of(4096) && is_stopped() {
                break;
            }
        }
        Ok(contents)
    }

    /// From the first to the last frame.
    pub fn duration(&self) -> Duration {
        self.times.map_or(Duration::ZERO, |(first, last)| last.since(first))
    }

    /// Between two frames: what should be between two rounds, so that a cyclic frame stays cyclic.
    pub fn mean_gap(&self) -> Duration {
        let gaps = u32::try_from(self.frames.saturating_sub(1)).unwrap_or(u32::MAX);
        self.duration().checked_div(gaps).unwrap_or(Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn frames_are_counted_as_they_will_be_sent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("body.log");
        let text = "(1.000000) door 1A0#01\n(1.005000) (wire) 20000004#000C000000000000\n\
            (1.010000) door 1A0##0\n(1.020000) door 1A0#02\n(1.03";
        fs::write(&path, text).unwrap();
        let read = |selection: &Selection| Contents::read(&path, selection, &|| false).unwrap();
        let adapter = Selection { without_errors: true, ..Selection::default() };
        let contents = read(&adapter);
        assert_eq!((contents.frames, contents.fd, contents.errors_left_out), (3, 1, 1));
        assert_eq!(contents.mean_gap(), Duration::from_millis(10));
        assert!(contents.cut.is_some_and(|cut| cut.contains("body.log: line 5")));
        let of_door = Selection { from: Some(Sender::Member("door".into())), ..adapter };
        assert_eq!(read(&of_door).errors_left_out, 0, "not chosen anyway");
        assert_eq!(read(&Selection::default()).frames, 4);
    }
}
