//! The task `expectations`.
//!
//! It sleeps until the kernel has news, frames are to be counted, or a deadline passes. Where to listen is found out on
//! another thread, because that may block, and again after every event that changes who is on a bus.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant, SystemTime},
};

use tokio::time::{sleep, sleep_until};
use tracing::{debug, warn};

use super::{
    Judge, Miss, Verdict,
    finder::Finder,
    listener::{Listener, class, ids},
    watched::Watched,
};
use crate::{
    error::Error,
    events::{FeedItem, Kind, Reader},
    health::Health,
    kernel::{BcmId, refused},
    manager::{Ears, Handle, Manager, Place},
    names::NetworkId,
    status::ExpectationState,
};

/// What is shown is renewed this often.
const REFRESH: Duration = Duration::from_secs(2);
/// While something cannot be heard, where to listen is found out this often, and more often after a container has
/// joined: its name comes a moment later.
const RETRY: Duration = Duration::from_secs(2);
const RETRY_SOON: Duration = Duration::from_millis(200);
const SOON: Duration = Duration::from_secs(10);
/// A timer that is later than this means that the machine stood still.
const STALL: Duration = Duration::from_millis(10);
/// How long news may wait; a small part of what is left for telling.
const CROWD: Duration = Duration::from_millis(3);
/// Who sends a frame instead of a container is asked this often.
const SEARCHES: Duration = Duration::from_secs(5);
/// For so many frames at a time: each search opens a socket per member.
const FINDERS: usize = 4;

/// The search for the interfaces, on another thread.
type Search = Pin<Box<dyn Future<Output = Option<Result<Ears, Error>>> + Send>>;

/// Watches all expectations forever.
pub async fn watch(manager: Handle, health: Arc<Health>) {
    let mut events = manager.events().listen(0);
    let now = Instant::now();
    let mut watcher = Watcher {
        manager,
        health,
        watched: Vec::new(),
        listeners: BTreeMap::new(),
        finders: Vec::new(),
        members: BTreeMap::new(),
        refresh: now,
        search_at: Some(now),
        eager_until: now,
    };
    let mut search: Option<Search> = None;
    loop {
        if search.is_none() && watcher.search_at.is_some_and(|at| at <= Instant::now()) {
            watcher.search_at = None;
            let manager = watcher.manager.clone();
            search = Some(Box::pin(async move { manager.run(Manager::ears).await.ok() }));
        }
        let wake = watcher.wake(search.is_some());
        tokio::select! {
            biased;
            // News come in crowds if a machine stood still; they are read together.
            () = poll_fn(|context| watcher.poll(context)) => sleep(CROWD).await,
            found = async { match &mut search { Some(search) => search.await, None => std::future::pending().await } } => {
                search = None;
                watcher.bind(found);
            }
            () = watcher.manager.expectations().changed() => watcher.search_at = Some(Instant::now()),
            joined = until_moved(&mut events) => watcher.moved(joined),
            () = sleep_until(wake.into()) => {}
        }
        watcher.work(wake, false);
    }
}

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
}

impl Watcher {
    /// Whether the kernel has news. All sockets have to be asked, so that each wakes the task.
    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut any = false;
        for listener in self.listeners.values() {
            any |= listener.poll(context).is_ready();
        }
        for finder in &self.finders {
            any |= finder.poll(context).is_ready();
        }
        if any { Poll::Ready(()) } else { Poll::Pending }
    }

    /// When to wake up at the latest.
    fn wake(&self, searching: bool) -> Instant {
        let counts =
            self.listeners.values().filter(|listener| self.counts(listener)).map(|listener| listener.due);
        let deadlines = self.watched.iter().filter_map(Watched::deadline);
        let finders = self.finders.iter().map(|finder| finder.until);
        let search = self.search_at.filter(|_| !searching);
        let soonest = counts.chain(deadlines).chain(finders).chain(search).min();
        soonest.map_or(self.refresh, |soonest| soonest.min(self.refresh))
    }

    /// Whether any of its frames can be counted.
    fn counts(&self, listener: &Listener) -> bool {
        listener.wanted.values().any(|by| self.watched.get(*by).is_some_and(|one| one.judge.counts()))
    }

    /// Something happened that may change where to listen.
    fn moved(&mut self, joined: bool) {
        let now = Instant::now();
        self.search_at = Some(now);
        if joined {
            self.eager_until = now + SOON;
        }
    }

    /// Takes in everything that happened, judges and tells. `all`: also asks sockets that have no news, whether they
    /// still hear anything. `wake`: when that was due at the latest.
    fn work(&mut self, wake: Instant, all: bool) {
        // In some guests each look at the clock is a system call, and there are thousands of turns per minute.
        let now = Instant::now();
        let stall = now.saturating_duration_since(wake);
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
            let ready = listener.poll(&mut Context::from_waker(Waker::noop())).is_ready();
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
            if due || decides && listener.is_stale(now) {
                let watched = &mut self.watched;
                let counted = listener.count(|by, begun, ended, frames| {
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
                if let Err(err) = counted {
                    warn!(%err, "expected frames could not be counted; will listen anew");
                    lost.push(*key);
                }
            }
        }
        let now = Instant::now();
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
    }

    /// Asks who else sends what is expected from one container.
    fn search_sender(&mut self, by: usize, now: Instant) {
        let Some(one) = self.watched.get_mut(by).filter(|one| one.expectation.from.is_some()) else { return };
        let busy = self.finders.len() >= FINDERS;
        if busy || one.searched.is_some_and(|last| now < last + SEARCHES) {
            return;
        }
        one.searched = Some(now);
        let network = one.network.clone();
        let members = self.members.iter().filter(|(_, (of, _))| Some(of) == network.as_ref());
        let members = members.map(|(index, (_, name))| (*index, name.as_str()));
        self.finders.push(Finder::start(&one.expectation, members, now));
    }

    /// Asks the same for what has been silent for longer.
    fn search_senders(&mut self, now: Instant) {
        let silent =
            |one: &Watched| one.judge.verdict() == Verdict::Missed(Miss::Silent) && one.elsewhere.is_none();
        let silent: Vec<usize> = (0..self.watched.len()).filter(|by| silent(&self.watched[*by])).collect();
        for by in silent {
            self.search_sender(by, now);
        }
    }

    fn find_senders(&mut self, now: Instant) {
        let watched = &mut self.watched;
        self.finders.retain_mut(|finder| {
            let Some(who) = finder.found() else { return now < finder.until };
            if let Some(one) = watched.iter_mut().find(|one| one.component == finder.component) {
                one.elsewhere = Some(who);
            }
            false
        });
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

    /// Listens where everything can be heard now.
    fn bind(&mut self, found: Option<Result<Ears, Error>>) {
        let now = Instant::now();
        let ears = match found {
            Some(Ok(ears)) => ears,
            failed => {
                if let Some(Err(err)) = failed {
                    warn!(%err, "could not find out where to listen for expected frames; will retry");
                }
                self.search_at = Some(now + RETRY);
                return;
            }
        };
        // While each socket still knows what it listened for.
        self.work(Instant::now(), true);
        self.members = ears.members;
        let mut places = ears.places;
        let mut old = std::mem::take(&mut self.watched);
        for expectation in self.manager.expectations().all() {
            let known = old.iter().position(|one| one.expectation == expectation);
            let mut one = known.map_or_else(|| Watched::new(expectation), |at| old.swap_remove(at));
            if let Some((network, place)) = places.remove(&one.component) {
                one.moves(network, place, now);
            }
            self.watched.push(one);
        }
        self.listen(now);
        let soon = now < self.eager_until;
        let unheard = |one: &Watched| one.key.is_none();
        if self.search_at.is_none() && (self.watched.iter().any(unheard) || soon && ears.unnamed) {
            self.search_at = Some(now + if soon { RETRY_SOON } else { RETRY });
        }
        // Health shall not keep what does not exist any more.
        self.refresh = now;
    }

    fn listen(&mut self, now: Instant) {
        let mut wanted: BTreeMap<(u32, u32), Vec<(BcmId, usize)>> = BTreeMap::new();
        for (by, one) in self.watched.iter().enumerate() {
            let Some(Place::At { index, fd }) = one.place else { continue };
            let key = (index, class(one.expectation.every));
            wanted.entry(key).or_default().extend(ids(&one.expectation, fd).map(|id| (id, by)));
        }
        self.listeners.retain(|key, listener| {
            let Some(wanted) = wanted.get(key) else { return false };
            listener.retain(|id| wanted.iter().any(|(other, _)| *other == id));
            true
        });
        for (key, wanted) in wanted {
            let listener = match self.listeners.remove(&key) {
                Some(listener) => Ok(listener),
                None => Listener::open(key.0, now),
            };
            let bound = listener.and_then(|mut listener| {
                for (id, by) in &wanted {
                    let Some(one) = self.watched.get(*by) else { continue };
                    listener.listen(*id, *by, one.judge.timeout(), one.key != Some(key))?;
                }
                Ok(listener)
            });
            let mut ones: Vec<usize> = wanted.iter().map(|(_, by)| *by).collect();
            ones.dedup();
            match bound {
                Ok(mut listener) => {
                    listener.set_pace(|by| Some(&self.watched.get(by)?.judge));
                    self.listeners.insert(key, listener);
                    for by in ones {
                        if let Some(one) = self.watched.get_mut(by).filter(|one| one.key != Some(key)) {
                            one.gets_ear(key, now);
                        }
                    }
                }
                Err(err) => {
                    let gone = err.kind() == std::io::ErrorKind::NotFound || refused::is_gone(&err);
                    self.eager_until = if gone { now + SOON } else { self.eager_until };
                    for by in ones {
                        let Some(one) = self.watched.get_mut(by) else { continue };
                        one.loses_ear(now);
                        one.refused = (!gone).then(|| refusal(&err));
                    }
                }
            }
        }
    }
}

fn refusal(err: &std::io::Error) -> String {
    match refused::is_unsupported(err) {
        true => format!(
            "this kernel has no can-bcm ({err}): `modprobe can-bcm`, or install the package that contains it"
        ),
        false => err.to_string(),
    }
}

/// Resolves when something happens that may change where to listen.
///
/// True if a name is to be learnt yet.
async fn until_moved(events: &mut Reader) -> bool {
    loop {
        let kind = match events.next().await {
            Some(FeedItem::Event(entry)) => entry.event.kind,
            Some(FeedItem::Missed { .. }) => return true,
            // canhub is stopping.
            None => std::future::pending().await,
        };
        match kind {
            Kind::Joined | Kind::NetworkCreated => return true,
            Kind::Left
            | Kind::Healed
            | Kind::NetworkDeleted
            | Kind::AdapterAppeared
            | Kind::AdapterVanished
            | Kind::EndpointCollected
            | Kind::NetworkCollected
            | Kind::Adopted => return false,
            _ => {}
        }
    }
}
