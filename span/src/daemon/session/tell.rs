//! What the session tells: the other hosts by its hello, canhub by its state.

use canhub::span::protocol::{Port, State, UnixSeconds};

use super::Session;
use crate::{
    engine::Topic,
    flow::{Clocks, Moment},
    hello::{Hello, PROTOCOL},
};

impl Session {
    pub(super) fn say_hello(&self, now: Moment, leaving: bool) {
        let (Some((identity, list)), Some(hosts)) = (&self.fleet, &self.hosts) else { return };
        let clocks = Clocks::now();
        let hello = Hello {
            protocol: PROTOCOL,
            instance: self.instance,
            uptime_ms: u64::try_from(now.since(self.started.moment).as_millis()).unwrap_or(u64::MAX),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            certificate_expires: u64::try_from(identity.certificate.expires).ok(),
            list: list.version,
            sent: clocks.now.0,
            wall: clocks.wall.0,
            leaving,
            spans: self.buses.values().map(|(bus, _)| bus.lock().hello()).collect(),
            echoes: hosts.lock().echoes(now),
        };
        self.mesh.send(&Topic::Hello, hello.encode());
    }

    pub(super) fn state(&self) -> State {
        let clocks = Clocks::now();
        let problem = self.problem.clone().or_else(|| self.mesh.problem());
        let spans = self.hosts.as_ref().map(|hosts| {
            // One after the other: frames must not wait for all of them.
            let of = |port: &Port| {
                let (bus, _) = self.buses.get(port.span.as_str())?;
                let hosts = hosts.lock();
                let mut state = bus.lock().state(&hosts, &clocks);
                state.hosts.extend(self.tunnels.states(&port.span));
                Some(state)
            };
            self.ports.iter().filter_map(of).collect()
        });
        let hosts = self.hosts.as_ref().map(|hosts| hosts.lock());
        State {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: self
                .fleet
                .as_ref()
                .map(|(identity, _)| identity.certificate.host.to_string())
                .unwrap_or_default(),
            started: self.started.wall,
            problem: problem.or_else(|| hosts.as_ref().and_then(|hosts| hosts.problem())),
            certificate_expires: self
                .fleet
                .as_ref()
                .and_then(|(identity, _)| UnixSeconds::try_from(identity.certificate.expires).ok()),
            refused: hosts.as_ref().map(|hosts| hosts.refused()).unwrap_or_default(),
            unreachable: hosts.as_ref().map(|hosts| hosts.unreachable()).unwrap_or_default(),
            spans: spans.unwrap_or_default(),
        }
    }
}
