//! What is going on on a bus: one row for each id and sender, with how often it comes and what it says.
//!
//! Two senders of one id are two rows, because that is a defect that nobody sees otherwise. Time comes from the records
//! and from the caller, never from the clock.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use socketcan::{EmbeddedFrame as _, Frame as _};

use super::{CanAnyFrame, Lost, Record, Sender, Timestamp, wire::Wire};

/// A program that sends every id there is must not fill the memory: more ids are only counted.
pub const ROWS_MAX: usize = 2000;
/// Cycle time and jitter are those of so many intervals.
const INTERVALS: usize = 32;
/// How long a byte that changed is marked.
const FRESH: Duration = Duration::from_secs(1);
/// Of what came before, this much is kept for plots, in samples so far apart.
pub const HISTORY: Duration = Duration::from_secs(30);
const SAMPLE: Duration = Duration::from_millis(100);
/// Of multiplexer values; those of others are not kept.
const PAGES_MAX: usize = 256;
/// Rate and load are measured over a second, in parts.
const PART: Duration = Duration::from_millis(100);
const PARTS: u64 = 10;
/// An id is silent after so many cycles, but at least a second, without a frame.
const SILENT_CYCLES: u32 = 3;

/// What a row is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Standard ids come first, then extended ones, remote frames, error frames: the kernel's id with its flags.
    pub id: u32,
    /// Who sends it.
    pub sender: Sender,
}

/// The frames of one id and one sender.
#[derive(Debug, Clone)]
pub struct Row {
    /// How many.
    pub count: u64,
    /// The last one.
    pub frame: CanAnyFrame,
    /// When it came.
    pub time: Timestamp,
    /// When each byte changed.
    changed: Vec<Option<Timestamp>>,
    /// In ns, the latest at the end.
    intervals: VecDeque<u64>,
    pages: BTreeMap<u64, Page>,
}

/// The frames of one multiplexer value; of other messages, all.
#[derive(Debug, Clone, Default)]
struct Page {
    /// The last one and its time.
    last: (Timestamp, Box<[u8]>),
    /// Earlier ones, the latest at the end.
    samples: VecDeque<(Timestamp, Box<[u8]>)>,
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

impl Row {
    fn new(record: &Record, page: u64) -> Self {
        let mut row = Self {
            count: 1,
            time: record.time,
            changed: vec![None; record.frame.data().len()],
            intervals: VecDeque::new(),
            pages: BTreeMap::new(),
            frame: record.frame,
        };
        row.keep(record, page);
        row
    }

    fn add(&mut self, record: &Record, page: u64) {
        let (data, old) = (record.frame.data(), self.frame.data());
        self.changed.resize(data.len(), None);
        for (at, changed) in self.changed.iter_mut().enumerate() {
            if old.get(at) != Some(&data[at]) {
                *changed = Some(record.time);
            }
        }
        if self.intervals.len() == INTERVALS {
            self.intervals.pop_front();
        }
        self.intervals.push_back(record.time.0.saturating_sub(self.time.0));
        self.keep(record, page);
        self.count += 1;
        self.time = record.time;
        self.frame = record.frame;
    }

    fn keep(&mut self, record: &Record, page: u64) {
        if self.pages.len() >= PAGES_MAX && !self.pages.contains_key(&page) {
            return;
        }
        let Page { last, samples } = self.pages.entry(page).or_default();
        *last = (record.time, record.frame.data().into());
        if samples.back().is_none_or(|(time, _)| record.time.since(*time) >= SAMPLE) {
            samples.push_back(last.clone());
            while samples.front().is_some_and(|(time, _)| record.time.since(*time) > HISTORY) {
                samples.pop_front();
            }
        }
    }

    /// Whether this byte of the data changed within the last second.
    pub fn is_fresh(&self, byte: usize, now: Timestamp) -> bool {
        self.changed.get(byte).copied().flatten().is_some_and(|time| now.since(time) < FRESH)
    }

    /// The mean interval of the last 32; none before the second frame.
    pub fn cycle(&self) -> Option<Duration> {
        let count = self.intervals.len() as u64;
        let sum: u64 = self.intervals.iter().sum();
        sum.checked_div(count).map(Duration::from_nanos)
    }

    /// The standard deviation of the same intervals; none before the third frame.
    pub fn jitter(&self) -> Option<Duration> {
        let mean = self.cycle().filter(|_| self.intervals.len() > 1)?.as_nanos() as f64;
        let squares: f64 = self.intervals.iter().map(|interval| (*interval as f64 - mean).powi(2)).sum();
        Some(Duration::from_nanos((squares / self.intervals.len() as f64).sqrt() as u64))
    }

    /// The shortest and the longest of the same intervals.
    pub fn extremes(&self) -> Option<(Duration, Duration)> {
        let (min, max) = (self.intervals.iter().min()?, self.intervals.iter().max()?);
        Some((Duration::from_nanos(*min), Duration::from_nanos(*max)))
    }

    /// Frames per second: the reciprocal of the cycle time; 0 once the id is silent.
    pub fn rate(&self, now: Timestamp) -> f64 {
        match self.cycle() {
            Some(cycle) if !self.is_silent(now) => 1.0 / cycle.as_secs_f64().max(1e-9),
            _ => 0.0,
        }
    }

    /// Whether an id that came regularly has stopped.
    pub fn is_silent(&self, now: Timestamp) -> bool {
        let since = now.since(self.time);
        since > Duration::from_secs(1) && self.cycle().is_some_and(|cycle| since > cycle * SILENT_CYCLES)
    }

    /// The last data of each page, the latest first.
    pub fn latest(&self) -> Vec<(Timestamp, &[u8])> {
        let mut latest: Vec<_> = self.pages.values().map(|page| (page.last.0, &*page.last.1)).collect();
        latest.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
        latest
    }

    /// Data of the last 30 s, at most ten per second of each page, ordered by time within a page.
    pub fn history(&self) -> impl Iterator<Item = (Timestamp, &[u8])> {
        let samples = self.pages.values().flat_map(|page| page.samples.iter().chain([&page.last]));
        samples.map(|(time, data)| (*time, &**data))
    }
}

#[cfg(test)]
mod tests {
    use socketcan::{CanDataFrame, CanRemoteFrame, StandardId};

    use super::*;

    const MS: u64 = 1_000_000;
    /// Some time in 2026, at the start of a part.
    const START: u64 = 1_795_000_000_000_000_000;

    fn id(id: u16) -> StandardId {
        StandardId::new(id).unwrap()
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp(START + ms * MS)
    }

    fn record(ms: u64, sender: &str, data: &[u8]) -> Record {
        let frame = CanDataFrame::new(id(0x1A0), data).unwrap().into();
        Record { time: at(ms), sender: sender.parse().unwrap(), frame }
    }

    fn key(sender: &str) -> Key {
        Key { id: 0x1A0, sender: sender.parse().unwrap() }
    }

    #[test]
    fn two_senders_of_one_id_are_two_rows_and_so_are_remote_frames() {
        let mut table = Table::default();
        for sender in ["door", "lock", "(host)", "door"] {
            table.add(&record(0, sender, &[1]), 0);
        }
        let remote = CanRemoteFrame::new_remote(id(0x1A0), 0).unwrap().into();
        table.add(&Record { frame: remote, ..record(0, "lock", &[]) }, 0);
        let rows: Vec<_> = table.rows().map(|(key, row)| (key.sender.to_string(), row.count)).collect();
        let expected = [("door", 2), ("lock", 1), ("(host)", 1), ("lock", 1)];
        assert_eq!(rows, expected.map(|(sender, count)| (sender.to_owned(), count)));
    }

    #[test]
    fn cycle_time_and_jitter_are_those_of_the_last_intervals() {
        let mut table = Table::default();
        let mut time = 0;
        for interval in std::iter::repeat_n(500, 10).chain([18, 22].repeat(16)) {
            table.add(&record(time, "door", &[]), 0);
            time += interval;
        }
        table.add(&record(time, "door", &[]), 0);
        let row = table.row(&key("door")).unwrap();
        let ms = Duration::from_millis;
        assert_eq!((row.cycle(), row.jitter()), (Some(ms(20)), Some(ms(2))));
        assert_eq!(row.extremes(), Some((ms(18), ms(22))));
        assert_eq!(row.rate(at(time)), 50.0);
        assert!(!row.is_silent(at(time + 900)) && row.is_silent(at(time + 1001)));
        assert_eq!(row.rate(at(time + 1001)), 0.0);
    }

    #[test]
    fn a_slow_id_is_not_silent_between_its_frames() {
        let mut table = Table::default();
        table.add(&record(0, "door", &[]), 0);
        assert!(!table.row(&key("door")).unwrap().is_silent(at(60_000)), "nobody knows its cycle");
        table.add(&record(5000, "door", &[]), 0);
        let row = table.row(&key("door")).unwrap();
        assert!(!row.is_silent(at(19_000)) && row.is_silent(at(20_001)));
    }

    #[test]
    fn bytes_are_fresh_for_a_second_after_they_changed() {
        let mut table = Table::default();
        let fresh = |table: &Table, ms| {
            let row = table.row(&key("door")).unwrap();
            (0..4).map(|byte| row.is_fresh(byte, at(ms))).collect::<Vec<_>>()
        };
        table.add(&record(0, "door", &[1, 2, 3]), 0);
        assert_eq!(fresh(&table, 0), [false; 4], "the first frame is no change");
        table.add(&record(100, "door", &[1, 9, 3]), 0);
        table.add(&record(200, "door", &[1, 9, 3, 4]), 0);
        assert_eq!(fresh(&table, 1050), [false, true, false, true]);
        assert_eq!(fresh(&table, 1150), [false, false, false, true]);
        table.add(&record(1200, "door", &[1]), 0);
        assert_eq!(fresh(&table, 1200), [false; 4]);
    }

    #[test]
    fn rate_and_load_are_those_of_the_last_second() {
        let mut table = Table::new(Some(Wire { bitrate: 125_000, data_bitrate: None }));
        for ms in (0..2000).step_by(2) {
            table.add(&record(ms, "door", &[0x55; 8]), 0);
        }
        assert_eq!(table.rate(at(2000)), 500);
        // 500 frames of 111 to 135 bits.
        let load = table.load(at(2000)).unwrap();
        assert!((0.44..0.54).contains(&load), "{load}");
        assert_eq!(table.rate(at(2500)), 250, "half of the second was silent");
        assert_eq!((table.rate(at(9000)), table.load(at(9000))), (0, Some(0.0)));
        assert_eq!(Table::default().load(at(0)), None);
    }

    #[test]
    fn a_clock_that_is_set_back_disturbs_nothing_for_long() {
        let mut table = Table::default();
        for ms in (0..1000).chain(10_000..11_000).chain(5000..6500) {
            table.add(&record(ms, "door", &[]), 0);
        }
        assert_eq!(table.rate(at(6500)), 1000);
        assert!(table.parts.len() <= PARTS as usize + 1);
    }

    #[test]
    fn memory_is_bounded() {
        let mut table = Table::default();
        for number in 0..ROWS_MAX as u64 + 7 {
            table.add(&record(0, &format!("sender{number}"), &[]), 0);
        }
        assert_eq!((table.rows().count(), table.without_row), (ROWS_MAX, 7));
        for ms in 0..100_000 {
            table.add(&record(ms, "sender1", &[1]), 0);
        }
        let samples = table.row(&key("sender1")).unwrap().history().count();
        assert!((300..=302).contains(&samples), "{samples}");
    }

    #[test]
    fn each_multiplexer_value_has_its_own_samples() {
        let mut table = Table::default();
        for ms in (0..10_000).step_by(50) {
            let page = ms / 50 % 2;
            table.add(&record(ms, "door", &[page as u8]), page);
        }
        let row = table.row(&key("door")).unwrap();
        assert_eq!(row.latest(), [(at(9950), &[1][..]), (at(9900), &[0][..])]);
        for page in [0, 1] {
            let samples = row.history().filter(|(_, data)| **data == [page]).count();
            assert_eq!(samples, 101, "100 and the last one");
        }
    }
}
