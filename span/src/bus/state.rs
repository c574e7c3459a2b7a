//! What a bus knows: what waits in both directions, and what became of every frame.

mod kept;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use canhub::{
    clock::micros,
    frames::{CanAnyFrame, Timestamp},
    kernel::{Heard, KeptNumbers, Passed},
    span::protocol::{self, Frames, HostState, SpanState, TooOld},
};

use crate::{
    batch::{self, Encoder},
    flow::{Clocks, Entries, Inbound, LoopGuard, Looped, Moment, Outbound, Taken, Waiting},
    hello::OnSpan,
    hosts::{Admission, BusHere, Hosts, Known},
};
use kept::{Unwritten, Written};

pub use kept::NUMBERS;

/// For so long after its last frame a quiet bus says how many there were, so that the others find out whether they miss
/// any. Later, hosts that come back are told.
const SAYS_FOR: Duration = Duration::from_secs(2);

/// Another host on this bus's span.
#[derive(Debug)]
struct Peer {
    inbound: Inbound,
    /// Its FD frames, if the bus is a classic one.
    refused_fd: u64,
    /// Its batches that are none, and the frames of a second host of its name.
    foreign: u64,
    /// Frames of this bus that left while it was online.
    frames_out: u64,
    /// Frames of this bus that came back through it.
    looped: u64,
    online: bool,
}

/// What a bus knows.
#[derive(Debug)]
pub struct Bus {
    span: Arc<str>,
    instance: u64,
    port: protocol::Port,
    outbound: Outbound,
    /// When the last batch with frames left.
    left: Option<Moment>,
    /// A host came: it is to be told how many frames there were.
    says: bool,
    waiting: Waiting,
    guard: LoopGuard,
    has_tunnel: bool,
    entries: Entries,
    taken: Taken,
    peers: BTreeMap<String, Peer>,
    /// Whose frame was written to the bus last: if some come back, they are its.
    written_of: Option<String>,
    problem: Option<String>,
    lost_at_port: u64,
    /// Frames of this bus that did not leave because a loop was stopped.
    held_back: u64,
    write_errors: u64,
    written: Written,
    /// Frames that waited when the run before ended, until the port is open.
    unwritten: Option<Unwritten>,
    ledger: Option<KeptNumbers>,
    /// Those that are in the ledger; here only for the memory.
    numbers: Vec<u64>,
}

impl Bus {
    fn empty(port: protocol::Port, instance: u64) -> Self {
        let age = age(&port);
        Self {
            span: Arc::from(port.span.as_str()),
            instance,
            port,
            outbound: Outbound::new(instance, age),
            left: None,
            says: true,
            waiting: Waiting::new(age),
            guard: LoopGuard::default(),
            has_tunnel: false,
            entries: Entries::new(Clocks::now()),
            taken: Taken::default(),
            peers: BTreeMap::new(),
            written_of: None,
            problem: None,
            lost_at_port: 0,
            held_back: 0,
            write_errors: 0,
            written: Written::default(),
            unwritten: None,
            ledger: None,
            numbers: Vec::new(),
        }
    }

    /// The span.
    pub fn span(&self) -> &Arc<str> {
        &self.span
    }

    /// The port's interface, and whether it leads to a wire.
    pub fn interface(&self) -> (String, bool) {
        (self.port.interface.to_string(), self.port.adapter.is_some())
    }

    /// The port is another one now, or has other settings.
    pub fn set_port(&mut self, port: protocol::Port, has_tunnel: bool) {
        self.has_tunnel = has_tunnel;
        let age = age(&port);
        self.outbound.set_age(age);
        self.waiting.set_age(age);
        for peer in self.peers.values_mut() {
            peer.inbound.set_age(age);
        }
        self.port = port;
    }

    /// What matters of this bus for whom it accepts.
    pub fn here(&self) -> BusHere<'_> {
        BusHere { adapter: self.port.adapter.as_deref(), bridge: self.port.bridge }
    }

    /// What a hello says about it.
    pub fn hello(&self) -> OnSpan {
        OnSpan {
            span: self.span.to_string(),
            adapter: self.port.adapter.clone(),
            bridge: self.port.bridge,
            frames: Some(self.port.frames),
        }
    }

    /// Sets what is wrong with the port. Returns whether that is new.
    pub fn set_problem(&mut self, problem: Option<String>) -> bool {
        let is_new = self.problem != problem;
        self.problem = problem;
        is_new
    }

    /// The port was opened. Which interface it is, and what passed through it so far, may be unknown.
    pub fn opened(&mut self, now: Clocks, passed: Option<Passed>) {
        self.opened_as(now.now, passed);
        self.entries = Entries::new(now);
        self.says = true;
    }

    /// Whether to look at the kernel's counter of the port, once no frame is left in it.
    pub fn wants_look(&self, now: Moment) -> bool {
        self.taken.wants_look(now)
    }

    /// All frames were taken in but so many, which were lost because this program was too slow. After that, this had passed
    /// through the port.
    pub fn looked(&mut self, now: Moment, lost: u32, passed: Passed) {
        self.lose(lost);
        self.taken.looked(now, passed.interface, passed.received);
    }

    fn lose(&mut self, frames: u32) {
        self.lost_at_port += u64::from(frames);
        self.taken.took(frames.into());
    }

    /// Only these hosts are online on the span. Returns whether something is to be sent for that.
    pub fn set_online(&mut self, online: &[String]) -> bool {
        let mut came = false;
        for (name, peer) in &mut self.peers {
            if peer.online && !online.contains(name) {
                peer.online = false;
                peer.inbound.offline();
            }
        }
        for name in online {
            let peer = peer(&mut self.peers, name, self.instance, age(&self.port));
            came |= !peer.online;
            peer.online = true;
        }
        if came {
            self.outbound.start_anew();
            self.says = true;
        }
        if online.is_empty() && self.outbound.waiting() > 0 {
            self.outbound.outage();
        }
        came
    }

    /// When something is to leave, if nothing happens before.
    pub fn due(&self, now: Moment) -> Option<Moment> {
        let since = self.left.map_or(Duration::MAX, |left| now.since(left));
        let says = self.says || since < SAYS_FOR;
        (says || self.outbound.waiting() > 0).then(|| self.outbound.due())
    }

    /// Until when frames are not read, because they would only wait: the bus is busy, and a batch has just left.
    pub fn gathers_until(&self, now: Moment) -> Option<Moment> {
        self.outbound.gathers_until().filter(|until| *until > now)
    }

    /// Takes in frames that were heard on the bus. Returns the loop that was noticed, if any.
    pub fn take_in(&mut self, heard: &mut Vec<Heard>, clocks: &Clocks) -> Option<Looped> {
        let (mut found, looped) = (None, self.guard.looped());
        for heard in heard.drain(..) {
            self.lose(heard.lost);
            // What a tunnel of this program wrote to the port did not enter it.
            self.taken.took(u64::from(!heard.by_host));
            if let Some(looped) = self.guard.heard(clocks.now, &heard.frame) {
                found = Some(looped);
            }
            if self.guard.stopped(clocks.now).is_some() {
                self.held_back += 1;
                continue;
            }
            let entered = self.entries.entered(clocks, Timestamp(heard.time));
            self.outbound.push(clocks.now, entered, heard.frame);
        }
        let looped = self.guard.looped() - looped;
        if let Some(peer) = self.written_of.as_ref().and_then(|host| self.peers.get_mut(host)) {
            peer.looped += looped;
        }
        found
    }

    /// All frames that came before this time were taken in.
    pub fn emptied(&mut self, clocks: Clocks) {
        self.entries.is_empty(clocks);
    }

    /// The batch that is to leave now, if there is one. It is kept that it left.
    pub fn leaves<'a>(&mut self, clocks: &Clocks, encoder: &'a mut Encoder) -> Option<&'a [u8]> {
        if self.due(clocks.now)? > clocks.now {
            return None;
        }
        let before = self.outbound.sent().frames;
        let batch = self.outbound.take(clocks, encoder)?;
        self.says = false;
        let frames = self.outbound.sent().frames - before;
        if frames > 0 {
            self.left = Some(clocks.now);
            for peer in self.peers.values_mut().filter(|peer| peer.online) {
                peer.frames_out += frames;
            }
        }
        self.keep();
        Some(batch)
    }

    /// A batch came from another host.
    pub fn receive(&mut self, host: &str, bytes: &[u8], hosts: &Hosts, now: Moment) {
        let admission = hosts.admission(&self.span, host, &self.here());
        let peer = peer(&mut self.peers, host, self.instance, age(&self.port));
        let (Ok(batch), Some(clock)) = (batch::decode(bytes), hosts.clock(host)) else {
            peer.foreign += 1;
            return;
        };
        // A second host of the same name would confuse the numbers of the first.
        if admission != Admission::Unheard && hosts.instance(host) != Some(batch.header().instance) {
            peer.foreign += u64::from(batch.count());
            return;
        }
        match admission {
            Admission::Accepted if self.guard.stopped(now).is_none() => {}
            // What is missing is found when it is heard.
            Admission::Unheard => return,
            _ => {
                peer.inbound.refuse(&batch);
                return;
            }
        }
        let (waiting, refused) = (&mut self.waiting, &mut peer.refused_fd);
        let takes_fd = self.port.frames == Frames::Fd;
        peer.inbound.receive(&batch, now, clock, |arrived| match arrived.frame {
            CanAnyFrame::Fd(_) if !takes_fd => *refused += 1,
            _ => waiting.push(arrived),
        });
        if self.written_of.as_deref() != Some(host) {
            self.written_of = Some(host.to_owned());
        }
    }

    /// Whether frames wait for the bus.
    pub fn has_for_bus(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next frames for the bus, at most so many.
    pub fn next_for_bus(&mut self, now: Moment, most: usize) -> Vec<CanAnyFrame> {
        self.waiting.upcoming(now).take(most).copied().collect()
    }

    /// The bus took the next one, this.
    pub fn written(&mut self, now: Moment, frame: &CanAnyFrame) {
        self.waiting.sent();
        self.written.frames += 1;
        // Only an adapter or a tunnel can connect the bus a second time with that of another host. Without them, equal frames
        // that come back are those of a program that repeats what it hears.
        if self.port.adapter.is_some() || self.has_tunnel {
            self.guard.injected(now, frame);
        }
    }

    /// The bus will not take the next one. Returns whether it is the first one.
    pub fn not_written(&mut self) -> bool {
        self.waiting.sent();
        self.write_errors += 1;
        self.write_errors == 1
    }

    /// Everything, for canhub. It is kept, so that no count is lower when the next run tells it.
    pub fn state(&mut self, hosts: &Hosts, clocks: &Clocks) -> SpanState {
        self.keep();
        let now = clocks.now;
        let here = self.here();
        let looped = self.guard.stopped(now).map(ToString::to_string);
        let may = hosts.own_refusal(&self.span, clocks.wall.0 / 1_000_000_000);
        let stopped = looped.is_some() || may.is_some();
        let (sent, dropped) = (self.outbound.sent(), self.waiting.dropped());
        let mut listed: Vec<HostState> =
            hosts.known_on(&self.span).map(|known| self.host(&known, clocks)).collect();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        SpanState {
            span: self.port.span.clone(),
            network: self.port.network.clone(),
            problem: self.problem.clone().or(looped).or(may),
            stopped,
            refused: hosts.refused_on(&self.span, &here),
            missed: self.taken.missed(),
            lost_at_port: self.lost_at_port + sent.queue_full,
            held_back: self.held_back,
            write_errors: self.write_errors + dropped.queue_full,
            too_old: TooOld {
                before_sending: sent.too_old,
                on_arrival: self.peers.values().map(|peer| peer.inbound.received().too_old).sum(),
                before_wire: dropped.too_old,
            },
            frames_out: sent.frames,
            hosts: listed,
        }
    }

    fn host(&self, known: &Known<'_>, clocks: &Clocks) -> HostState {
        let now = clocks.now;
        let on = known.hello.and_then(|hello| hello.on(&self.span));
        let offset = known.clock.offset(now);
        // Its wall clock minus ours, at the moment when it sent its last hello.
        let ahead = offset.zip(known.hello).map(|(offset, hello)| {
            let ours =
                clocks.wall_at(Moment(hello.sent.saturating_add_signed(offset.nanos.saturating_neg())));
            (i128::from(hello.wall) - i128::from(ours.0)) / 1000
        });
        let peer = self.peers.get(known.name);
        let received = peer.map(|peer| peer.inbound.received()).unwrap_or_default();
        let delays = peer.and_then(|peer| peer.inbound.delays(now));
        HostState {
            name: known.name.to_owned(),
            online: known.online,
            since: known.record.since,
            heard: known.record.heard,
            left: known.record.left,
            path: known.address.map(str::to_owned),
            adapter: on.and_then(|on| on.adapter.clone()),
            frames: on.and_then(|on| on.frames),
            version: known.hello.map(|hello| hello.version.clone()),
            delay_us: delays.map(|delays| protocol::Delay {
                p50: micros(delays.p50),
                p99: micros(delays.p99),
                max: micros(delays.max),
            }),
            // FD frames for a classic bus arrived, and were refused.
            frames_in: received.frames.saturating_sub(peer.map_or(0, |peer| peer.refused_fd)),
            frames_out: peer.map_or(0, |peer| peer.frames_out),
            lost: received.lost,
            too_old: received.too_old,
            refused: received.refused + peer.map_or(0, |peer| peer.refused_fd + peer.foreign),
            duplicates: received.duplicates,
            looped: peer.map_or(0, |peer| peer.looped),
            clock_offset_us: ahead.and_then(|ahead| i64::try_from(ahead).ok()),
            clock_uncertainty_us: offset.map(|offset| micros(offset.uncertainty)),
            certificate_expires: known.hello.and_then(|hello| hello.certificate_expires),
        }
    }
}

fn peer<'a>(peers: &'a mut BTreeMap<String, Peer>, name: &str, own: u64, age: Duration) -> &'a mut Peer {
    let new = || Peer {
        inbound: Inbound::new(own, age),
        refused_fd: 0,
        foreign: 0,
        frames_out: 0,
        looped: 0,
        online: false,
    };
    peers.entry(name.to_owned()).or_insert_with(new)
}

fn age(port: &protocol::Port) -> Duration {
    Duration::from_millis(port.age_ms.into())
}

#[cfg(test)]
mod tests {
    use socketcan::{EmbeddedFrame as _, StandardId};

    use super::*;
    use crate::{
        batch::{Header, Timed},
        engine::Link,
        hello::{Hello, PROTOCOL},
        hosts::Now,
    };

    const SPAN: &str = "body";

    /// This host has an adapter on the span.
    pub(super) fn bus_with(ledger: Option<KeptNumbers>) -> Bus {
        let port = serde_json::json!({
            "span": SPAN, "network": "a".repeat(64), "network_name": "lab", "interface": "cs0", "frames": "fd",
            "age_ms": 100, "adapter": "can0", "bridge": false,
        });
        Bus::new(serde_json::from_value(port).unwrap(), 1, ledger)
    }

    pub(super) fn at(second: u64) -> Now {
        Now { moment: Moment(second * 1_000_000_000), wall: 1_800_000_000 }
    }

    pub(super) fn hosts() -> Hosts {
        let list = serde_json::json!({
            "fleet": "f", "version": 1, "revoked": [],
            "hosts": [{ "name": "cell", "spans": ["*"], "certificates": [{ "serial": "c1", "expires": 2_000_000_000 }] }],
        });
        let mut hosts =
            Hosts::new("bench", "b1", 1, at(1000), serde_json::from_value(list).unwrap(), BTreeMap::new());
        let (session, address) = ("session".to_owned(), "10.0.0.2:7447".to_owned());
        let link = Link { session, host: "cell".to_owned(), serial: "c1".to_owned(), address };
        hosts.connected(link, at(1000));
        hosts
    }

    pub(super) fn says(hosts: &mut Hosts, adapter: Option<&str>) {
        let on = OnSpan {
            span: SPAN.to_owned(),
            adapter: adapter.map(str::to_owned),
            bridge: false,
            frames: None,
        };
        let hello = Hello { protocol: PROTOCOL, instance: 2, list: 1, spans: vec![on], ..Hello::default() };
        hosts.heard("cell", &hello.encode(), at(1000));
    }

    /// A batch of one frame, after so many.
    pub(super) fn batch(before: u64) -> Vec<u8> {
        let mut encoder = Encoder::default();
        let (time, wall) = (Moment(5), Timestamp(0));
        let sequence = before + 1;
        encoder.start(&Header { instance: 2, epoch: 1, sequence, frames_before: before, base: time, wall });
        let frame = CanAnyFrame::new(StandardId::new(1).unwrap(), &[]).unwrap();
        encoder.push(&Timed { time, frame }).unwrap();
        encoder.finish().to_vec()
    }

    #[test]
    fn frames_of_a_refused_host_are_counted_once() {
        let (mut bus, mut hosts) = (bus_with(None), hosts());
        let mut send = |before: u64, adapter: Option<&str>| {
            says(&mut hosts, adapter);
            bus.receive("cell", &batch(before), &hosts, at(1000).moment);
            bus.peers["cell"].inbound.received()
        };
        send(0, None);
        send(1, Some("can7"));
        send(2, Some("can7"));
        let received = send(3, None);
        assert_eq!((received.frames, received.refused, received.lost), (2, 2, 0));
    }
}
