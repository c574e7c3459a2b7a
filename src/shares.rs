//! Shares of a wire that is asked for more than it takes.
//!
//! Each container is paced as if it had the wire for itself ([`crate::pace`]). Several at once, frames that are longer
//! than reckoned, or other nodes on the wire exceed it, and the adapter's queue grows. The kernel has no back-pressure
//! across namespaces, so a task ([`crate::reconcile::share_wires`]) reads the queue some times a second, and this
//! controller tells how fast the senders may go on: one common limit for all that send much, so that the wire is
//! shared evenly, what one does not use is the others', and who sends little or nothing is not slowed down.
//!
//! The limit follows the queue. What came in less what the queue grew is what the wire took; the next inflow is to be
//! that, corrected so that the queue settles at a small part of its length. The limit rises again when the queue is
//! short, and is gone when it is no limit any more.

use std::time::Duration;

use crate::kernel::Gauge;

/// Where the queue is to settle, in frames: it keeps the wire busy between two readings. The rest of the queue holds what
/// comes until the first of them.
const SETTLED: f64 = 256.0;
/// The same as a part of a queue that somebody made shorter.
const SETTLED_PART: f64 = 1.0 / 16.0;
/// How long the queue may take to get there, in seconds: many readings, so that the limit does not swing.
const SETTLES_IN: f64 = 0.5;
/// The limit rises by no more than this factor from one reading to the next.
const RAISE: f64 = 1.25;
/// A change of the limit by less is not worth a change of qdiscs, each of which grants a burst.
const WORTH_IT: f64 = 0.04;
/// Who sends at least this part of what the busiest sends is slowed down with it.
const MUCH: f64 = 0.25;
/// What one sent counts less and less for this question; after so many seconds, for a third. On a machine that is short of
/// processors a sender may have to wait for one.
const FORGOTTEN_IN: f64 = 0.3;
/// The limit is at least this part of the highest rate: a sender makes its way, however slow the wire is.
const LEAST: f64 = 1.0 / 128.0;
/// In bit/s: the kernel paces in whole bytes per second.
const SLOWEST: u32 = 8;
/// A wire that takes nothing for so long, in seconds, is broken rather than busy: nobody acknowledges. The containers
/// are to hear each other all the same, so they are no longer slowed down, and what the adapter does not take is counted.
const STALLED: f64 = 1.0;

/// Limits those who send to one wire.
#[derive(Debug, Default)]
pub struct Limiter {
    /// The common limit in bit/s.
    limit: Option<f64>,
    before: Option<Gauge>,
    /// What each sent of late, in frames per second.
    lately: Vec<f64>,
    /// For how long it took nothing, in seconds.
    stalled: f64,
}

impl Limiter {
    /// The senders are others than before; the limit stays.
    pub fn forget_senders(&mut self) {
        self.before = None;
        self.lately.clear();
    }

    /// Takes in a reading of a wire whose queue holds `length` frames, `elapsed` after the one before. Returns the share
    /// of each sender in bit/s, `None` where it may send at its `ceilings`, which are in bit/s, too.
    pub fn read(
        &mut self,
        gauge: Gauge,
        elapsed: Duration,
        length: u32,
        ceilings: &[u32],
    ) -> Vec<Option<u32>> {
        let none = vec![None; ceilings.len()];
        let seconds = elapsed.as_secs_f64();
        let Some(before) = self.before.replace(gauge.clone()) else { return none };
        if seconds <= 0.0 || before.from.len() != ceilings.len() || gauge.from.len() != ceilings.len() {
            return none;
        }
        let senders = gauge.from.iter().zip(&before.from);
        let rates: Vec<f64> = senders.map(|(now, before)| grown(*before, *now) / seconds).collect();
        let fading = (-seconds / FORGOTTEN_IN).exp();
        self.lately.resize(rates.len(), 0.0);
        self.lately.iter_mut().zip(&rates).for_each(|(lately, rate)| *lately = rate.max(*lately * fading));
        let took = gauge.sent.saturating_sub(before.sent);
        self.stalled = if gauge.queued > 0 && took == 0 { self.stalled + seconds } else { 0.0 };
        let change = f64::from(gauge.queued) - f64::from(before.queued);
        self.limit =
            self.next_limit(&rates, change / seconds, f64::from(gauge.queued), f64::from(length), ceilings);
        let Some(limit) = self.limit else { return none };
        let busiest = self.lately.iter().copied().fold(0.0, f64::max);
        let share = |(rate, ceiling): (&f64, &u32)| {
            let slowed = *rate >= 1.0 && *rate >= busiest * MUCH && limit < f64::from(*ceiling);
            slowed.then_some((limit as u32).max(SLOWEST))
        };
        self.lately.iter().zip(ceilings).map(share).collect()
    }

    /// The limit that follows from what each sent and from the growth of the queue, in frames per second.
    fn next_limit(
        &self,
        rates: &[f64],
        growth: f64,
        queued: f64,
        length: f64,
        ceilings: &[u32],
    ) -> Option<f64> {
        let most = ceilings.iter().copied().max().map(f64::from)?;
        let settled = SETTLED.min(length * SETTLED_PART);
        if self.stalled >= STALLED || (self.limit.is_none() && queued <= settled) {
            return None;
        }
        let total: f64 = rates.iter().sum();
        let surplus = growth + (queued - settled) / SETTLES_IN;
        let wanted = (total - surplus).max(0.0);
        let factor = match total > 0.0 {
            true if wanted < total => level(rates, wanted) / rates.iter().copied().fold(0.0, f64::max),
            true => (wanted / total).min(RAISE),
            false => RAISE,
        };
        let now = self.limit.unwrap_or(most);
        let next = (now * factor).max(most * LEAST);
        if next >= most {
            return None;
        }
        let is_worth_it = self.limit.is_none() || (next / now - 1.0).abs() >= WORTH_IT;
        Some(if is_worth_it { next } else { now })
    }
}

fn grown(before: Option<u64>, now: Option<u64>) -> f64 {
    before.zip(now).map_or(0.0, |(before, now)| now.saturating_sub(before) as f64)
}

/// The level at which these rates have to be cut off for their sum to be `wanted`, which is less than it is.
fn level(rates: &[f64], wanted: f64) -> f64 {
    let mut rising = rates.to_vec();
    rising.sort_by(f64::total_cmp);
    let mut left = wanted;
    for (position, rate) in rising.iter().enumerate() {
        let share = left / (rising.len() - position) as f64;
        if *rate >= share {
            return share;
        }
        left -= rate;
    }
    wanted
}

#[cfg(test)]
mod tests;
