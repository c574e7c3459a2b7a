//! One socket of the kernel's broadcast manager, with the expectations that it listens for.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use super::{Expectation, Judge, judge::PAUSE};
use crate::kernel::{BcmId, BcmNews, BcmSocket};

/// Reading must not take more than one part in this many of a processor; what is done with it takes as long again.
const SHARE: u32 = 200;
/// The measured cost of a reading grows by no more than twice and this at a time.
const COST_STEP: Duration = Duration::from_micros(50);

/// Expectations share a socket if their cycles differ by less than a factor of two, so that slow ones are not read as
/// often as fast ones.
pub(super) fn class(every: Duration) -> u32 {
    every.as_micros().max(1).ilog2()
}

/// The ids of an expectation's frames: on an FD bus its frames may be of either kind.
pub(super) fn ids(expectation: &Expectation, fd: bool) -> impl Iterator<Item = BcmId> {
    let id = expectation.id;
    let of = move |fd| BcmId { bits: id.bits, extended: id.extended, fd };
    std::iter::once(of(false)).chain(fd.then(|| of(true)))
}

/// A socket on one interface.
#[derive(Debug)]
pub(super) struct Listener {
    socket: BcmSocket,
    /// Whether there may be news.
    pub(super) is_ready: bool,
    /// What it listens for, and which expectation wants it.
    pub(super) wanted: BTreeMap<BcmId, usize>,
    /// When the frames are to be counted next.
    pub(super) due: Instant,
    /// When they were last counted.
    counted: Option<Instant>,
    /// What a reading costs, averaged.
    cost: Duration,
    counts: Vec<(BcmId, u64)>,
    /// Frames by expectation; kept to save allocations.
    sums: BTreeMap<usize, u64>,
}

impl Listener {
    pub(super) fn open(index: u32, now: Instant) -> io::Result<Self> {
        let socket = BcmSocket::open(index)?;
        let (wanted, sums) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self {
            socket,
            is_ready: false,
            wanted,
            due: now,
            counted: None,
            cost: Duration::ZERO,
            counts: Vec::new(),
            sums,
        })
    }

    /// Listens for an id on behalf of an expectation. `anew`: also if it does already, so that the next frame is news.
    pub(super) fn listen(
        &mut self,
        id: BcmId,
        by: usize,
        limit: Option<Duration>,
        anew: bool,
    ) -> io::Result<()> {
        let known = self.wanted.insert(id, by).is_some();
        if known && !anew {
            return Ok(());
        }
        if known {
            self.socket.ignore(id)?;
        }
        self.socket.listen(id, limit)
    }

    /// Listens for nothing but what `keep` wants.
    pub(super) fn retain(&mut self, keep: impl Fn(BcmId) -> bool) {
        let socket = &self.socket;
        self.wanted.retain(|id, _| {
            let wanted = keep(*id);
            if !wanted {
                let _ = socket.ignore(*id);
            }
            wanted
        });
    }

    /// All news, each with its expectation.
    ///
    /// # Errors
    /// If it hears nothing any more.
    pub(super) fn news(&mut self, mut each: impl FnMut(usize, bool)) -> io::Result<()> {
        self.is_ready = false;
        while let Some(news) = self.socket.news()? {
            let (id, heard) = match news {
                BcmNews::Heard(id) => (id, true),
                BcmNews::Overdue(id) => (id, false),
            };
            if let Some(by) = self.wanted.get(&id) {
                each(*by, heard);
            }
        }
        Ok(())
    }

    /// Reads how many frames there were, for the expectations of this socket: `each` gets a time before and one after.
    /// `begun`: now, or a moment ago. Returns the time after.
    ///
    /// # Errors
    /// If the kernel does not show them.
    pub(super) fn count(
        &mut self,
        begun: Instant,
        mut each: impl FnMut(usize, Instant, Instant, u64),
    ) -> io::Result<Instant> {
        // Also if it fails: else it would be due at once, for ever.
        self.due = begun + PAUSE.1;
        self.socket.counts(&mut self.counts)?;
        let ended = Instant::now();
        self.counted = Some(ended);
        self.sums.clear();
        self.sums.extend(self.wanted.values().map(|by| (*by, 0)));
        for (id, frames) in &self.counts {
            if let Some(by) = self.wanted.get(id) {
                *self.sums.entry(*by).or_default() += frames;
            }
        }
        for (by, frames) in &self.sums {
            each(*by, begun, ended, *frames);
        }
        // A machine that stood still meanwhile says nothing about the cost.
        let cost = ended.saturating_duration_since(begun).min(self.cost * 2 + COST_STEP);
        self.cost = (self.cost * 7 + cost) / 8;
        Ok(ended)
    }

    /// Whether the frames were counted too long ago to judge by.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        self.counted.is_none_or(|counted| now >= counted + PAUSE.0)
    }

    /// Sets when to count next for these judges.
    pub(super) fn set_pace<'a>(&mut self, judge: impl Fn(usize) -> Option<&'a Judge>) {
        let Some(counted) = self.counted else { return };
        let judges = self.wanted.values().filter_map(|by| judge(*by));
        let costly = self.cost * SHARE;
        self.due = judges.map(|judge| judge.due(counted, costly)).min().unwrap_or(counted + PAUSE.1);
    }
}

/// Readable when there may be news.
impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
