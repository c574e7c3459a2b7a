//! The tap: the frames of one bus, each exactly once, with its sender.
//!
//! It costs nothing while nobody uses it, and it cannot disturb the bus: it is a socket that listens, nothing else.

mod account;
mod allowed;
mod attribution;
mod interfaces;

use std::{
    collections::VecDeque,
    thread::{self, JoinHandle, sleep},
    time::{Duration, Instant, SystemTime},
};

use super::{Bus, Record, Sender, Timestamp, ids::IdSet};
use crate::{
    frames::CanAnyFrame,
    kernel::{Heard, KernelError, Listener},
    status::BusStatus,
};
use account::Account;
pub use account::Lost;
use allowed::Allowed;
use attribution::{Attribution, Place, Source};
use interfaces::Interfaces;

/// How many frames are read before a caller gets them.
const READ_MAX: usize = 4096;
/// How often the daemon is asked while frames wait for a name.
const ASK_SOON: Duration = Duration::from_millis(100);
/// How often it is asked else: containers are renamed.
const ASK_LATER: Duration = Duration::from_secs(5);
/// An echo on a virtual hub comes within a millisecond.
const ECHO_TIME: Duration = Duration::from_millis(20);

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
    allowed: Allowed,
    attribution: Attribution,
    account: Account,
    /// The frames of the last read.
    heard: Vec<Heard>,
    /// Frames that wait for the name of their sender, and those behind them.
    held: VecDeque<Held>,
    asked: Option<Instant>,
    /// A question whose answer nothing waits for.
    asking: Option<JoinHandle<Option<BusStatus>>>,
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
        let filters = options.ids.as_ref().map(IdSet::filters);
        let mut tap = Self {
            listener: Listener::open(filters.as_deref())?,
            interfaces: Interfaces::new(bus.network().clone(), bus.hub().map(str::to_owned), bus.is_told()),
            bus,
            options,
            allowed: Allowed::default(),
            attribution: Attribution::default(),
            account: Account::default(),
            heard: Vec::new(),
            held: VecDeque::new(),
            asked: None,
            asking: None,
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

    /// How many frames were lost since the tap was opened, because it was read too slowly. Exact on a virtual hub
    /// while only members send, and other buses are silent.
    pub fn lost(&self) -> Lost {
        self.account.lost(self.attribution.missing_echoes())
    }

    /// Waits for frames, at most this long, and appends those that are there, in the order in which the kernel delivered
    /// them. Returns how many messages were lost since the last call, because this was called too rarely: those of all CAN
    /// interfaces of the host, so no more frames of this bus. [`lost`](Self::lost) says how many.
    ///
    /// Frames of a container that was just started may come some seconds late, with those behind them, until Docker has
    /// told its name.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(&mut self, timeout: Duration, records: &mut Vec<Record>) -> Result<u64, KernelError> {
        let waits = if self.held.is_empty() { timeout } else { timeout.min(ASK_SOON) };
        let has_news = self.listener.wait(waits)?;
        let mut now = Instant::now();
        if has_news || !self.held.is_empty() || self.asked_is_old(now) || self.has_answer() {
            self.look(now)?;
        }
        let (mut lost, mut read) = (0, 0);
        loop {
            self.heard.clear();
            let is_drained = self.listener.receive(&mut self.heard)?;
            // The event of a new link precedes its frames.
            if self.heard.iter().any(|heard| !self.interfaces.is_known(heard.interface)) {
                now = Instant::now();
                self.look(now)?;
            }
            lost += self.attribute(now);
            self.release(now, records);
            // Not the records: frames of other buses, or of other senders, could keep this busy for ever.
            read += self.heard.len();
            if is_drained || read >= READ_MAX {
                break;
            }
        }
        if read == 0 {
            let new = self.listener.lost_since()?;
            self.attribution.note_lost(new, Timestamp::from(SystemTime::now()).0);
            lost += u64::from(new);
        }
        self.account.lose(lost);
        Ok(lost)
    }

    /// Finds the senders of the frames that were heard. Returns how many messages were lost before them.
    fn attribute(&mut self, now: Instant) -> u64 {
        let mut lost = 0;
        for heard in &self.heard {
            self.last_heard = Timestamp(heard.time);
            // Also if this frame is of another bus: the lost ones may have been of this one.
            self.attribution.note_lost(heard.lost, heard.time);
            lost += u64::from(heard.lost);
            let Some(place) = self.interfaces.place(heard.interface) else {
                self.account.hear_foreign();
                continue;
            };
            // It was never on the bus, so it has no echo either.
            let exists = |index| self.interfaces.exists(index);
            if self.interfaces.is_filtered(heard.interface)
                && !self.allowed.passes(heard.interface, &heard.frame, now, exists)
            {
                self.account.hear_foreign();
                continue;
            }
            let Some(source) = self.attribution.source(place, heard) else { continue };
            if !matches!(source, Source::Member(_)) {
                self.account.hear_others();
            }
            if self.options.ids.as_ref().is_none_or(|ids| ids.contains(&heard.frame)) {
                self.held.push_back(Held { time: heard.time, source, frame: heard.frame });
            }
        }
        lost
    }

    /// Appends what the kernel has delivered until now, and what still waits for a name. Returns what [`read`](Self::read)
    /// does. Use it last.
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
        if self.lost() != Lost::default() {
            // For the echoes that are under way.
            sleep(ECHO_TIME);
            lost += self.read(Duration::ZERO, records)?;
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
        if is_new {
            self.allowed.links_changed(now);
        }
        for news in news {
            hub_changed |= self.interfaces.learn(news, now);
        }
        if self.has_answer()
            && let Some(Ok(Some(status))) = self.asking.take().map(JoinHandle::join)
        {
            hub_changed |= self.interfaces.name(&status, now);
        }
        let is_old = self.asked_is_old(now);
        if (is_new || !self.held.is_empty() || is_old) && self.may_ask(now) {
            if let Some(status) = self.bus.ask() {
                hub_changed |= self.interfaces.name(&status, now);
            }
            // From the answer, not from the question: frames must be read between two if the daemon hangs.
            self.asked = Some(Instant::now());
        } else if is_old {
            self.asked = Some(now);
            if self.bus.is_told() && self.asking.is_none() {
                // A daemon that hangs must not keep frames from being read.
                self.asking = Some(thread::spawn(self.bus.question()));
            }
        }
        if hub_changed {
            let hub = self.interfaces.hub();
            if matches!(hub, Some((Place::Adapter, _))) {
                self.account.note_adapter();
            }
            self.attribution.set_hub(hub);
        }
        Ok(())
    }

    /// Whether the daemon can be asked for something, and was not asked just now.
    fn may_ask(&self, now: Instant) -> bool {
        let is_time = self.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= ASK_SOON);
        is_time && self.bus.is_told() && self.interfaces.has_questions()
    }

    fn has_answer(&self) -> bool {
        self.asking.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Whether the daemon was not asked for long.
    fn asked_is_old(&self, now: Instant) -> bool {
        self.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= ASK_LATER)
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
