//! Frames that come back. Two hosts whose adapters are on one wire, or that another tunnel connects, send each frame in
//! circles: one host sends it on the wire, the other hears it there and sends it to the first. Nothing in a CAN frame tells where
//! it has been. But what comes back is identical to what was sent a moment ago, and there is much of it.

use std::{collections::hash_map::RandomState, hash::BuildHasher as _, time::Duration};

use canhub::frames::CanAnyFrame;

use super::Moment;
use crate::parts::Parts;

/// A frame that is heard this soon after an identical one was sent to the bus may be that one.
const BACK_WITHIN: Duration = Duration::from_millis(50);
/// So many frames within [`WINDOW`] are a loop. A frame in a loop comes back up to 1,000 times per second, and on a slow
/// machine at least each [`BACK_WITHIN`], or it is not taken for the same.
const FRAMES: u32 = 10;
const WINDOW: Duration = Duration::from_millis(500);
/// For how long nothing is passed on, the first time.
const PAUSE: Duration = Duration::from_secs(10);
/// The same, after it has doubled with each loop.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// Without a loop for this long, the pause is short again.
const FORGIVEN: Duration = Duration::from_secs(600);
/// How many different frames are remembered: those of 50 ms at 20,000 frames/s. 32 KiB.
const REMEMBERED: usize = 1024;

/// A loop was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looped {
    /// When.
    pub since: Moment,
    /// Nothing is passed on before this.
    pub until: Moment,
    /// How many frames came back, and within what time.
    pub frames: u32,
    /// See `frames`.
    pub within: Duration,
}

/// The reason, for people.
impl std::fmt::Display for Looped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} frames that this host had sent to the bus came back within {} ms: the bus is connected to that of another \
             host a second time, by adapters on one wire or by another tunnel; nothing is passed on for {} s",
            self.frames,
            self.within.as_millis().max(1),
            self.until.since(self.since).as_secs(),
        )
    }
}

/// Watches one bus.
#[derive(Debug)]
pub struct LoopGuard {
    hasher: RandomState,
    /// By the hash of the frame. Empty until the first frame.
    injected: Vec<Injected>,
    window: Moment,
    came_back: u32,
    found: Option<Looped>,
    pause: Duration,
    looped: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Injected {
    hash: u64,
    last: Moment,
    /// How many have not come back.
    count: u32,
}

impl Default for LoopGuard {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            injected: Vec::new(),
            window: Moment(0),
            came_back: 0,
            found: None,
            pause: PAUSE,
            looped: 0,
        }
    }
}

impl LoopGuard {
    /// A frame of another host was sent to the bus.
    pub fn injected(&mut self, now: Moment, frame: &CanAnyFrame) {
        let Some(hash) = self.hash(frame) else { return };
        if self.injected.is_empty() {
            self.injected.resize(REMEMBERED, Injected::default());
        }
        let Some(slot) = slot(&mut self.injected, hash) else { return };
        let is_same = slot.hash == hash && now.since(slot.last) <= BACK_WITHIN;
        let count = if is_same { slot.count.saturating_add(1) } else { 1 };
        *slot = Injected { hash, last: now, count };
    }

    /// A frame was heard on the bus. Returns the loop if there is one as of now: until it ends, frames are passed on in neither
    /// direction ([`LoopGuard::stopped`]). If only this host stopped to inject, the other's frames would go on in circles.
    pub fn heard(&mut self, now: Moment, frame: &CanAnyFrame) -> Option<Looped> {
        if self.injected.is_empty() || self.stopped(now).is_some() {
            return None;
        }
        let hash = self.hash(frame)?;
        let slot = slot(&mut self.injected, hash)?;
        if slot.hash != hash || slot.count == 0 || now.since(slot.last) > BACK_WITHIN {
            return None;
        }
        slot.count -= 1;
        self.looped += 1;
        if now.since(self.window) > WINDOW {
            (self.window, self.came_back) = (now, 0);
        }
        self.came_back += 1;
        if self.came_back < FRAMES {
            return None;
        }
        let last = self.found.take();
        self.pause = match last {
            Some(last) if now.since(last.until) < FORGIVEN => (self.pause * 2).min(PAUSE_MAX),
            _ => PAUSE,
        };
        let within = now.since(self.window);
        let found = Looped { since: now, until: now + self.pause, frames: self.came_back, within };
        self.found = Some(found);
        self.came_back = 0;
        self.injected.fill(Injected::default());
        Some(found)
    }

    /// Nothing is passed on now, because of this loop. When its time is over, frames are passed on again, to see whether
    /// somebody has removed the second connection.
    pub fn stopped(&self, now: Moment) -> Option<&Looped> {
        self.found.as_ref().filter(|found| now < found.until)
    }

    /// How many frames came back, up to now. Never falls.
    pub fn looped(&self) -> u64 {
        self.looped
    }

    fn hash(&self, frame: &CanAnyFrame) -> Option<u64> {
        Parts::of(frame).ok().map(|parts| self.hasher.hash_one(parts))
    }
}

fn slot(injected: &mut [Injected], hash: u64) -> Option<&mut Injected> {
    injected.get_mut(hash as usize % REMEMBERED)
}

#[cfg(test)]
mod tests {
    use socketcan::EmbeddedFrame as _;

    use super::*;

    const MS: u64 = 1_000_000;

    fn frame(data: u32) -> CanAnyFrame {
        CanAnyFrame::new(socketcan::StandardId::new(0x100).unwrap(), &data.to_be_bytes()).unwrap()
    }

    #[test]
    fn a_loop_is_found_within_100_ms_and_ends_by_itself() {
        let mut guard = LoopGuard::default();
        let mut now = Moment(5000 * MS);
        let found = loop {
            guard.injected(now, &frame(1));
            now = now + Duration::from_millis(4);
            if let Some(found) = guard.heard(now, &frame(1)) {
                break found;
            }
            assert!(now < Moment(5100 * MS));
        };
        assert_eq!((found.until, found.frames), (now + PAUSE, FRAMES));
        assert_eq!(guard.stopped(now), Some(&found));
        assert_eq!(guard.stopped(now + PAUSE), None);
        assert!(
            found.to_string().contains("10 frames") && found.to_string().ends_with("for 10 s"),
            "{found}"
        );
    }

    #[test]
    fn a_loop_over_slow_machines_is_found_too() {
        let mut guard = LoopGuard::default();
        let mut now = Moment(5000 * MS);
        let mut rounds = 0;
        while guard.stopped(now).is_none() {
            guard.injected(now, &frame(1));
            now = now + Duration::from_millis(49);
            guard.heard(now, &frame(1));
            rounds += 1;
            assert!(rounds <= FRAMES, "it circles on");
        }
    }

    #[test]
    fn the_pause_doubles_while_the_loop_is_there_and_is_short_again_later() {
        let mut guard = LoopGuard::default();
        let mut looped_at = |now: Moment| {
            (0..FRAMES).for_each(|_| guard.injected(now, &frame(1)));
            let found = (0..FRAMES).find_map(|_| guard.heard(now, &frame(1))).unwrap();
            found.until
        };
        let mut now = Moment(0);
        for pause in [10, 20, 40, 80, 160, 300, 300] {
            let until = looped_at(now);
            assert_eq!(until, now + Duration::from_secs(pause));
            now = until;
        }
        now = now + FORGIVEN;
        assert_eq!(looped_at(now), now + PAUSE);
    }

    #[test]
    fn traffic_without_a_loop_is_not_one() {
        let mut guard = LoopGuard::default();
        for data in 0..100_000 {
            let now = Moment(u64::from(data) * MS / 8);
            guard.injected(now, &frame(data));
            // Others send frames that differ, and one answers the same each second.
            assert_eq!(guard.heard(now, &frame(data ^ 0x8000_0000)), None);
            if data % 8000 == 0 {
                assert_eq!(guard.heard(now, &frame(data)), None);
            }
        }
        assert_eq!(guard.looped(), 13);
    }

    #[test]
    fn each_frame_comes_back_once_and_soon_or_it_is_another() {
        let mut guard = LoopGuard::default();
        guard.injected(Moment(0), &frame(1));
        for now in 0..FRAMES {
            guard.heard(Moment(u64::from(now)), &frame(1));
        }
        assert_eq!(guard.looped(), 1);
        guard.injected(Moment(MS), &frame(2));
        guard.heard(Moment(52 * MS), &frame(2));
        assert_eq!(guard.looped(), 1);
    }
}
