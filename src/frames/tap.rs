//! The tap: the frames of one bus, each exactly once, with its sender.
//!
//! It costs nothing while nobody uses it, and it cannot disturb the bus: it is a socket that listens, nothing else.

mod attribution;
mod interfaces;

use std::{
    collections::VecDeque,
    time::{Duration, Instant, SystemTime},
};

use super::{
    Bus, Record, Sender, Timestamp,
    ids::{IdSet, Pattern},
};
use crate::{
    frames::CanAnyFrame,
    kernel::{Filter, Heard, KernelError, Listener},
};
use attribution::{Attribution, Source};
use interfaces::Interfaces;

/// How many frames are read before a caller gets them.
const READ_MAX: usize = 4096;
/// How often the daemon is asked while frames wait for a name.
const ASK_SOON: Duration = Duration::from_millis(100);
/// How often it is asked else, while it has something to tell.
const ASK_LATER: Duration = Duration::from_secs(5);
/// `CAN_EFF_FLAG`: an extended ID.
const EXTENDED: u32 = 0x8000_0000;

/// Which frames of a bus are wanted.
#[derive(Debug, Clone, Default)]
pub struct TapOptions {
    /// Those with these IDs; `None`: all.
    pub ids: Option<IdSet>,
    /// Those of this sender; `None`: of all.
    pub from: Option<Sender>,
}

/// A tap on a bus. Everything it uses ends with it.
pub struct Tap {
    bus: Bus,
    options: TapOptions,
    listener: Listener,
    interfaces: Interfaces,
    attribution: Attribution,
    /// The frames of the last read.
    heard: Vec<Heard>,
    /// Frames that wait for the name of their sender, and those behind them.
    held: VecDeque<Held>,
    asked: Option<Instant>,
    /// The time of the last frame, of any interface.
    last_heard: Timestamp,
}

struct Held {
    time: u64,
    source: Source,
    frame: CanAnyFrame,
}

impl Tap {
    /// Taps a bus. Frames from now on are read.
    ///
    /// # Errors
    /// If the kernel has no CAN sockets, or the interfaces cannot be listed.
    pub fn open(bus: Bus, options: TapOptions) -> Result<Self, KernelError> {
        let filters = options.ids.as_ref().map(filters);
        let mut tap = Self {
            listener: Listener::open(filters.as_deref())?,
            interfaces: Interfaces::new(bus.network().clone(), bus.hub().map(str::to_owned), bus.is_told()),
            bus,
            options,
            attribution: Attribution::default(),
            heard: Vec::new(),
            held: VecDeque::new(),
            asked: None,
            last_heard: Timestamp(0),
        };
        tap.look(Instant::now())?;
        Ok(tap)
    }

    /// The bus.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// The members that are on the bus now.
    pub fn members(&self) -> Vec<Sender> {
        self.interfaces.senders()
    }

    /// Waits for frames, at most this long, and appends those that are there, in the order in which the kernel delivered
    /// them. Returns how many frames of all CAN interfaces of the host were lost since the last call, because this was
    /// called too rarely.
    ///
    /// Frames of a container that was just started may come some seconds late, with those behind them, until Docker has
    /// told its name.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(&mut self, timeout: Duration, records: &mut Vec<Record>) -> Result<u64, KernelError> {
        let waits = if self.held.is_empty() { timeout } else { timeout.min(ASK_SOON) };
        self.listener.wait(waits)?;
        let (mut lost, mut read) = (0, 0);
        loop {
            self.heard.clear();
            self.listener.receive(&mut self.heard)?;
            let now = Instant::now();
            self.look(now)?;
            if self.heard.is_empty() {
                let new = self.listener.lost_since()?;
                self.attribution.note_lost(new, Timestamp::from(SystemTime::now()).0);
                lost += u64::from(new);
            }
            for heard in &self.heard {
                self.last_heard = Timestamp(heard.time);
                // Also if this frame is of another bus: the lost ones may have been of this one.
                self.attribution.note_lost(heard.lost, heard.time);
                lost += u64::from(heard.lost);
                let Some(place) = self.interfaces.place(heard.interface) else { continue };
                let Some(source) = self.attribution.source(place, heard) else { continue };
                if self.options.ids.as_ref().is_none_or(|ids| ids.contains(&heard.frame)) {
                    self.held.push_back(Held { time: heard.time, source, frame: heard.frame });
                }
            }
            self.release(now, records);
            // Not the records: frames of other buses, or of other senders, could keep this busy for ever.
            read += self.heard.len();
            if self.heard.is_empty() || read >= READ_MAX {
                return Ok(lost);
            }
        }
    }

    /// Appends what the kernel has delivered until now, and what still waits for a name. Returns the losses, like
    /// [`read`](Self::read).
    ///
    /// # Errors
    /// The kernel's.
    pub fn finish(&mut self, records: &mut Vec<Record>) -> Result<u64, KernelError> {
        let now = Timestamp::from(SystemTime::now());
        let mut lost = 0;
        // The bus may never be silent.
        loop {
            let before = self.last_heard;
            lost += self.read(Duration::ZERO, records)?;
            if self.last_heard == before || self.last_heard > now {
                break;
            }
        }
        self.interfaces.stop_waiting();
        self.release(Instant::now(), records);
        while records.last().is_some_and(|record| record.time > now) {
            records.pop();
        }
        Ok(lost)
    }

    /// Learns what became of the links, and asks the daemon for what it may know about them.
    fn look(&mut self, now: Instant) -> Result<(), KernelError> {
        let mut hub_changed = false;
        let news = self.listener.links()?;
        let is_new = !news.is_empty();
        for news in news {
            hub_changed |= self.interfaces.learn(news, now);
        }
        let interval = if is_new || !self.held.is_empty() { ASK_SOON } else { ASK_LATER };
        let is_time = self.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= interval);
        if is_time && self.bus.is_told() && self.interfaces.has_questions() {
            if let Some(status) = self.bus.ask() {
                hub_changed |= self.interfaces.name(&status, now);
            }
            // From the answer, not from the question: frames must be read between two if the daemon hangs.
            self.asked = Some(Instant::now());
        }
        if hub_changed {
            self.attribution.set_adapter(self.interfaces.adapter());
        }
        Ok(())
    }

    /// Passes on the frames that wait for nothing.
    fn release(&mut self, now: Instant, records: &mut Vec<Record>) {
        while let Some(held) = self.held.front() {
            if self.interfaces.awaits_name(held.source, now) {
                return;
            }
            let sender = self.interfaces.sender(held.source);
            if self.options.from.as_ref().is_none_or(|from| *from == sender) {
                records.push(Record { time: Timestamp(held.time), sender, frame: held.frame });
            }
            self.held.pop_front();
        }
    }
}

/// Filters for the kernel; a frame passes at most one of them.
fn filters(ids: &IdSet) -> Vec<Filter> {
    let filter =
        |flag: u32| move |pattern: &Pattern| Filter { id: pattern.id | flag, mask: pattern.mask | EXTENDED };
    let standard = ids.patterns(false).iter().map(filter(0));
    standard.chain(ids.patterns(true).iter().map(filter(EXTENDED))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_tell_standard_from_extended_ids() {
        let ids: IdSet = "123 00000123".parse().unwrap();
        let of_extended = filters(&ids).into_iter().filter(|filter| filter.id & EXTENDED != 0);
        assert_eq!(of_extended.count(), 1);
        assert!(filters(&ids).iter().all(|filter| filter.mask & EXTENDED != 0 && filter.id & 0x7ff == 0x123));
    }
}
