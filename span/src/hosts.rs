//! Which other hosts there are, who of them is online, and who is refused.
//!
//! A host is online while it says hello: from the first one that is accepted until its connection is gone or three hellos
//! are missing. One that was never heard is never online. What is known of a host outlives its connection, this program and
//! the fleet list, until somebody forgets it, or nobody has heard it for `FORGOTTEN_AFTER`.

mod file;

use std::{collections::BTreeMap, time::Duration};

use canhub::span::protocol::{Refused, UnixSeconds};

use crate::{
    engine::Link,
    fleet::List,
    flow::{Moment, PeerClock},
    hello::{Echo, Hello, Refusal},
};

pub use file::{Record, load};

/// Between two hellos of a host.
pub const HELLO: Duration = Duration::from_millis(500);
/// Without a hello for this long, a host is offline, whatever its connection says.
const SILENT: Duration = Duration::from_millis(1600);
/// A refusal that is not repeated for this long is over.
const REFUSED_FOR: Duration = Duration::from_secs(30);
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

/// Why somebody is refused.
#[derive(Debug)]
struct RefusedSince {
    reason: String,
    last: Moment,
    told: Option<Moment>,
}

/// A second host of this one's name.
#[derive(Debug)]
struct Twin {
    started_earlier: bool,
    heard: Moment,
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
    /// Why an address could not be reached; told once.
    unreachable: BTreeMap<String, String>,
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

/// What is known of a host, for the status.
#[derive(Debug)]
pub struct Known<'a> {
    /// Its name.
    pub name: &'a str,
    /// What outlives its connection.
    pub record: &'a Record,
    /// Whether it is online on the span.
    pub online: bool,
    /// The address of its connection.
    pub address: Option<&'a str>,
    /// What it said last.
    pub hello: Option<&'a Hello>,
    /// Its clock.
    pub clock: &'a PeerClock,
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

    /// There is a newer fleet list, or another certificate of this host.
    pub fn set_list(&mut self, list: List, serial: &str, now: Now) {
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

    /// The fleet list.
    pub fn list(&self) -> &List {
        &self.list
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
            let uptime = last.uptime_ms + millis(now.moment.since(*at));
            if hello.uptime_ms < uptime {
                let address = host.links.last().map_or("unknown", |link| &link.address).to_owned();
                let reason = second(name, &address);
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
        let is_new = host.hello.as_ref().is_none_or(|(last, _)| last.instance != hello.instance);
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

    fn heard_twin(&mut self, hello: &Hello, now: Now, changes: &mut Vec<Change>) {
        if hello.instance == self.instance {
            return;
        }
        let uptime = millis(now.moment.since(self.started));
        let started_earlier = hello.uptime_ms > uptime;
        self.twin = Some(Twin { started_earlier, heard: now.moment });
        let name = self.own.clone();
        let reason = second(&name, "see its log");
        if !started_earlier {
            self.tell_instance(&name, hello, reason.clone(), now, changes);
        }
        self.refuse(&name, reason, now, changes);
    }

    /// Another host says that this one is refused.
    pub fn refused_by(&mut self, by: &str, refusal: &Refusal, now: Now) -> Vec<Change> {
        let mut changes = Vec::new();
        let is_meant =
            refusal.instance.map_or(refusal.serial == self.serial, |instance| instance == self.instance);
        if refusal.host == self.own && is_meant {
            self.refuse(by, format!("{by} refuses this host: {}", refusal.reason), now, &mut changes);
        }
        changes
    }

    /// A connection from or to this address was not made.
    pub fn not_connected(&mut self, address: Option<&str>, reason: &str, now: Now) -> Vec<Change> {
        let mut changes = Vec::new();
        let (who, reason) = match address {
            Some(address) => (address, format!("cannot connect to {address}: {reason}")),
            None => ("unknown host", format!("a connection was refused: {reason}")),
        };
        self.refuse(who, reason, now, &mut changes);
        changes
    }

    /// The host with this address could not be reached: it is off, or the network between is.
    pub fn unreachable(&mut self, address: String, reason: String) -> Vec<Change> {
        if self.unreachable.get(&address) == Some(&reason) || self.unreachable.len() >= REFUSED_MAX {
            return Vec::new();
        }
        self.unreachable.insert(address.clone(), reason.clone());
        vec![Change::Unreachable { address, reason }]
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

    /// The run of a host's `canhub-span` that is accepted.
    pub fn instance(&self, host: &str) -> Option<u64> {
        self.hosts.get(host)?.hello.as_ref().map(|(hello, _)| hello.instance)
    }

    /// The clock of a host.
    pub fn clock(&self, host: &str) -> Option<&PeerClock> {
        self.hosts.get(host).map(|host| &host.clock)
    }

    /// Why a host that has a bus on this span is refused on it.
    fn refusal_on(&self, span: &str, host: &str, hello: &Hello, bus: &BusHere<'_>) -> Option<String> {
        if !self.list.may(host, span) {
            let serial =
                self.list.host(host)?.certificates.first().map(|certificate| certificate.serial.clone())?;
            return self.list.refusal(host, &serial, Some(span), 0);
        }
        let on = hello.on(span)?;
        match (&on.adapter, bus.adapter) {
            (Some(theirs), Some(ours)) if !(on.bridge && bus.bridge) => Some(format!(
                "{host} has the adapter {theirs} on span {span}, and this host has {ours}: two adapters on one bus. \
                 If both wires are to be one bus, set span-bridge=on on both networks"
            )),
            _ => None,
        }
    }

    /// The hosts that are refused on a span, of those that are online there.
    pub fn refused_on(&self, span: &str, bus: &BusHere<'_>) -> Vec<Refused> {
        let online = self.hosts.iter().filter(|(_, host)| host.online);
        online
            .filter_map(|(name, host)| {
                let (hello, _) = host.hello.as_ref()?;
                hello.on(span)?;
                let reason = self.refusal_on(span, name, hello, bus)?;
                Some(Refused { host: name.clone(), reason })
            })
            .collect()
    }

    /// Hosts and addresses that are refused on all spans.
    pub fn refused(&self) -> Vec<Refused> {
        let refused = |(who, refused): (&String, &RefusedSince)| Refused {
            host: who.clone(),
            reason: refused.reason.clone(),
        };
        self.refused.iter().map(refused).collect()
    }

    /// Why this host can do nothing at all.
    pub fn problem(&self) -> Option<String> {
        self.is_second().then(|| second(&self.own, "see `canhub hosts` there"))
    }

    /// Why this host may not use a span, by its own fleet list.
    pub fn own_refusal(&self, span: &str, wall: UnixSeconds) -> Option<String> {
        self.list.refusal(&self.own, &self.serial, Some(span), seconds(wall))
    }

    /// Another host has this one's name, and had it first.
    pub fn is_second(&self) -> bool {
        self.twin.as_ref().is_some_and(|twin| twin.started_earlier)
    }

    /// The hosts that are online on a span and accepted there.
    pub fn online_on(&self, span: &str, bus: &BusHere<'_>) -> Vec<String> {
        let online = self.hosts.iter().filter(|(name, host)| {
            host.online
                && host.hello.as_ref().is_some_and(|(hello, _)| hello.on(span).is_some())
                && self.admission(span, name, bus) == Admission::Accepted
        });
        online.map(|(name, _)| name.clone()).collect()
    }

    /// The hosts to be listed for a span: those that may use it, and those that do.
    pub fn known_on(&self, span: &str) -> impl Iterator<Item = Known<'_>> {
        self.hosts.iter().filter_map(move |(name, host)| {
            let hello = host.hello.as_ref().map(|(hello, _)| hello);
            let is_on = hello.is_some_and(|hello| hello.on(span).is_some());
            let was_listed = host.record.heard.is_some() && self.list.host(name).is_none();
            let listed = is_on || was_listed || self.list.may(name, span);
            (listed && !host.record.forgotten).then(|| Known {
                name,
                record: &host.record,
                online: host.online && is_on,
                address: host.links.last().map(|link| &*link.address),
                hello,
                clock: &host.clock,
            })
        })
    }

    /// The echoes of a hello.
    pub fn echoes(&self, now: Moment) -> Vec<Echo> {
        let fresh = self.hosts.values().filter_map(|host| host.hello.as_ref());
        fresh
            .filter(|(_, at)| now.since(*at) < SILENT)
            .map(|(hello, at)| Echo { instance: hello.instance, sent: hello.sent, received: at.0 })
            .collect()
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

    /// What is to be kept, by name.
    pub fn records(&self) -> BTreeMap<&str, &Record> {
        let kept = self.hosts.iter().filter(|(_, host)| host.record.heard.is_some() || host.record.forgotten);
        kept.map(|(name, host)| (&**name, &host.record)).collect()
    }

    fn entry(&mut self, name: &str, now: Now) -> &mut Host {
        self.hosts.entry(name.to_owned()).or_insert_with(|| Host {
            record: Record { since: now.wall, ..Record::default() },
            ..Host::default()
        })
    }

    fn refuse(&mut self, who: &str, reason: String, now: Now, changes: &mut Vec<Change>) {
        if let Some(known) = self.refused.get_mut(who)
            && known.reason == reason
        {
            known.last = now.moment;
            return;
        }
        if self.refused.len() >= REFUSED_MAX && !self.refused.contains_key(who) {
            return;
        }
        changes.push(Change::Refused(Refused { host: who.to_owned(), reason: reason.clone() }));
        self.refused.insert(who.to_owned(), RefusedSince { reason, last: now.moment, told: None });
    }

    fn tell(&mut self, link: &Link, reason: String, now: Now, changes: &mut Vec<Change>) {
        let refusal =
            Refusal { host: link.host.clone(), serial: link.serial.clone(), instance: None, reason };
        self.tell_now(refusal, now, changes);
    }

    fn tell_instance(
        &mut self,
        name: &str,
        hello: &Hello,
        reason: String,
        now: Now,
        changes: &mut Vec<Change>,
    ) {
        let refusal =
            Refusal { host: name.to_owned(), serial: String::new(), instance: Some(hello.instance), reason };
        self.tell_now(refusal, now, changes);
    }

    fn tell_now(&mut self, refusal: Refusal, now: Now, changes: &mut Vec<Change>) {
        let Some(known) = self.refused.get_mut(&refusal.host) else { return };
        if known.told.is_none_or(|told| now.moment.since(told) > TELL_AGAIN) {
            known.told = Some(now.moment);
            changes.push(Change::Tell(refusal));
        }
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

fn second(name: &str, address: &str) -> String {
    format!(
        "two hosts of the fleet are called {name} ({address}); the one that started later is refused: \
         give it a name of its own with canhub-span invite, and join again"
    )
}

fn seconds(wall: UnixSeconds) -> i64 {
    i64::try_from(wall).unwrap_or(i64::MAX)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
