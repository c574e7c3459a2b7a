//! What canhub knows about spans and the other hosts, and what changes. Pure state: it asks nothing, not even the clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant, SystemTime},
};

use super::{
    protocol::{HostState, Port, Refused, SpanState, State},
    totals::{OfHost, OfSpan},
};
use crate::{
    clock::unix_seconds,
    events::{Event, Kind},
    names::NetworkId,
};

/// At boot, canhub starts before `canhub-span`: no event for this long.
const GRACE: Duration = Duration::from_secs(10);

/// Whether `canhub-span` can be reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Link {
    /// Not tried yet.
    #[default]
    Untried,
    /// It answers.
    Up {
        /// Since when.
        since: SystemTime,
    },
    /// It does not.
    Down {
        /// Since when.
        since: SystemTime,
        /// The same on a clock that nobody sets.
        at: Instant,
        /// One sentence without its subject.
        why: String,
        /// Whether an event told it.
        told: bool,
    },
}

/// The newest state of `canhub-span`, with counters that never fall.
#[derive(Debug, Default)]
pub(super) struct Knowledge {
    pub(super) link: Link,
    pub(super) state: State,
    spans: BTreeMap<NetworkId, OfSpan>,
    hosts: BTreeMap<(NetworkId, String), OfHost>,
}

impl Knowledge {
    /// `canhub-span` said this. Returns what is new.
    pub(super) fn take_in(&mut self, mut state: State, ports: &[Port], now: SystemTime) -> Vec<Event> {
        self.total(&mut state, ports);
        // A canhub-span that has just started says nothing of its spans until it has read who is in its fleet.
        let untold = |old: &&SpanState| {
            let is_told = state.spans.iter().any(|span| span.network == old.network);
            !is_told && ports.iter().any(|port| port.network == old.network)
        };
        let mut untold: Vec<SpanState> = self.state.spans.iter().filter(untold).cloned().collect();
        all_offline(&mut untold, now);
        state.spans.append(&mut untold);
        let mut events = Vec::new();
        if !matches!(self.link, Link::Up { .. }) {
            let was_missed = matches!(self.link, Link::Down { told: true, .. });
            self.link = Link::Up { since: now };
            if was_missed {
                events.push(Event::new(Kind::SpanFound));
            }
        }
        events.extend(changes(&self.state, &state, ports));
        self.state = state;
        events
    }

    /// `canhub-span` cannot be reached, for this reason. Then no other host can. Returns what is new; nothing if no network
    /// has a span.
    pub(super) fn lose(&mut self, why: String, ports: &[Port], now: SystemTime, at: Instant) -> Vec<Event> {
        let (since, first, mut told, was_up) = match &self.link {
            Link::Untried => (now, at, false, false),
            Link::Up { .. } => (now, at, false, true),
            Link::Down { since, at, told, .. } => (*since, *at, *told, false),
        };
        let mut events = Vec::new();
        if !told && !ports.is_empty() && (was_up || at.saturating_duration_since(first) >= GRACE) {
            told = true;
            events.push(Event { reason: Some(why.clone().into()), ..Event::new(Kind::SpanLost) });
        }
        self.link = Link::Down { since, at: first, why, told };
        let mut state = self.state.clone();
        all_offline(&mut state.spans, now);
        events.extend(changes(&self.state, &state, ports));
        self.state = state;
        events
    }

    /// Replaces counters with totals; forgets those of networks and hosts that are gone.
    fn total(&mut self, state: &mut State, ports: &[Port]) {
        let mut known = BTreeSet::new();
        for span in &mut state.spans {
            self.spans.entry(span.network.clone()).or_default().total(span);
            for host in &mut span.hosts {
                let key = (span.network.clone(), host.name.clone());
                self.hosts.entry(key.clone()).or_default().total(host);
                known.insert(key);
            }
        }
        let is_told = |network: &NetworkId| state.spans.iter().any(|span| span.network == *network);
        let has_port = |network: &NetworkId| ports.iter().any(|port| port.network == *network);
        self.spans.retain(|network, _| is_told(network) || has_port(network));
        self.hosts.retain(|key, _| known.contains(key) || !is_told(&key.0) && has_port(&key.0));
    }
}

/// No other host can be reached from now on.
fn all_offline(spans: &mut [SpanState], now: SystemTime) {
    let hosts = spans.iter_mut().flat_map(|span| &mut span.hosts);
    for host in hosts.filter(|host| host.online) {
        (host.online, host.since, host.delay_us) = (false, unix_seconds(now), None);
    }
}

fn changes(before: &State, now: &State, ports: &[Port]) -> Vec<Event> {
    let mut events = Vec::new();
    let refused = |event: Event, old: &[Refused], new: &[Refused]| -> Vec<Event> {
        let news = new.iter().filter(|one| !old.contains(one));
        let event = |one: &Refused| Event {
            host: Some(one.host.clone()),
            reason: Some(one.reason.clone().into()),
            ..event.clone()
        };
        news.map(event).collect()
    };
    events.extend(refused(Event::new(Kind::HostRefused), &before.refused, &now.refused));
    for span in &now.spans {
        let nothing = SpanState::new(span.span.clone(), span.network.clone());
        let old = before.spans.iter().find(|old| old.network == span.network).unwrap_or(&nothing);
        let about = |kind| Event {
            network: Some(span.network.clone()),
            network_name: ports
                .iter()
                .find(|port| port.network == span.network)
                .map(|port| port.network_name.clone()),
            span: Some(span.span.clone()),
            ..Event::new(kind)
        };
        let of_host = |kind, host: &HostState, reason: &str| Event {
            host: Some(host.name.clone()),
            reason: Some(reason.to_owned().into()),
            ..about(kind)
        };
        let was_online = |host: &HostState| old.hosts.iter().any(|old| old.name == host.name && old.online);
        for host in &span.hosts {
            match (was_online(host), host.online) {
                (false, true) => {
                    let path =
                        host.path.as_deref().map_or("connected".into(), |path| format!("connected, {path}"));
                    events.push(of_host(Kind::HostOnline, host, &path));
                }
                (true, false) if host.left => {
                    events.push(of_host(Kind::HostOffline, host, "it left the fleet"))
                }
                (true, false) => events.push(of_host(Kind::HostOffline, host, "it is not reached any more")),
                _ => {}
            }
        }
        events.extend(refused(about(Kind::HostRefused), &old.refused, &span.refused));
        match (old.stopped, span.stopped) {
            (false, true) => {
                let why = span.problem.clone().unwrap_or_else(|| "canhub-span stopped it".into());
                events.push(Event { reason: Some(why.into()), ..about(Kind::SpanStopped) });
            }
            (true, false) => events.push(about(Kind::SpanResumed)),
            _ => {}
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: SystemTime = SystemTime::UNIX_EPOCH;

    fn port() -> Port {
        serde_json::from_str(
            r#"{"span":"power","network":"a1","network_name":"body","interface":"csa1","frames":"fd","age_ms":100,"bridge":false}"#,
        )
        .unwrap()
    }

    fn host(name: &str, online: bool, frames_in: u64) -> HostState {
        HostState { name: name.into(), online, frames_in, ..HostState::default() }
    }

    fn state(hosts: Vec<HostState>) -> State {
        let span = SpanState::new("power".parse().unwrap(), "a1".to_owned().try_into().unwrap());
        State { spans: vec![SpanState { hosts, ..span }], ..State::default() }
    }

    fn told(events: &[Event]) -> Vec<(Kind, Option<&str>)> {
        events.iter().map(|event| (event.kind, event.host.as_deref())).collect()
    }

    #[test]
    fn a_host_comes_and_goes_and_one_that_was_never_heard_is_no_news() {
        let (mut known, ports) = (Knowledge::default(), [port()]);
        let events = known.take_in(state(vec![host("b", true, 7), host("c", false, 0)]), &ports, NOON);
        assert_eq!(told(&events), [(Kind::HostOnline, Some("b"))]);
        assert_eq!(events[0].network_name.as_deref(), Some("body"));
        assert_eq!(known.take_in(state(vec![host("b", true, 8)]), &ports, NOON), []);
        let events = known.take_in(state(vec![host("b", false, 8)]), &ports, NOON);
        assert_eq!(told(&events), [(Kind::HostOffline, Some("b"))]);
        assert_eq!(events[0].reason.as_deref(), Some("it is not reached any more"));
        let left = HostState { left: true, ..host("b", false, 8) };
        known.take_in(state(vec![host("b", true, 8)]), &ports, NOON);
        let events = known.take_in(state(vec![left]), &ports, NOON);
        assert_eq!(events[0].reason.as_deref(), Some("it left the fleet"));
    }

    #[test]
    fn without_canhub_span_nobody_is_online_and_its_counters_stay() {
        let (mut known, ports, at) = (Knowledge::default(), [port()], Instant::now());
        known.take_in(state(vec![host("b", true, 7)]), &ports, NOON);
        let events = known.lose("it is not running".into(), &ports, NOON + Duration::from_secs(9), at);
        assert_eq!(told(&events), [(Kind::SpanLost, None), (Kind::HostOffline, Some("b"))]);
        let gone = &known.state.spans[0].hosts[0];
        assert_eq!((gone.online, gone.since, gone.frames_in), (false, 9, 7));
        assert_eq!(known.lose("it is not running".into(), &ports, NOON, at + GRACE), [], "told once");
        let events = known.take_in(state(vec![host("b", true, 1)]), &ports, NOON);
        assert_eq!(told(&events), [(Kind::SpanFound, None), (Kind::HostOnline, Some("b"))]);
        assert_eq!(known.state.spans[0].hosts[0].frames_in, 8, "7 before it was restarted");
    }

    #[test]
    fn counters_stay_while_a_restarted_canhub_span_says_nothing_of_its_spans() {
        let (mut known, ports, at) = (Knowledge::default(), [port()], Instant::now());
        known.take_in(state(vec![host("b", true, 7)]), &ports, NOON);
        known.lose("it is not running".into(), &ports, NOON, at);
        known.take_in(State::default(), &ports, NOON);
        let gone = &known.state.spans[0].hosts[0];
        assert_eq!((gone.online, gone.frames_in), (false, 7));
        known.take_in(state(vec![host("b", true, 1)]), &ports, NOON);
        assert_eq!(known.state.spans[0].hosts[0].frames_in, 8, "7 before it was restarted");

        known.take_in(State::default(), &[], NOON);
        assert_eq!(known.state.spans, [], "the network is gone");
        known.take_in(state(vec![host("b", true, 1)]), &ports, NOON);
        assert_eq!(known.state.spans[0].hosts[0].frames_in, 1);
    }

    #[test]
    fn at_boot_canhub_span_has_time_and_without_spans_nobody_misses_it() {
        let (mut known, ports, at) = (Knowledge::default(), [port()], Instant::now());
        let mut lose = |ports: &[Port], at| told_len(&known.lose("no".into(), ports, NOON, at));
        assert_eq!((lose(&ports, at), lose(&[], at + GRACE)), (0, 0));
        assert_eq!((lose(&ports, at + GRACE), lose(&ports, at + GRACE)), (1, 0));
        known.take_in(state(vec![]), &ports, NOON);
        assert_eq!(told_len(&known.lose("no".into(), &[], NOON, at)), 0);
    }

    fn told_len(events: &[Event]) -> usize {
        events.len()
    }

    #[test]
    fn a_refusal_is_told_once_and_a_stop_with_its_reason() {
        let (mut known, ports) = (Knowledge::default(), [port()]);
        let mut now = state(vec![]);
        now.refused = vec![Refused { host: "192.0.2.7".into(), reason: "another CA".into() }];
        now.spans[0].refused = vec![Refused { host: "c".into(), reason: "it is revoked".into() }];
        let events = known.take_in(now.clone(), &ports, NOON);
        assert_eq!(told(&events), [(Kind::HostRefused, Some("192.0.2.7")), (Kind::HostRefused, Some("c"))]);
        assert_eq!((events[0].network.is_none(), events[1].network.is_some()), (true, true));
        now.spans[0].stopped = true;
        now.spans[0].problem = Some("two adapters".into());
        let events = known.take_in(now.clone(), &ports, NOON);
        assert_eq!(told(&events), [(Kind::SpanStopped, None)]);
        assert_eq!(events[0].reason.as_deref(), Some("two adapters"));
        now.spans[0].stopped = false;
        assert_eq!(told(&known.take_in(now, &ports, NOON)), [(Kind::SpanResumed, None)]);
    }
}
