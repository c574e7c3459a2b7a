//! What is going on on a bus: one row for each id and sender, with how often it comes and what it says.
//!
//! Two senders of one id are two rows, because that is a defect that nobody sees otherwise. Time comes from the records
//! and from the caller, never from the clock.

mod row;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use socketcan::Frame as _;

use super::{Lost, Record, Sender, Timestamp, wire::Wire};
pub use row::{HISTORY, Row};

/// A program that sends every id there is must not fill the memory: more ids are only counted.
pub const ROWS_MAX: usize = 2000;
/// Rate and load are measured over a second, in parts.
const PART: Duration = Duration::from_millis(100);
const PARTS: u64 = 10;

/// What a row is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Standard ids come first, then extended ones, remote frames, error frames: the kernel's id with its flags.
    pub id: u32,
    /// Who sends it.
    pub sender: Sender,
}

/// All rows, and the sums.
#[derive(Debug, Clone, Default)]
pub struct Table {
    rows: BTreeMap<Key, Row>,
    wire: Option<Wire>,
    /// Frames in all.
    pub count: u64,
    /// Frames that were lost on their way to us.
    pub lost: Lost,
    /// Frames that found no room for their row.
    pub without_row: u64,
    parts: VecDeque<Part>,
}

/// What came in a [`PART`] of a second.
#[derive(Debug, Clone, Copy)]
struct Part {
    number: u64,
    frames: u64,
    /// How long the wire was occupied, in ns.
    occupied: u64,
}

impl Table {
    /// An empty one, of a bus with or without a wire.
    pub fn new(wire: Option<Wire>) -> Self {
        Self { wire, ..Self::default() }
    }

    /// Counts a frame. Its page is that of [`super::dbc::Message::page`], or 0.
    pub fn add(&mut self, record: &Record, page: u64) {
        self.count += 1;
        self.add_to_part(record);
        let key = Key { id: record.frame.id_word(), sender: record.sender.clone() };
        let is_full = self.rows.len() >= ROWS_MAX;
        match self.rows.get_mut(&key) {
            Some(row) => row.add(record, page),
            None if is_full => self.without_row += 1,
            None => {
                self.rows.insert(key, Row::new(record, page));
            }
        }
    }

    /// The rows, by id and sender.
    pub fn rows(&self) -> impl Iterator<Item = (&Key, &Row)> {
        self.rows.iter()
    }

    /// One row.
    pub fn row(&self, key: &Key) -> Option<&Row> {
        self.rows.get(key)
    }

    /// Starts again from nothing, except for what was lost.
    pub fn clear(&mut self) {
        *self = Self { lost: self.lost, ..Self::new(self.wire) };
    }

    /// The frames per second, over the last second.
    pub fn rate(&self, now: Timestamp) -> u64 {
        self.last_second(now).map(|part| part.frames).sum()
    }

    /// How busy the wire was over the last second: 1 is fully. None on a bus without a wire.
    pub fn load(&self, now: Timestamp) -> Option<f64> {
        self.wire?;
        let occupied: u64 = self.last_second(now).map(|part| part.occupied).sum();
        Some(occupied as f64 / (PART.as_nanos() as f64 * PARTS as f64))
    }

    fn last_second(&self, now: Timestamp) -> impl Iterator<Item = &Part> {
        let current = part(now);
        self.parts.iter().filter(move |part| part.number < current && part.number + PARTS >= current)
    }

    fn add_to_part(&mut self, record: &Record) {
        let number = part(record.time);
        let occupied = self.wire.map_or(0, |wire| wire.occupied_by(&record.frame));
        match self.parts.back_mut() {
            // A clock that was set back counts into the last part, until it has caught up.
            Some(last) if last.number >= number && last.number < number + PARTS => {
                last.frames += 1;
                last.occupied += occupied;
            }
            _ => {
                while self.parts.len() > PARTS as usize {
                    self.parts.pop_front();
                }
                self.parts.push_back(Part { number, frames: 1, occupied });
            }
        }
    }
}

/// The number of the part that a time is in.
fn part(time: Timestamp) -> u64 {
    time.0 / PART.as_nanos() as u64
}

#[cfg(test)]
mod tests;
