//! Decides whether an expectation is met. Pure: it is told what the kernel noticed and when, and asks for nothing.
//!
//! The kernel notices when a frame is overdue, when one comes after that, and how many there were. A person is to be told
//! within one and a half cycles and 50 ms, but not because a machine was busy for a moment. So a single late frame is
//! forgiven as long as there is time to look at the next one; and whatever was wrong is over after a few good cycles.
//!
//! Frames of short cycles are only counted: a timer that each of them restarts, and whose every end is news, costs more
//! than all readings. Whatever the judge decides then holds for any times of the frames that the readings allow.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Below this, a cycle cannot be told from a scheduler's jitter.
const FINEST: Duration = Duration::from_millis(2);
/// A frame that is less late than this is forgiven once, also in long cycles.
const JITTER: Duration = Duration::from_millis(20);
/// A failure is told after one and a half cycles and 50 ms at the latest; this much of it is left for telling.
const TELLING: Duration = Duration::from_millis(20);
const PROMISE: Duration = Duration::from_millis(50);
/// Readings of the number of frames that are compared with the latest one.
const READINGS: usize = 24;
/// Frames in good time after which a failure is over. A rate is measured in whole frames, so it takes more of them.
const GOOD: u64 = 3;
const GOOD_RATE: u64 = 8;
/// Shorter cycles are judged without timers of the kernel.
const TIMED: Duration = Duration::from_millis(50);
/// The number of frames is read this often per cycle. With a timer, the third frame of a sender that is twice too fast must
/// be seen soon enough to tell so in time; a missing one is the timer's business.
const PER_CYCLE_TIMED: u32 = 8;
const PER_CYCLE: u32 = 2;
/// Limits of the time between two readings: a timer is no more exact than a millisecond, and cycles are shown.
/// Frames that were counted less than the first one ago are not counted again.
pub(super) const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// While there is silence, only its end is of interest.
const PAUSE_SILENT: Duration = Duration::from_millis(200);
/// Stalls are excused no more often.
const EXCUSES: Duration = Duration::from_secs(1);
/// Machines that stood still for longer are not excused.
const STALL_MAX: Duration = Duration::from_millis(100);

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss {
    /// No frame comes.
    Silent,
    /// Frames come too seldom.
    Slow,
    /// Frames come too often.
    Fast,
}

/// Whether an expectation is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// No frame yet, and too early to say that one is missing.
    Unknown,
    /// Frames come as expected.
    Met,
    /// They do not.
    Missed(Miss),
}

/// The number of frames at a time that lies between two readings of the clock.
#[derive(Debug, Clone, Copy)]
struct Reading {
    begun: Instant,
    ended: Instant,
    frames: u64,
}

/// The judge of one expectation.
#[derive(Debug)]
pub struct Judge {
    every: Duration,
    /// Whether the kernel has a timer.
    timed: bool,
    /// A frame this long after the one before is late; the kernel's timeout.
    late: Duration,
    /// No frame for this long: silence.
    silent: Duration,
    /// The shortest cycle; zero: there is none.
    fast: Duration,
    verdict: Verdict,
    /// When the silence is long enough.
    deadline: Option<Instant>,
    /// Whether it was put off.
    excused: bool,
    /// The last frame before the silence that lasts now.
    gap: Option<Instant>,
    /// The number of frames at its start.
    gap_frames: Option<u64>,
    /// The frame that ended a forgiven silence.
    forgiven: Option<Instant>,
    window: VecDeque<Reading>,
    /// Without a timer: the latest reading, and the earliest time at which the last frame may have come.
    reading: Option<Reading>,
    seen: Option<Instant>,
    /// The latest time at which it may have come.
    fresh: Option<Instant>,
    /// When a stall was excused.
    excused_at: Option<Instant>,
    /// After a silence, what a sender makes up for is not its rate.
    settles: Option<Instant>,
    /// Since when everything was good.
    good: Option<Reading>,
    last: Option<Instant>,
    measured: Option<Reading>,
    cycle: Option<Duration>,
}

impl Judge {
    /// The judge of a frame that is expected in this cycle, which may be off by so many percent.
    pub fn new(every: Duration, within: u8) -> Self {
        let off = every * u32::from(within) / 100;
        let late = every + off.max(FINEST);
        Self {
            every,
            timed: every >= TIMED,
            late,
            silent: late.max(every * 3 / 2 + PROMISE - TELLING),
            fast: every.saturating_sub(off),
            verdict: Verdict::Unknown,
            deadline: None,
            excused: false,
            gap: None,
            gap_frames: None,
            forgiven: None,
            window: VecDeque::new(),
            reading: None,
            seen: None,
            fresh: None,
            excused_at: None,
            settles: None,
            good: None,
            last: None,
            measured: None,
            cycle: None,
        }
    }

    /// The kernel is to report a frame that comes this long after the one before; `None`: only the first frame.
    pub fn timeout(&self) -> Option<Duration> {
        self.timed.then_some(self.late)
    }

    /// When the number of frames, read at `counted`, is to be read again. If readings are to have `costly` between them
    /// because they cost, it is put off, as far as silence and what is much too slow or fast is told in time all the same.
    pub fn due(&self, counted: Instant, costly: Duration) -> Instant {
        let pause = self.pause();
        let due = counted + pause.max(costly.min(self.longest_pause()));
        self.silent_at().map_or(due, |silent| due.min(silent.max(counted + PAUSE.0)))
    }

    /// How long the number of frames may go unread.
    fn pause(&self) -> Duration {
        if self.verdict == Verdict::Missed(Miss::Silent) {
            return PAUSE_SILENT;
        }
        (self.every / if self.timed { PER_CYCLE_TIMED } else { PER_CYCLE }).clamp(PAUSE.0, PAUSE.1)
    }

    /// How long it may go unread at most. With a pause P, a last frame at time 0 may be seen as late as P, and then seems to
    /// have come at P - `every` or later. So the silence begins at the later one of P - `every` + `silent` and P + `late`,
    /// and another reading, which is a little late itself, is needed to find that out.
    fn longest_pause(&self) -> Duration {
        let told = self.every * 3 / 2 + PROMISE - TELLING / 2;
        let seen = (told + self.every).saturating_sub(self.silent + TELLING / 4);
        seen.min(told.saturating_sub(self.late))
    }

    /// Without a timer: a reading without another frame means silence from then on. So long after the earliest time at which
    /// the last frame may have come that there is time to tell it, and long enough after the latest one.
    fn silent_at(&self) -> Option<Instant> {
        let listens = !self.timed && self.verdict != Verdict::Missed(Miss::Silent);
        let (seen, fresh) = self.seen.zip(self.fresh).filter(|_| listens)?;
        Some((seen + self.silent).max(fresh + self.late))
    }

    /// Whether the expectation is met, as far as is known.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// When the last frame was seen.
    pub fn last(&self) -> Option<Instant> {
        self.last
    }

    /// The real cycle, averaged over the last frames; `None` while there are none.
    pub fn cycle(&self) -> Option<Duration> {
        self.cycle.filter(|_| self.verdict != Verdict::Missed(Miss::Silent))
    }

    /// When to call [`Self::tick`].
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether the number of frames has to be read.
    pub fn counts(&self) -> bool {
        self.last.is_some() && (!self.timed || self.verdict != Verdict::Missed(Miss::Silent))
    }

    /// The kernel listens from now on, or listens elsewhere.
    pub fn listens(&mut self, now: Instant) {
        self.stop();
        // Silence that was told lasts until a frame comes.
        self.deadline = (self.verdict != Verdict::Missed(Miss::Silent)).then(|| now + self.silent);
    }

    /// There is no interface to listen on: nothing is known of frames from now on.
    pub fn stop(&mut self) {
        self.excused = false;
        (self.deadline, self.gap, self.gap_frames, self.forgiven) = (None, None, None, None);
        (self.good, self.measured, self.settles) = (None, None, None);
        (self.reading, self.seen, self.fresh) = (None, None, None);
        self.window.clear();
    }

    /// The sender cannot be there: its silence began now at the latest.
    pub fn left(&mut self, now: Instant) {
        let since = self.last.map_or(now, |last| last.max(now.checked_sub(self.late).unwrap_or(now)));
        let deadline = self.deadline.unwrap_or(since + self.silent);
        self.stop();
        self.deadline = (self.verdict != Verdict::Missed(Miss::Silent)).then_some(deadline);
    }

    /// The kernel says that no frame has come for `late`.
    pub fn overdue(&mut self, now: Instant) {
        let last = now.checked_sub(self.late).unwrap_or(now);
        (self.gap, self.gap_frames, self.good) = (Some(last), None, None);
        if self.verdict != Verdict::Missed(Miss::Silent) {
            self.deadline = Some(last + self.silent);
        }
        // The frame before was late, too: it is no accident.
        let again = self.forgiven.take().is_some_and(|at| last <= at + (self.every / 4).max(FINEST));
        if again && self.verdict == Verdict::Met {
            self.verdict = Verdict::Missed(Miss::Slow);
        }
    }

    /// The kernel says that a frame has come, the first one or the first after a silence.
    pub fn heard(&mut self, now: Instant) {
        self.deadline = None;
        self.last = Some(now);
        (self.reading, self.seen, self.fresh) = (None, Some(now), Some(now));
        if self.verdict == Verdict::Unknown {
            self.verdict = Verdict::Met;
        }
        self.excused = false;
        let gap = self.gap.take();
        if gap.is_none() && self.verdict == Verdict::Met {
            return;
        }
        self.gap_frames = None;
        self.window.clear();
        (self.good, self.measured) = (None, None);
        self.settles = Some(now + (self.every * 2).max(JITTER));
        let Some(last) = gap.filter(|_| self.verdict == Verdict::Met) else {
            // Not silent any more, and not yet well.
            self.verdict = Verdict::Missed(Miss::Slow);
            return;
        };
        let gap = now.saturating_duration_since(last);
        let second = gap + self.late;
        let has_time = second + TELLING / 2 <= self.every * 3 / 2 + PROMISE;
        match has_time || gap < self.every + JITTER {
            true => self.forgiven = Some(now),
            false => self.verdict = Verdict::Missed(Miss::Slow),
        }
    }

    /// The kernel counted so many frames at a time between `begun` and `ended`.
    pub fn counted(&mut self, begun: Instant, ended: Instant, frames: u64) {
        let now = Reading { begun, ended, frames };
        if !self.timed && self.falls_silent(now) {
            return;
        }
        if self.gap.is_some() {
            // Frames of the other kind, classic or FD, end the silence, too.
            if frames > *self.gap_frames.get_or_insert(frames) {
                self.heard(ended);
            }
            return;
        }
        if self.window.back().is_some_and(|last| frames > last.frames) {
            self.last = Some(ended);
        }
        if self.settles.is_some_and(|settled| begun < settled) {
            self.window.clear();
        } else if self.is_fast(&now) {
            self.verdict = Verdict::Missed(Miss::Fast);
            self.window.clear();
            self.good = Some(now);
        } else if !self.timed && self.is_slow(&now) {
            self.verdict = Verdict::Missed(Miss::Slow);
            self.window.clear();
            self.good = Some(now);
        }
        if self.window.len() == READINGS {
            self.window.pop_front();
        }
        self.window.push_back(now);
        self.measure(now);
        self.recover(now);
    }

    /// More frames than fit, even if the first and the last one came at the very ends.
    fn is_fast(&self, now: &Reading) -> bool {
        let jitter = (self.every / 4).min(JITTER / 2);
        self.window.iter().any(|since| {
            let frames = u32::try_from(now.frames.saturating_sub(since.frames)).unwrap_or(u32::MAX);
            frames >= 3
                && self.fast.saturating_mul(frames - 1)
                    > now.ended.saturating_duration_since(since.begun) + jitter
        })
    }

    /// Without a timer: whether no frame has come for too long, or until now.
    fn falls_silent(&mut self, now: Reading) -> bool {
        let before = self.reading.replace(now).filter(|before| now.frames > before.frames);
        if self.verdict == Verdict::Missed(Miss::Silent) {
            // The kernel reports only the first frame of all.
            if before.is_some() {
                self.heard(now.ended);
            }
            return true;
        }
        if let Some(before) = before {
            self.seen = Some(before.begun.max(now.ended.checked_sub(self.every).unwrap_or(now.ended)));
            self.fresh = Some(now.ended);
        }
        let silent = self.silent_at().is_some_and(|silent| now.begun >= silent);
        if silent {
            self.stop();
            self.reading = Some(now);
            self.verdict = Verdict::Missed(Miss::Silent);
        }
        silent
    }

    /// Without a timer: fewer frames than there must be, even if all came as late as allowed, the last one before the first
    /// reading and the next one after the second; or if one was later, where there is time to forgive that.
    fn is_slow(&self, now: &Reading) -> bool {
        let promise = self.every * 3 / 2 + PROMISE - TELLING / 2;
        let forgiven = promise.saturating_sub(self.late + self.pause()).max(JITTER).max(self.late);
        // After a longer gap it may be silent, which is another thing to tell.
        let longest = self.every + self.pause() * 2;
        let speaks = self.seen.is_some_and(|seen| now.begun.saturating_duration_since(seen) <= longest);
        let excused = |since: &&Reading| self.excused_at.is_none_or(|at| since.ended >= at);
        speaks
            && self.window.iter().filter(excused).any(|since| {
                let frames = u32::try_from(now.frames.saturating_sub(since.frames)).unwrap_or(u32::MAX);
                frames >= 1
                    && now.begun.saturating_duration_since(since.ended)
                        >= self.late.saturating_mul(frames).saturating_add(forgiven)
            })
    }

    fn measure(&mut self, now: Reading) {
        let since = *self.measured.get_or_insert(now);
        let frames = u32::try_from(now.frames.saturating_sub(since.frames)).unwrap_or(u32::MAX);
        let time = now.ended.saturating_duration_since(since.ended);
        if frames >= 10 && time >= Duration::from_millis(200) {
            self.cycle = Some(time / frames);
            self.measured = Some(now);
        } else if self.cycle.is_none() && frames >= 3 {
            self.cycle = Some(time / frames);
        }
    }

    fn recover(&mut self, now: Reading) {
        let Verdict::Missed(miss) = self.verdict else { return };
        let Some(since) = self.good else {
            self.good = Some(now);
            return;
        };
        let frames = now.frames.saturating_sub(since.frames);
        let needed = if miss == Miss::Fast || !self.timed { GOOD_RATE } else { GOOD };
        if frames < needed {
            return;
        }
        let frames = u32::try_from(frames).unwrap_or(u32::MAX);
        self.good = Some(now);
        let time = now.ended.saturating_duration_since(since.ended);
        let is_slow = !self.timed && time > self.late.saturating_mul(frames);
        if time >= self.fast.saturating_mul(frames) && !is_slow {
            self.verdict = Verdict::Met;
            self.forgiven = None;
        }
    }

    /// A deadline may have passed.
    pub fn tick(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.deadline = None;
            self.forgiven = None;
            self.verdict = Verdict::Missed(Miss::Silent);
        }
    }

    /// This program was not run for a while, so perhaps no other was: a deadline that passed meanwhile is put off once.
    pub fn excuse(&mut self, stall: Duration, now: Instant) {
        if !self.timed && self.excused_at.is_none_or(|at| now >= at + EXCUSES) {
            self.excused_at = Some(now);
            self.seen = self.seen.map(|seen| (seen + stall.min(STALL_MAX)).min(now));
        }
        if let Some(deadline) = self.deadline.filter(|deadline| *deadline <= now)
            && self.verdict != Verdict::Unknown
            && !std::mem::replace(&mut self.excused, true)
        {
            self.deadline = Some(deadline.max(now) + stall.min(STALL_MAX));
        }
    }
}

#[cfg(test)]
mod tests;
