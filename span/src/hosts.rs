//! Which other hosts there are, who of them is online, and who is refused.
//!
//! A host is online while it says hello: from the first one that is accepted until its connection is gone or three hellos
//! are missing. One that was never heard is never online. What is known of a host outlives its connection, this program and
//! the fleet list, until somebody forgets it, or nobody has heard it for `FORGOTTEN_AFTER`.

mod file;
mod refusals;
mod view;

use std::{collections::BTreeMap, time::Duration};

use canhub::span::protocol::{Refused, UnixSeconds};

use crate::{
    engine::Link,
    fleet::List,
    flow::{Moment, PeerClock},
    hello::{Hello, Refusal},
};

use refusals::{RefusedSince, Twin, UnreachableSince, second};

pub use file::{Record, load};
pub use view::Known;

/// Between two hellos of a host.
pub const HELLO: Duration = Duration::from_millis(500);
/// Without a hello for this long, a host is offline, whatever its connection says.
const SILENT: Duration = Duration::from_millis(1600);
/// A refusal that is not repeated for this long is over.
const REFUSED_FOR: Duration = Duration::from_secs(30);
/// The same of an address that is not reached: an attempt takes up to 2.5 s, and the next one begins 0.5 s later.
const UNREACHABLE_FOR: Duration = Duration::from_secs(10);
/// Two hosts that others hear, and that do not hear each other for this long, do not connect again by themselves.
const APART: Duration = Duration::from_secs(2);
/// The same reason is told to the refused host this often.
const TELL_AGAIN: Duration = Duration::from_secs(5);
/// Refusals that are remembered at once. Whoever has no certificate can cause some, one per address.
const REFUSED_MAX: usize = 64;
/// A host that was not heard for this long is no longer listed.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(90 * 86_400);

/// The time, by both clocks that are needed here.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// By the clock that nobody sets.
    pub moment: Moment,
    /// By the wall clock.
    pub wall: UnixSeconds,
}

/// What happened to a host, to be logged and acted upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is online (again).
    Online(String),
    /// It is offline, for this reason.
    Offline(String, &'static str),
    /// It says that it leaves the fleet.
    Left(String),
    /// It was refused, for a reason that is new.
    Refused(Refused),
    /// Tell it that.
    Tell(Refusal),
    /// It is not reached, for a reason that is new.
    Unreachable {
        /// Its `ADDRESS:PORT`.
        address: String,
        /// Why.
        reason: String,
    },
}

/// Another host.
#[derive(Debug, Default)]
struct Host {
    record: Record,
    online: bool,
    links: Vec<Link>,
    /// The last hello that was accepted, and when it came.
    hello: Option<(Hello, Moment)>,
    /// The run of its `canhub-span` that was heard last; 0: none.
    instance: u64,
    /// Since when others hear it, and this host does not.
    apart: Option<Moment>,
    clock: PeerClock,
}

/// All other hosts.
#[derive(Debug)]
pub struct Hosts {
    own: String,
    /// Of this host's certificate.
    serial: String,
    instance: u64,
    started: Moment,
    list: List,
    hosts: BTreeMap<String, Host>,
    refused: BTreeMap<String, RefusedSince>,
    /// Addresses that could not be reached.
    unreachable: BTreeMap<String, UnreachableSince>,
    twin: Option<Twin>,
}

/// Whether the frames of a host on a span are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// They are.
    Accepted,
    /// They are not: [`Hosts::refused_on`] says why.
    Refused,
    /// It has not said hello.
    Unheard,
}

impl Hosts {
    /// For the host `own` with the certificate of this serial number, whose run is this `instance`. `records` is what the
    /// last run knew.
    pub fn new(
        own: &str,
        serial: &str,
        instance: u64,
        now: Now,
        list: List,
        records: BTreeMap<String, Record>,
    ) -> Self {
        let known = |(name, record)| (name, Host { record, ..Host::default() });
        let mut hosts = Self {
            own: own.to_owned(),
            serial: serial.to_owned(),
            instance,
            started: now.moment,
            list,
            hosts: records.into_iter().map(known).collect(),
            refused: BTreeMap::new(),
            unreachable: BTreeMap::new(),
            twin: None,
        };
        hosts.add_listed(now);
        hosts
    }

    /// There is a newer fleet list, or another certificate of this host; or `leave` and `join` made it another host.
    pub fn set_list(&mut self, list: List, own: &str, serial: &str, now: Now) {
        if own != self.own || list.fleet != self.list.fleet {
            let now = Now { moment: self.started, ..now };
            *self = Self::new(own, serial, self.instance, now, list, BTreeMap::new());
            return;
        }
        self.list = list;
        self.serial = serial.to_owned();
        self.refused.clear();
        self.add_listed(now);
    }

    fn add_listed(&mut self, now: Now) {
        for host in &self.list.hosts {
            let name = host.name.as_str();
            if name != self.own && !self.hosts.contains_key(name) {
                let record = Record { since: now.wall, ..Record::default() };
                self.hosts.insert(name.to_owned(), Host { record, ..Host::default() });
            }
        }
    }

    /// A host is connected. It is online once it says hello.
    pub fn connected(&mut self, link: Link, now: Now) -> Vec<Change> {
        let refusal = self.list.refusal(&link.host, &link.serial, None, seconds(now.wall));
        let mut changes = Vec::new();
        if let Some(reason) = refusal {
            self.refuse(&link.host, reason.clone(), now, &mut changes);
            self.tell(&link, reason, now, &mut changes);
        }
        self.unreachable.remove(&link.address);
        if link.host != self.own {
            self.entry(&link.host, now).links.push(link);
        }
        changes
    }

    /// A connection is gone.
    pub fn disconnected(&mut self, link: &Link, now: Now) -> Vec<Change> {
        let Some(host) = self.hosts.get_mut(&link.host) else { return Vec::new() };
        let had = !host.links.is_empty();
        host.links.retain(|known| known.session != link.session);
        let mut changes = Vec::new();
        if had && host.links.is_empty() {
            offline(&link.host, host, now, "its connection is gone", &mut changes);
            // Whatever runs there next is not a second one.
            host.hello = None;
        }
        changes
    }

    /// All connections are gone, because this host closed them.
    pub fn all_disconnected(&mut self, now: Now) -> Vec<Change> {
        let mut changes = Vec::new();
        for (name, host) in &mut self.hosts {
            host.links.clear();
            offline(name, host, now, "this host reopens its connections", &mut changes);
            host.hello = None;
        }
        changes
    }

    /// A host said hello.
    pub fn heard(&mut self, name: &str, payload: &[u8], now: Now) -> Vec<Change> {
        let mut changes = Vec::new();
        let hello = match Hello::decode(payload) {
            Ok(hello) => hello,
            Err(why) => {
                self.refuse(name, format!("{name} is refused: {why}"), now, &mut changes);
                return changes;
            }
        };
        if name == self.own {
            self.heard_twin(&hello, now, &mut changes);
            return changes;
        }
        let own = self.instance;
        let host = self.entry(name, now);
        if let Some((last, at)) = &host.hello
            && last.instance != hello.instance
            && now.moment.since(*at) < SILENT
        {
            let uptime = last.uptime_ms.saturating_add(millis(now.moment.since(*at)));
            if hello.uptime_ms < uptime {
                // Both have the name: nobody can tell which connection is whose.
                let addresses: Vec<&str> = host.links.iter().map(|link| &*link.address).collect();
                let addresses = match addresses.is_empty() {
                    true => "addresses unknown".to_owned(),
                    false => addresses.join(" and "),
                };
                let reason = second(name, &addresses);
                self.refuse(name, reason.clone(), now, &mut changes);
                self.tell_instance(name, &hello, reason, now, &mut changes);
                return changes;
            }
        }
        host.record.heard = Some(now.wall);
        host.record.forgotten = false;
        if hello.leaving {
            if !host.record.left {
                host.record.left = true;
                changes.push(Change::Left(name.to_owned()));
            }
            offline(name, host, now, "it left the fleet", &mut changes);
            return changes;
        }
        host.record.left = false;
        // A run that ended goes on as the same instance in the next one.
        let is_of_last = |last: &Hello| last.instance == hello.instance && last.uptime_ms <= hello.uptime_ms;
        let is_new = host.hello.as_ref().is_none_or(|(last, _)| !is_of_last(last));
        if is_new || !host.online {
            host.clock.up(now.moment, hello.instance);
        }
        if let Some(pong) = hello.answer_to(own) {
            host.clock.answered(now.moment, own, &pong);
        }
        if is_new && host.online {
            // It has started again before anybody noticed that it was gone.
            offline(name, host, now, "it started again", &mut changes);
        }
        if !host.online {
            host.online = true;
            host.record.since = now.wall;
            changes.push(Change::Online(name.to_owned()));
        }
        host.instance = hello.instance;
        host.hello = Some((hello, now.moment));
        changes
    }

    /// To be called at least each [`HELLO`].
    pub fn tick(&mut self, now: Now) -> Vec<Change> {
        let mut changes = Vec::new();
        for (name, host) in &mut self.hosts {
            if let Some((_, at)) = &host.hello
                && now.moment.since(*at) > SILENT
            {
                offline(name, host, now, "it says nothing, though it is connected", &mut changes);
            }
        }
        self.refused.retain(|_, refused| now.moment.since(refused.last) < REFUSED_FOR);
        self.unreachable.retain(|_, failed| now.moment.since(failed.last) < UNREACHABLE_FOR);
        if self.twin.as_ref().is_some_and(|twin| now.moment.since(twin.heard) > SILENT) {
            self.twin = None;
        }
        // A host without rights stays connected. It may not have listened yet when it was told why.
        let connected: Vec<Link> = self.hosts.values().flat_map(|host| &host.links).cloned().collect();
        for link in connected {
            if let Some(reason) = self.list.refusal(&link.host, &link.serial, None, seconds(now.wall)) {
                self.refuse(&link.host, reason.clone(), now, &mut changes);
                self.tell(&link, reason, now, &mut changes);
            }
        }
        self.hosts.retain(|name, host| {
            let heard = host.record.heard.unwrap_or(host.record.since);
            let is_listed = self.list.host(name).is_some();
            let is_kept = is_listed || !host.links.is_empty() || host.online;
            is_kept || now.wall.saturating_sub(heard) < FORGOTTEN_AFTER.as_secs()
        });
        changes
    }

    /// Somebody no longer wants to see it. Returns whether it was known.
    pub fn forget(&mut self, name: &str) -> bool {
        let Some(host) = self.hosts.get_mut(name) else { return false };
        if host.online {
            return true;
        }
        if self.list.host(name).is_some() {
            host.record = Record { forgotten: true, since: host.record.since, ..Record::default() };
        } else {
            self.hosts.remove(name);
        }
        self.refused.remove(name);
        true
    }

    /// Whether the frames of a host on a span are wanted. `bus` is this host's bus on it.
    pub fn admission(&self, span: &str, host: &str, bus: &BusHere<'_>) -> Admission {
        let Some((hello, _)) =
            self.hosts.get(host).filter(|host| host.online).and_then(|host| host.hello.as_ref())
        else {
            return Admission::Unheard;
        };
        match self.is_second() || self.refusal_on(span, host, hello, bus).is_some() {
            true => Admission::Refused,
            false => Admission::Accepted,
        }
    }

    /// A host that was connected, is not any more, and that others still hear. The engine connects again only to the addresses
    /// in the settings, and to hosts that it hears of anew: this connection may stay lost.
    pub fn apart(&mut self, now: Moment) -> Option<String> {
        let heard: Vec<u64> = self
            .hosts
            .values()
            .filter(|host| host.online)
            .filter_map(|host| host.hello.as_ref())
            .flat_map(|(hello, _)| hello.echoes.iter().map(|echo| echo.instance))
            .collect();
        let mut found = None;
        for (name, host) in &mut self.hosts {
            let is_apart =
                !host.online && host.links.is_empty() && !host.record.left && heard.contains(&host.instance);
            if !is_apart {
                host.apart = None;
                continue;
            }
            let since = *host.apart.get_or_insert(now);
            // One of both is enough.
            let patience = if *self.own < **name { APART } else { APART * 3 };
            if now.since(since) >= patience {
                found = Some(name.clone());
            }
        }
        found
    }

    /// A hello is sent now. Returns when the next one is due: soon, while the clock of a host is not known well.
    pub fn says_hello(&mut self, now: Moment) -> Moment {
        let mut next = now + HELLO;
        for host in self.hosts.values_mut().filter(|host| host.online) {
            host.clock.ping(now, self.instance);
            next = host.clock.ping_due().map_or(next, |due| due.min(next));
        }
        next
    }

    /// When the next hello is due for the clock of a host that has just come.
    pub fn hello_due(&self) -> Option<Moment> {
        self.hosts.values().filter_map(|host| host.clock.ping_due()).min()
    }

    /// Whether a connected host has an older fleet list, or does not say which.
    pub fn wants_list(&self) -> bool {
        let is_behind = |hello: &Option<(Hello, Moment)>| {
            hello.as_ref().is_none_or(|(hello, _)| hello.list < self.list.version)
        };
        let is_listed = |name: &String| self.list.host(name).is_some();
        self.hosts
            .iter()
            .any(|(name, host)| !host.links.is_empty() && is_listed(name) && is_behind(&host.hello))
    }

    fn entry(&mut self, name: &str, now: Now) -> &mut Host {
        self.hosts.entry(name.to_owned()).or_insert_with(|| Host {
            record: Record { since: now.wall, ..Record::default() },
            ..Host::default()
        })
    }
}

/// What matters of this host's bus for whom it accepts.
#[derive(Debug, Clone, Copy)]
pub struct BusHere<'a> {
    /// The adapter that carries it, if one does.
    pub adapter: Option<&'a str>,
    /// Whether other hosts may have adapters, too.
    pub bridge: bool,
}

fn offline(name: &str, host: &mut Host, now: Now, why: &'static str, changes: &mut Vec<Change>) {
    if host.online {
        host.online = false;
        host.record.since = now.wall;
        host.clock.down();
        changes.push(Change::Offline(name.to_owned(), why));
    }
}

fn seconds(wall: UnixSeconds) -> i64 {
    i64::try_from(wall).unwrap_or(i64::MAX)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
