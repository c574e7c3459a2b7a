//! Who is refused, why, and who is told so.

use canhub::span::protocol::{Refused, TEXT_MAX, UnixSeconds, Unreachable};

use super::{BusHere, Change, Hosts, Now, REFUSED_MAX, TELL_AGAIN, millis, seconds};
use crate::{
    engine::Link,
    flow::Moment,
    hello::{Hello, Refusal},
};

/// Why somebody is refused.
#[derive(Debug)]
pub(super) struct RefusedSince {
    pub(super) reason: String,
    pub(super) last: Moment,
    pub(super) told: Option<Moment>,
}

/// Why an address was not reached.
#[derive(Debug)]
pub(super) struct UnreachableSince {
    reason: String,
    pub(super) last: Moment,
}

/// A second host of this one's name.
#[derive(Debug)]
pub(super) struct Twin {
    pub(super) started_earlier: bool,
    pub(super) heard: Moment,
}

impl Hosts {
    pub(super) fn heard_twin(&mut self, hello: &Hello, now: Now, changes: &mut Vec<Change>) {
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

    /// The host with this address could not be reached: it is off, or the network between is. A reason is told once.
    pub fn not_reached(&mut self, address: String, reason: String, now: Now) -> Vec<Change> {
        let (last, is_full) = (now.moment, self.unreachable.len() >= REFUSED_MAX);
        match self.unreachable.get_mut(&address) {
            Some(known) if known.reason == reason => {
                known.last = last;
                return Vec::new();
            }
            None if is_full => return Vec::new(),
            _ => {}
        }
        self.unreachable.insert(address.clone(), UnreachableSince { reason: reason.clone(), last });
        vec![Change::Unreachable { address, reason }]
    }

    /// Addresses that are not reached.
    pub fn unreachable(&self) -> Vec<Unreachable> {
        let unreachable = |(address, failed): (&String, &UnreachableSince)| {
            // An address is the settings', and a reason the engine's: canhub takes no text that is longer.
            let clip = |text: &str| text.chars().filter(|c| !c.is_control()).take(TEXT_MAX / 4).collect();
            Unreachable { address: clip(address), reason: clip(&failed.reason) }
        };
        self.unreachable.iter().map(unreachable).collect()
    }

    /// Why a host that has a bus on this span is refused on it.
    pub(super) fn refusal_on(
        &self,
        span: &str,
        host: &str,
        hello: &Hello,
        bus: &BusHere<'_>,
    ) -> Option<String> {
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

    pub(super) fn refuse(&mut self, who: &str, reason: String, now: Now, changes: &mut Vec<Change>) {
        let (who, reason) = (&*shown(who), shown(&reason));
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

    pub(super) fn tell(&mut self, link: &Link, reason: String, now: Now, changes: &mut Vec<Change>) {
        let refusal =
            Refusal { host: link.host.clone(), serial: link.serial.clone(), instance: None, reason };
        self.tell_now(refusal, now, changes);
    }

    pub(super) fn tell_instance(
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

    pub(super) fn tell_now(&mut self, refusal: Refusal, now: Now, changes: &mut Vec<Change>) {
        let Some(known) = self.refused.get_mut(&refusal.host) else { return };
        if known.told.is_none_or(|told| now.moment.since(told) > TELL_AGAIN) {
            known.told = Some(now.moment);
            changes.push(Change::Tell(refusal));
        }
    }
}

/// A text that a stranger may have chosen, as it can be told to canhub, which accepts no other: a hello that cannot be read is
/// quoted in the reason.
fn shown(text: &str) -> String {
    let end = (0..=text.len().min(TEXT_MAX)).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].replace(char::is_control, " ")
}

pub(super) fn second(name: &str, address: &str) -> String {
    format!(
        "two hosts of the fleet are called {name} ({address}); the one that started later is refused: \
         give it a name of its own with canhub-span invite, and join again"
    )
}
