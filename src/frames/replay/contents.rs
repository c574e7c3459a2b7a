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
