//! The frames of one id and one sender.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use socketcan::EmbeddedFrame as _;

use super::super::{CanAnyFrame, Record, Timestamp};

/// Cycle time and jitter are those of so many intervals.
const INTERVALS: usize = 32;
/// How long a byte that changed is marked.
const FRESH: Duration = Duration::from_secs(1);
/// Of what came before, this much is kept for plots, in samples so far apart.
pub const HISTORY: Duration = Duration::from_secs(30);
const SAMPLE: Duration = Duration::from_millis(100);
/// Of multiplexer values; those of others are not kept.
const PAGES_MAX: usize = 256;
/// An id is silent after so many cycles, but at least a second, without a frame.
const SILENT_CYCLES: u32 = 3;

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

impl Row {
    pub(super) fn new(record: &Record, page: u64) -> Self {
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

    pub(super) fn add(&mut self, record: &Record, page: u64) {
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
