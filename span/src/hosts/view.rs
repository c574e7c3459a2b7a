//! What others of this program want to know of the hosts.

use std::collections::BTreeMap;

use super::{Admission, BusHere, Hosts, Record, SILENT};
use crate::{
    fleet::List,
    flow::{Moment, PeerClock},
    hello::{Echo, Hello},
};

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

    /// The hosts that are online on a span and accepted there.
    pub fn online_on(&self, span: &str, bus: &BusHere<'_>) -> Vec<String> {
        let online = self.hosts.iter().filter(|(name, host)| {
            host.online
                && host.hello.as_ref().is_some_and(|(hello, _)| hello.on(span).is_some())
                && self.admission(span, name, bus) == Admission::Accepted
        });
        online.map(|(name, _)| name.clone()).collect()
    }

    /// The echoes of a hello.
    pub fn echoes(&self, now: Moment) -> Vec<Echo> {
        let fresh = self.hosts.values().filter_map(|host| host.hello.as_ref());
        fresh
            .filter(|(_, at)| now.since(*at) < SILENT)
            .map(|(hello, at)| Echo { instance: hello.instance, sent: hello.sent, received: at.0 })
            .collect()
    }

    /// What is to be kept, by name.
    pub fn records(&self) -> BTreeMap<&str, &Record> {
        let kept = self.hosts.iter().filter(|(_, host)| host.record.heard.is_some() || host.record.forgotten);
        kept.map(|(name, host)| (&**name, &host.record)).collect()
    }

    /// The fleet list.
    pub fn list(&self) -> &List {
        &self.list
    }

    /// The run of a host's `canhub-span` that is accepted.
    pub fn instance(&self, host: &str) -> Option<u64> {
        self.hosts.get(host)?.hello.as_ref().map(|(hello, _)| hello.instance)
    }

    /// The clock of a host.
    pub fn clock(&self, host: &str) -> Option<&PeerClock> {
        self.hosts.get(host).map(|host| &host.clock)
    }
}
