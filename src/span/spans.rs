//! The spans of this canhub, shared between the reconcile loop, the connection to `canhub-span` and all queries.
//!
//! Each lock guards a value for as long as it takes to read or write it.

use std::time::{Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};

use super::{
    knowledge::{Knowledge, Link},
    protocol::{Port, State},
};
use crate::{
    events::Events,
    names::NetworkId,
    status::{HostOnSpan, HostStatus, SpanProgram, SpanStatus},
    suggest::did_you_mean,
};

/// What this canhub wants of `canhub-span`, and what it knows from it.
pub struct Spans {
    knowledge: Mutex<Knowledge>,
    /// The span ports of this host, by network.
    ports: watch::Sender<Vec<Port>>,
    /// Hosts to be forgotten. Without a connection nobody listens.
    forget: broadcast::Sender<String>,
}

impl Default for Spans {
    fn default() -> Self {
        Self {
            knowledge: Mutex::default(),
            ports: watch::Sender::default(),
            // Who forgets hosts waits for each.
            forget: broadcast::Sender::new(16),
        }
    }
}

impl Spans {
    /// Sets the span ports. `canhub-span` is told if they changed.
    pub(crate) fn set_ports(&self, ports: Vec<Port>) {
        self.ports.send_if_modified(|known| {
            let is_news = *known != ports;
            *known = ports;
            is_news
        });
    }

    /// The span ports, and each change of them.
    pub(super) fn ports(&self) -> watch::Receiver<Vec<Port>> {
        self.ports.subscribe()
    }

    /// Hosts to be forgotten, from now on.
    pub(super) fn to_forget(&self) -> broadcast::Receiver<String> {
        self.forget.subscribe()
    }

    /// `canhub-span` said this.
    pub(super) fn take_in(&self, events: &Events, state: State) {
        let ports = self.ports.borrow().clone();
        let news = self.knowledge.lock().take_in(state, &ports, SystemTime::now());
        news.into_iter().for_each(|event| events.tell(event));
    }

    /// `canhub-span` cannot be reached, for this reason: a sentence without its subject.
    pub(super) fn lose(&self, events: &Events, why: String) {
        let ports = self.ports.borrow().clone();
        let news = self.knowledge.lock().lose(why, &ports, SystemTime::now(), Instant::now());
        news.into_iter().for_each(|event| events.tell(event));
    }

    /// Asks `canhub-span` to forget a host. It is gone once the status lacks it.
    ///
    /// # Errors
    /// One sentence: there is no such host, it is online, or `canhub-span` cannot be reached.
    pub fn forget(&self, host: &str) -> Result<(), String> {
        let (known, is_online) = {
            let knowledge = self.knowledge.lock();
            let hosts = || knowledge.state.spans.iter().flat_map(|span| &span.hosts);
            let mut names: Vec<String> = hosts().map(|host| host.name.clone()).collect();
            names.sort();
            names.dedup();
            (names, hosts().any(|one| one.name == host && one.online))
        };
        if !known.iter().any(|name| name == host) {
            let nearest = did_you_mean(host, &known.iter().map(String::as_str).collect::<Vec<_>>());
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(format!("no host {host:?} is known{nearest}; known hosts: {known}"));
        }
        if is_online {
            return Err(format!(
                "host {host} is online, so it would be known again at once: stop it first, or remove it from the fleet with `canhub-span revoke {host}`"
            ));
        }
        let sent = self.forget.send(host.to_owned());
        sent.map(drop).map_err(|_| "canhub-span is not running: `systemctl start canhub-span`".to_owned())
    }

    /// Whether any span has this host.
    pub fn knows(&self, host: &str) -> bool {
        let knowledge = self.knowledge.lock();
        knowledge.state.spans.iter().flat_map(|span| &span.hosts).any(|one| one.name == host)
    }

    /// What is known about `canhub-span` itself; `None` if no network has a span.
    pub fn program(&self) -> Option<SpanProgram> {
        if self.ports.borrow().is_empty() {
            return None;
        }
        let knowledge = self.knowledge.lock();
        Some(SpanProgram::new(&knowledge.link, &knowledge.state, SystemTime::now()))
    }

    /// All hosts on all spans.
    pub fn hosts(&self) -> Vec<HostOnSpan> {
        let (knowledge, ports, now) = (self.knowledge.lock(), self.ports.borrow(), SystemTime::now());
        let on_span = |port: &Port| {
            let known = knowledge.state.spans.iter().filter(|span| span.network == port.network);
            let hosts = known.flat_map(|span| &span.hosts).map(|host| HostStatus::new(host, now));
            let (span, network, network_name) =
                (port.span.clone(), port.network.clone(), port.network_name.clone());
            hosts
                .map(|host| HostOnSpan {
                    span: span.clone(),
                    network: network.clone(),
                    network_name: network_name.clone(),
                    host,
                })
                .collect::<Vec<_>>()
        };
        ports.iter().flat_map(on_span).collect()
    }

    /// Adds what `canhub-span` knows to the status of a bus with a span.
    pub(crate) fn complete(&self, network: &NetworkId, status: &mut SpanStatus) {
        let (knowledge, now) = (self.knowledge.lock(), SystemTime::now());
        let Some(known) = knowledge.state.spans.iter().find(|span| span.network == *network) else { return };
        status.problem.clone_from(&known.problem);
        status.stopped = known.stopped;
        status.refused.clone_from(&known.refused);
        (status.missed, status.held_back) = (known.missed, known.held_back);
        (status.lost_at_port, status.write_errors) = (known.lost_at_port, known.write_errors);
        (status.too_old, status.frames_sent) = (known.too_old, known.frames_out);
        status.hosts = known.hosts.iter().map(|host| HostStatus::new(host, now)).collect();
        if !matches!(knowledge.link, Link::Up { .. }) {
            status.problem = None;
        }
    }
}
