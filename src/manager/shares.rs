//! Shares of overloaded wires: read the queues of adapters, and slow down who sends too much.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tracing::debug;

use super::Manager;
use crate::{
    apply::apply,
    kernel::Gauge,
    names::{EndpointId, NetworkId},
    network::Hub,
    plan::{Bus, Have, Member, Plan, Reason, Step, Want, carrier, ceiling, share},
    shares::Limiter,
};

/// Between two readings of a wire in use. Four containers at 1 Mbit/s that begin at once fill a seventh of the adapter's
/// queue in this time.
const BUSY: Duration = Duration::from_millis(50);
/// Between two readings of a wire that is silent, or whose senders are slowed down already.
const CALM: Duration = Duration::from_millis(100);

/// The wires that are watched.
#[derive(Default)]
pub(crate) struct Shares {
    /// That of the model when the wires were found.
    generation: Option<u64>,
    wires: Vec<Watched>,
}

/// An adapter's bus, with what does not change until the model's generation does.
struct Watched {
    bus: Bus,
    have: Have,
    adapter: u32,
    /// Of its queue, in frames.
    length: u32,
    senders: Vec<Sender>,
    limiter: Limiter,
    read: Option<(Instant, Gauge)>,
}

struct Sender {
    endpoint: EndpointId,
    /// Of the host end.
    host: u32,
    /// Of the container end, in its sandbox.
    end: u32,
    /// In bit/s.
    ceiling: u32,
}

impl Manager {
    /// Reads the queues of all adapters that carry paced containers, and changes the paces of those that exceed their wire.
    /// Returns when to read next; `None` if there is no such adapter.
    pub(crate) fn share_wires(&self, shares: &mut Shares) -> Option<Duration> {
        let (generation, want) = {
            let model = self.model.lock();
            let is_old = shares.generation != Some(model.generation());
            (model.generation(), is_old.then(|| model.want()))
        };
        if let Some(want) = want {
            self.find_wires(shares, want, generation);
        }
        let mut is_busy = false;
        let mut wanted = BTreeMap::new();
        for wire in &mut shares.wires {
            is_busy |= self.read_wire(wire, &mut wanted);
        }
        self.set_shares(shares, wanted);
        (!shares.wires.is_empty()).then_some(if is_busy { BUSY } else { CALM })
    }

    fn find_wires(&self, shares: &mut Shares, want: Want, generation: u64) {
        let has_wire = |bus: &Bus| !matches!(bus.hub, Hub::Owned(_)) && !bus.members.is_empty();
        let buses: Vec<Bus> = want.buses.into_iter().filter(has_wire).collect();
        let mut known: BTreeMap<NetworkId, Limiter> = BTreeMap::new();
        for mut wire in std::mem::take(&mut shares.wires) {
            wire.limiter.forget_senders();
            known.insert(wire.bus.network.clone(), wire.limiter);
        }
        shares.generation = Some(generation);
        if buses.is_empty() {
            return;
        }
        let have = match self.look_at_host(buses.iter().map(|bus| &bus.hub)) {
            Ok(have) => have,
            Err(err) => {
                debug!(%err, "the queues of adapters are not read");
                shares.generation = None;
                return;
            }
        };
        let watch = |bus: Bus| {
            let adapter = carrier(&bus.hub, &have)?;
            // Without a controller it is no wire, and nothing waits for it.
            adapter.controller.as_ref()?;
            let sender = |member: &Member| {
                let host = have.host_end(&member.endpoint)?;
                let ceiling = ceiling(&bus, member, &have)?;
                Some(Sender { endpoint: member.endpoint.clone(), host: host.index, end: host.peer?, ceiling })
            };
            let senders: Vec<Sender> = bus.members.iter().filter_map(sender).collect();
            let limiter = known.remove(&bus.network).unwrap_or_default();
            let (index, length) = (adapter.index, adapter.txqueuelen);
            // Of the look, only what a step is planned from.
            let have =
                Have { links: vec![adapter.clone()], identities: have.identities.clone(), ..Have::default() };
            (!senders.is_empty()).then_some(Watched {
                bus,
                have,
                adapter: index,
                length,
                senders,
                limiter,
                read: None,
            })
        };
        shares.wires = buses.into_iter().filter_map(watch).collect();
    }

    /// Takes in one reading. Returns whether the wire is in use and nobody is slowed down.
    fn read_wire(&self, wire: &mut Watched, wanted: &mut BTreeMap<EndpointId, u32>) -> bool {
        let ends: Vec<u32> = wire.senders.iter().map(|sender| sender.host).collect();
        let now = Instant::now();
        let gauge = match self.kernel.gauge(wire.adapter, &ends) {
            Ok(gauge) => gauge,
            Err(err) => {
                debug!(network = wire.bus.network.short(), %err, "the adapter's queue was not read");
                wire.limiter.forget_senders();
                wire.read = None;
                return false;
            }
        };
        let before = wire.read.replace((now, gauge.clone()));
        let elapsed = before.as_ref().map_or(Duration::ZERO, |(read, _)| now - *read);
        let ceilings: Vec<u32> = wire.senders.iter().map(|sender| sender.ceiling).collect();
        let is_busy = gauge.queued > 0 || before.is_some_and(|(_, before)| before != gauge);
        let shares = wire.limiter.read(gauge, elapsed, wire.length, &ceilings);
        let shared = wire.senders.iter().zip(shares).filter_map(|(sender, share)| Some((sender, share?)));
        let already = wanted.len();
        wanted.extend(shared.map(|(sender, share)| (sender.endpoint.clone(), share)));
        is_busy && wanted.len() == already
    }

    /// Makes it so. The plan wants the same from then on, so no audit undoes it.
    fn set_shares(&self, shares: &mut Shares, wanted: BTreeMap<EndpointId, u32>) {
        let mut model = self.model.lock();
        if *model.shares() == wanted || shares.generation != Some(model.generation()) {
            return;
        }
        let before = model.shares().clone();
        model.set_shares(wanted);
        let mut steps: Vec<Step> = Vec::new();
        for wire in &shares.wires {
            for sender in &wire.senders {
                let now = model.shares().get(&sender.endpoint).copied();
                let member = wire.bus.members.iter().find(|member| member.endpoint == sender.endpoint);
                if let Some(member) = member.filter(|_| now != before.get(&sender.endpoint).copied()) {
                    let member = Member { share: now, ..member.clone() };
                    steps.extend(share(&wire.bus, &member, &wire.have, sender.end));
                }
            }
        }
        // What an end does not take is found by the next audit. Looks under way stay valid: only rates change.
        apply(&*self.kernel, &steps, |done| {
            if let Err(err) = done.result {
                debug!(%err, "the share of the wire was not set");
                shares.generation = None;
            }
        });
    }

    /// Takes steps out of a plan that change rates, if the shares of wires changed after `want` was known.
    pub(crate) fn leave_shares(&self, shares: u64, want: &Want, plan: &mut Plan) {
        if want.shares != shares {
            plan.steps.retain(|step| step.reason != Reason::QdiscRate);
        }
    }
}
