//! Who sent a frame: from the interface that received it, what the kernel says about it, and what came before.
//!
//! | received on | sent by |
//! |---|---|
//! | the host end of a member | the member; if it was sent on this interface, a program of the host |
//! | the hub, sent on it | a program of the host |
//! | the hub, else | nobody: an echo of a member's frame, which was received on its host end before |
//! | an adapter, else | the wire, unless it is an echo |
//!
//! An adapter echoes what it has sent, and nothing tells the echo of a member's frame from a frame of the wire but that
//! an equal frame was received on a host end before. So each frame of a member is expected to come back once, for as long
//! as it may wait in the adapter's queue. If a member and a node of the wire send equal frames at the same time, both are
//! told, but perhaps in the other order.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use crate::{
    frames::CanAnyFrame,
    kernel::{Heard, Link},
};

/// Bits of a frame that the adapter sends, at most, relative to its bitrate: 64 bytes at the nominal bitrate, stuffed.
const FRAME_BITS: u64 = 720;
/// Used for an adapter that does not tell its bitrate, in bit/s: the slowest one in use.
const SLOWEST: u32 = 10_000;
/// For the way through the kernel, on a host that is busy.
const DELAY: Duration = Duration::from_secs(1);
/// An echo waits no longer than this: nobody waits for a frame for so long.
const PATIENCE_MAX: Duration = Duration::from_secs(60);
/// Frames that may be between the host ends and the adapter's queue: `netdev_max_backlog`, as large as canhub sets it.
const BACKLOG: usize = 1 << 16;

/// What an interface is on a bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The host end of the member with this number.
    Member(usize),
    /// A vcan.
    VirtualHub,
    /// A hub with a wire.
    Adapter,
}

/// The sender of a frame; members by their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Member(usize),
    Host,
    Wire,
    Unknown,
}

/// The frames of one bus, one after another.
#[derive(Debug, Default)]
pub(super) struct Attribution {
    /// How long echoes may take; `None` without an adapter.
    adapter: Option<Limits>,
    has_virtual_hub: bool,
    echoes: Echoes,
    /// Frames that must have an echo, minus the echoes.
    missing: i64,
    /// Until this time, frames of the wire may be echoes of frames that were lost.
    doubtful_until: u64,
}

/// What may wait on the way to the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limits {
    /// In nanoseconds.
    patience: u64,
    frames: usize,
}

impl Attribution {
    /// Sets the hub; `None` if there is none. Nothing reaches one that is down.
    pub(super) fn set_hub(&mut self, hub: Option<(Place, &Link)>) {
        let hub = hub.filter(|(_, link)| link.up);
        self.has_virtual_hub = matches!(hub, Some((Place::VirtualHub, _)));
        let adapter = hub.filter(|(place, _)| *place == Place::Adapter);
        let limits = adapter.map(|(_, link)| {
            let timing = link.controller.as_ref().and_then(|controller| controller.timing.as_ref());
            let bitrate = timing.map_or(SLOWEST, |timing| timing.bitrate.max(1));
            let queued = u64::from(link.txqueuelen) * FRAME_BITS * 1_000_000 / u64::from(bitrate);
            let patience = (DELAY + Duration::from_micros(queued)).min(PATIENCE_MAX);
            Limits { patience: patience.as_nanos() as u64, frames: link.txqueuelen as usize + BACKLOG }
        });
        // Not when it goes: its last echoes may still be queued.
        if self.adapter.is_none() {
            self.echoes = Echoes::default();
        }
        self.adapter = limits;
    }

    /// Takes note that so many frames were lost until this time: frames of members may be among them.
    pub(super) fn note_lost(&mut self, frames: u32, time: u64) {
        if let (true, Some(limits)) = (frames > 0, self.adapter) {
            self.doubtful_until = time.saturating_add(limits.patience);
        }
    }

    /// Who sent a frame that was received there; `None` if it is an echo of a frame that was received before.
    pub(super) fn source(&mut self, place: Place, heard: &Heard) -> Option<Source> {
        match (place, heard.by_host) {
            (Place::Member(member), by_host) => {
                // On a bus with an adapter, no rule carries error frames of a member.
                if let (Some(limits), false) = (self.adapter, matches!(heard.frame, CanAnyFrame::Error(_))) {
                    self.echoes.expect(heard.time, heard.frame, limits);
                    self.missing += 1;
                }
                self.missing += i64::from(self.has_virtual_hub);
                Some(if by_host { Source::Host } else { Source::Member(member) })
            }
            (Place::VirtualHub | Place::Adapter, true) => Some(Source::Host),
            (Place::VirtualHub, false) => {
                self.missing -= 1;
                None
            }
            (Place::Adapter, false) => match self.echoes.take(heard.time, &heard.frame, self.adapter) {
                true => {
                    self.missing -= 1;
                    None
                }
                false if heard.time < self.doubtful_until => Some(Source::Unknown),
                false => Some(Source::Wire),
            },
        }
    }

    /// How many frames of members were heard that must have an echo, minus the echoes that were heard. Those that are
    /// under way are missing, too.
    pub(super) fn missing_echoes(&self) -> i64 {
        self.missing
    }
}

/// The frames of members that the adapter has yet to echo.
#[derive(Debug, Default)]
struct Echoes {
    /// All that were expected, the oldest first, with their time. Those that came are still here.
    order: VecDeque<(u64, CanAnyFrame)>,
    /// The numbers of those that have not come, the oldest first. The first one in `order` is number `first`.
    awaited: HashMap<CanAnyFrame, VecDeque<u64>>,
    first: u64,
}

impl Echoes {
    fn expect(&mut self, time: u64, frame: CanAnyFrame, limits: Limits) {
        self.forget(time, limits);
        self.awaited.entry(frame).or_default().push_back(self.first + self.order.len() as u64);
        self.order.push_back((time, frame));
    }

    /// Whether this frame is one of them. It is no longer expected then.
    fn take(&mut self, time: u64, frame: &CanAnyFrame, limits: Option<Limits>) -> bool {
        if let Some(limits) = limits {
            self.forget(time, limits);
        }
        let came = self.awaited.get_mut(frame).and_then(VecDeque::pop_front);
        self.drop_if_empty(frame);
        came.is_some()
    }

    /// Removes those that will not come any more: rules, queues and drivers may drop frames.
    fn forget(&mut self, now: u64, limits: Limits) {
        while let Some((time, frame)) = self.order.front().copied() {
            if now.saturating_sub(time) <= limits.patience && self.order.len() <= limits.frames {
                return;
            }
            if let Some(numbers) = self.awaited.get_mut(&frame)
                && numbers.front() == Some(&self.first)
            {
                numbers.pop_front();
            }
            self.drop_if_empty(&frame);
            self.order.pop_front();
            self.first += 1;
        }
    }

    fn drop_if_empty(&mut self, frame: &CanAnyFrame) {
        if self.awaited.get(frame).is_some_and(VecDeque::is_empty) {
            self.awaited.remove(frame);
        }
    }
}

#[cfg(test)]
mod tests;
