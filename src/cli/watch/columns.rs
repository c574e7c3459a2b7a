//! Which columns the table has, and how wide: what fits, the most useful first.

use super::view::Entry;
use crate::frames::CanAnyFrame;

/// Between two columns.
const GAP: usize = 1;
/// The data of 8 bytes.
const DATA: usize = 23;
/// The sender's column grows with the names that are there.
const SENDER: usize = 9;
const SENDER_MAX: usize = 24;

/// The widths of the columns; 0: there is no such column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Columns {
    pub(super) id: usize,
    pub(super) name: usize,
    pub(super) sender: usize,
    pub(super) count: usize,
    pub(super) rate: usize,
    pub(super) cycle: usize,
    pub(super) jitter: usize,
    pub(super) length: usize,
    pub(super) data: usize,
    pub(super) signals: usize,
}

impl Columns {
    /// For these rows on a screen of this width. The first character of a line is the mark of the selected row.
    pub(super) fn fit(width: usize, entries: &[Entry]) -> Self {
        let is_long = |frame: &CanAnyFrame| super::words::id(frame).len() > 3;
        let id = if entries.iter().any(|(_, row, _)| is_long(&row.frame)) { 8 } else { 3 };
        let has_names = entries.iter().any(|(.., message)| message.is_some());
        let bytes = entries.iter().map(|(_, row, _)| row.frame.data_len()).max().unwrap_or(0);
        let mut columns = Self { id, sender: SENDER, length: 3, data: DATA, ..Self::default() };
        let mut left = width.saturating_sub(1 + id + GAP + SENDER + GAP + 3 + GAP + DATA);
        let mut add = |column: &mut usize, wanted: usize, wants: bool| {
            let needed = if *column == 0 { wanted + GAP } else { wanted.saturating_sub(*column) };
            if wants && needed <= left {
                left -= needed;
                *column = wanted;
            }
        };
        add(&mut columns.cycle, 6, true);
        add(&mut columns.name, 11, has_names);
        add(&mut columns.jitter, 6, true);
        add(&mut columns.count, 5, true);
        add(&mut columns.rate, 5, true);
        let longest =
            entries.iter().map(|(key, ..)| key.sender.to_string().chars().count()).max().unwrap_or(0);
        for sender in SENDER + 1..=longest.min(SENDER_MAX) {
            add(&mut columns.sender, sender, true);
        }
        add(&mut columns.name, 24, has_names);
        add(&mut columns.count, 10, true);
        // With names, what is left shows values; a longer frame's bytes are on its page.
        add(&mut columns.signals, 30, has_names);
        match columns.signals {
            0 => columns.data += left.min((bytes * 3).saturating_sub(1 + DATA)),
            _ => columns.signals += left,
        }
        columns
    }
}

/// The length of a frame's data.
trait DataLength {
    fn data_len(&self) -> usize;
}

impl DataLength for CanAnyFrame {
    fn data_len(&self) -> usize {
        use socketcan::EmbeddedFrame as _;
        self.data().len()
    }
}
