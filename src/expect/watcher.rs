//! The thread of the task `expectations`.
//!
//! It sleeps until the kernel has news, frames are to be counted, or a deadline passes. It is a thread of its own because it
//! wakes several times per cycle: a turn then takes four system calls, and in the runtime four times as many.

mod bind;
mod senders;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{PipeReader, Read as _},
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::Notify;
use tracing::{debug, warn};

use super::{Judge, Miss, Verdict, finder::Finder, listener::Listener, watch::News, watched::Watched};
use crate::{
    health::Health, kernel::wait_readable, manager::Handle, names::NetworkId, status::ExpectationState,
};

/// What is shown is renewed this often.
const REFRESH: Duration = Duration::from_secs(2);
/// For so long after a container has joined, its name may not be known yet.
const SOON: Duration = Duration::from_secs(10);
/// A timer that is later than this means that the machine stood still.
const STALL: Duration = Duration::from_millis(10);
/// How long news may wait; a small part of what is left for telling.
const CROWD: Duration = Duration::from_millis(3);

/// Where the thread gets news: a byte in the pipe for each.
pub(super) struct Inbox {
    pub(super) bell: PipeReader,
    pub(super) news: mpsc::Receiver<News>,
}

/// Watches all expectations until nobody can send it news any more. It asks for a search with `search`.
pub(super) fn run(manager: Handle, health: Arc<Health>, search: Arc<Notify>, mut inbox: Inbox) {
    let mut now = Instant::now();
    let mut watcher = Watcher::new(manager, health, search, now);
    loop {
        watcher.search(now);
        let wake = watcher.wake();
        let (has_news, rings) = watcher.sleep(inbox.bell.as_fd(), wake, now);
        if has_news {
            // News come in crowds if a machine stood still; they are read together.
            thread::sleep(CROWD);
        }
        now = Instant::now();
        let stall = wake.map_or(Duration::ZERO, |wake| now.saturating_duration_since(wake));
        if rings && inbox.bell.read(&mut [0; 64]).unwrap_or(0) == 0 {
            return;
        }
        while let Ok(news) = inbox.news.try_recv() {
            watcher.take_in(news, now);
        }
        now = watcher.work(stall, now, false);
    }
}

/// Everything that is watched.
struct Watcher {
    manager: Handle,
    health: Arc<Health>,
    watched: Vec<Watched>,
    /// By interface and class.
    listeners: BTreeMap<(u32, u32), Listener>,
    finders: Vec<Finder>,
    members: BTreeMap<u32, (NetworkId, String)>,
    /// When to renew what is shown.
    refresh: Instant,
    /// When to find out again where to listen.
    search_at: Option<Instant>,
    eager_until: Instant,
    /// Whether somebody is finding it out.
    searching: bool,
    search: Arc<Notify>,
}

impl Watcher {
    fn new(manager: Handle, health: Arc<Health>, search: Arc<Notify>, now: Instant) -> Self {
        Self {
            manager,
            health,
            watched: Vec::new(),
            listeners: BTreeMap::new(),
            finders: Vec::new(),
            members: BTreeMap::new(),
            refresh: now,
            search_at: Some(now),
            eager_until: now,
            searching: false,
            search,
        }
    }

    /// Has it found out where to listen, if it is time for that.
    fn search(&mut self, now: Instant) {
        if !self.searching && self.search_at.is_some_and(|at| at <= now) {
            (self.search_at, self.searching) = (None, true);
            self.search.notify_one();
        }
    }

    /// Sleeps until the kernel has news, the bell rings, or `wake`. Returns whether the kernel has, and whether it rings.
    fn sleep(&mut self, bell: BorrowedFd<'_>, wake: Option<Instant>, now: Instant) -> (bool, bool) {
        let mut files = vec![bell];
        files.extend(self.listeners.values().map(AsFd::as_fd));
        files.extend(self.finders.iter().flat_map(Finder::files));
        let timeout = wake.map(|wake| wake.saturating_duration_since(now));
        let ready = wait_readable(&files, timeout).unwrap_or_else(|err| {
            warn!(%err, "could not wait for news of expected frames; looks for them");
            thread::sleep(CROWD);
            // Not the bell: to read a silent one takes for ever.
            let is_bell = |at| at == 0;
            (0..files.len()).map(|at| !is_bell(at)).collect()
        });
        let (bell, others) = ready.split_first().map_or((false, &[][..]), |(bell, others)| (*bell, others));
        for (listener, ready) in self.listeners.values_mut().zip(others) {
            listener.is_ready = *ready;
        }
        (others.contains(&true), bell)
    }

    /// When to wake up at the latest.
    fn wake(&self) -> Option<Instant> {
        let counts =
            self.listeners.values().filter(|listener| self.counts(listener)).map(|listener| listener.due);
        let deadlines = self.watched.iter().filter_map(Watched::deadline);
        let finders = self.finders.iter().map(|finder| finder.until);
        let search = self.search_at.filter(|_| !self.searching);
        let refresh = (!self.watched.is_empty()).then_some(self.refresh);
        counts.chain(deadlines).chain(finders).chain(search).chain(refresh).min()
    }

    /// Whether any of its frames can be counted.
    fn counts(&self, listener: &Listener) -> bool {
        listener.wanted.values().any(|by| self.watched.get(*by).is_some_and(|one| one.judge.counts()))
    }

    fn take_in(&mut self, news: News, now: Instant) {
        match news {
            News::Moved { named } => {
                self.search_at = Some(now);
                if !named {
                    self.eager_until = now + SOON;
                }
            }
            News::Changed => {
                self.search_at = Some(now);
                // It is not told of containers that join while nothing is expected.
                self.eager_until = now + SOON;
            }
            News::Found(found) => {
                self.searching = false;
                self.bind(found, now);
            }
        }
    }

    /// Takes in everything that happened, judges and tells. `all`: also asks sockets that have no news, whether they
    /// still hear anything. `stall`: how late that is. Returns the time after: in some guests each look at the clock is a
    /// system call, and there are thousands of turns per minute.
    fn work(&mut self, stall: Duration, mut now: Instant, all: bool) -> Instant {
        if stall > STALL {
            self.watched.iter_mut().for_each(|one| one.judge.excuse(stall, now));
        }
        let mut overdue = Vec::new();
        let mut lost = Vec::new();
        for (key, listener) in &mut self.listeners {
            let judges =
                || listener.wanted.values().filter_map(|by| self.watched.get(*by)).map(|one| &one.judge);
            let decides = judges().any(|judge| judge.deadline().is_some_and(|deadline| deadline <= now));
            let due = listener.due <= now && judges().any(Judge::counts);
            let ready = listener.is_ready;
            if !(ready || decides || due || all) {
                continue;
            }
            let watched = &mut self.watched;
            let mut read = || {
                listener.news(|by, heard| {
                    let Some(one) = watched.get_mut(by) else { return };
                    match heard {
                        true => one.judge.heard(now),
                        false => {
                            one.judge.overdue(now);
                            overdue.push(by);
                        }
                    }
                })
            };
            if (ready || all)
                && let Err(err) = read()
            {
                debug!(%err, "an interface that was listened to is gone");
                lost.push(*key);
                continue;
            }
            if ready {
                // What was silent may not be any more.
                listener.set_pace(|by| Some(&self.watched.get(by)?.judge));
            }
            if due || decides && listener.is_stale(now) {
                let watched = &mut self.watched;
                let counted = listener.count(now, |by, begun, ended, frames| {
                    if let Some(one) = watched.get_mut(by) {
                        let before = one.judge.verdict();
                        one.judge.counted(begun, ended, frames);
                        let is_silent = |verdict| verdict == Verdict::Missed(Miss::Silent);
                        if is_silent(one.judge.verdict()) && !is_silent(before) {
                            overdue.push(by);
                        }
                    }
                });
                listener.set_pace(|by| Some(&self.watched.get(by)?.judge));
                match counted {
                    Ok(ended) => now = ended,
                    Err(err) => {
                        warn!(%err, "expected frames could not be counted; will listen anew");
                        lost.push(*key);
                    }
                }
            }
        }
        if !lost.is_empty() && !all {
            self.search_at = Some(now);
        }
        for key in lost {
            self.listeners.remove(&key);
            self.watched.iter_mut().filter(|one| one.key == Some(key)).for_each(|one| one.loses_ear(now));
        }
        for by in overdue {
            self.search_sender(by, now);
        }
        self.find_senders(now);
        for one in &mut self.watched {
            one.judge.tick(now);
        }
        self.tell(now);
        now
    }

    /// Tells what has changed, and renews what is shown from time to time.
    fn tell(&mut self, now: Instant) {
        let refresh = now >= self.refresh;
        let mut today = None;
        let mut news: BTreeSet<String> = BTreeSet::new();
        for one in &mut self.watched {
            if one.judge.verdict() == Verdict::Met {
                one.elsewhere = None;
            }
            let changed = one.has_news(now);
            if changed || refresh {
                let today = *today.get_or_insert_with(SystemTime::now);
                let mut known = one.state(now, today);
                if known.state == ExpectationState::Down {
                    known.reason +=
                        &self.manager.on_purpose(&one.expectation.bus, one.expectation.from.as_deref());
                }
                self.manager.expectations().know(&one.component, known);
            }
            if changed {
                news.insert(one.component.clone());
            }
        }
        if refresh {
            self.refresh = now + REFRESH;
            self.search_senders(now);
        }
        let (events, known) = (self.manager.events(), self.manager.expectations());
        if refresh {
            self.health.take_in_expectations(events, &known.report());
        } else if !news.is_empty() {
            self.health.take_in_changed(events, &known.report_of(|component| news.contains(component)));
        }
    }
}
