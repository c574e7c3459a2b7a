//! What there is to show: a picture of all buses, taken without holding anybody up.
//!
//! The kernel is read without the model's lock, as the reconcile loop does it, and by the same plan.

use std::{collections::BTreeMap, time::SystemTime};

use super::Manager;
use crate::{
    clock::rfc3339,
    endpoint::Endpoint,
    error::Error,
    kernel::{Link, RuleStatus},
    model::Model,
    network::{Hub, Ownership},
    plan::{Blocks, Have, Scope, Want, carriers, plan},
    status::{AdapterStatus, BusStatus, Count, MemberStatus, Status, Traffic},
};

/// How much to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Links and rules, and with them all that counts frames. No step, no problem is found.
    Frames,
    /// Also the sandboxes, for the plan of everything.
    Everything,
}

/// Docker may ask for something while the kernel is read, which would look like a fault; so often is looked again.
const LOOKS: usize = 3;

impl Manager {
    /// How things are with this canhub. It may block for as long as the kernel does.
    ///
    /// # Errors
    /// When the kernel cannot be read.
    pub fn status(&self) -> Result<Status, Error> {
        let (buses, leftovers) = self.survey(Depth::Everything)?;
        let audit_age = self.signals.audit_age();
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").into(),
            since: rfc3339(self.since),
            uptime_s: SystemTime::now().duration_since(self.since).unwrap_or_default().as_secs(),
            ready: audit_age.is_some(),
            heal: self.heal,
            audit_age_s: audit_age.map(|age| age.as_secs_f64()),
            buses,
            leftovers,
            late: self.late(),
        })
    }

    /// All buses, and how many links of ours nobody wants. It may block for as long as the kernel does.
    ///
    /// # Errors
    /// When the kernel cannot be read.
    pub fn survey(&self, depth: Depth) -> Result<(Vec<BusStatus>, usize), Error> {
        let mut looks = 0;
        loop {
            looks += 1;
            let (want, generation, mut buses) = {
                let model = self.model();
                (model.want(), model.generation(), self.outline(&model))
            };
            let have = match depth {
                Depth::Frames => self.look(&want.without_members())?,
                Depth::Everything => self.look(&want)?,
            };
            if looks < LOOKS && self.model().generation() != generation {
                continue;
            }
            let frames = FramesByEnd::new(&have.rules);
            // Both are in the order of the networks' ids.
            buses.iter_mut().zip(want.hubs()).for_each(|(bus, hub)| fill(bus, hub, &have, &frames));
            let leftovers = match depth {
                Depth::Frames => 0,
                Depth::Everything => compare(&mut buses, &want, &have),
            };
            return Ok((buses, leftovers));
        }
    }

    /// What the model knows of all buses.
    fn outline(&self, model: &Model) -> Vec<BusStatus> {
        let member = |endpoint: &Endpoint| MemberStatus {
            endpoint: endpoint.id.clone(),
            container: model.container_name(&endpoint.id).map(str::to_owned),
            interface: endpoint.ifname.to_string(),
            stage: endpoint.stage.clone(),
            heals: self.events.heals_of_endpoint(&endpoint.network, &endpoint.id),
            traffic: Traffic::default(),
        };
        let mut members: BTreeMap<_, Vec<MemberStatus>> = BTreeMap::new();
        for endpoint in model.endpoints() {
            members.entry(&endpoint.network).or_default().push(member(endpoint));
        }
        let bus = |network: &crate::network::Network| {
            let hub = network.hub();
            BusStatus {
                network: network.id.clone(),
                network_name: model.network_name(&network.id).to_owned(),
                hub: hub.to_string(),
                adapter: None,
                waiting: false,
                owner: hub.ownership(),
                frames: network.options.frames.as_str().to_owned(),
                heal: self.heals(network),
                steps: Vec::new(),
                problems: Vec::new(),
                adapter_problems: Vec::new(),
                blocked: false,
                heals: self.events.heals_of_network(&network.id),
                traffic: Traffic::default(),
                members: members.remove(&network.id).unwrap_or_default(),
            }
        };
        model.networks().map(bus).collect()
    }
}

/// Fills in what the kernel knows of a bus.
fn fill(bus: &mut BusStatus, hub: &Hub, have: &Have, frames: &FramesByEnd) {
    let link = match hub {
        Hub::Adapter(adapter) => carriers(adapter, have).first().copied(),
        Hub::Owned(name) | Hub::Shared(name) => {
            have.own_hub(&bus.network, name.as_str()).or_else(|| have.named(name.as_str()))
        }
    };
    bus.waiting = matches!(hub, Hub::Adapter(_)) && link.is_none();
    bus.traffic = link.map(|link| frames.of(link.index)).unwrap_or_default();
    bus.adapter = link.and_then(adapter);
    for member in &mut bus.members {
        if let Some(host) = have.host_end(&member.endpoint) {
            member.traffic = frames.of(host.index);
        }
        if let Some(end) = member.stage.sandbox().and_then(|at| have.container_end(&member.endpoint, at)) {
            member.interface.clone_from(&end.name);
        }
    }
}

fn adapter(link: &Link) -> Option<AdapterStatus> {
    let controller = link.controller.as_ref()?;
    Some(AdapterStatus {
        interface: link.name.clone(),
        state: controller.state.to_string(),
        bitrate: controller.timing.map(|timing| timing.bitrate),
        tx_errors: controller.errors.map(|errors| errors.tx),
        rx_errors: controller.errors.map(|errors| errors.rx),
        bus_offs: controller.history.bus_off,
        restarts: controller.history.restarts,
    })
}

/// Fills in the plan of everything, and returns how many of its steps remove leftovers of no known bus.
fn compare(buses: &mut [BusStatus], want: &Want, have: &Have) -> usize {
    let plan = plan(want, have, Scope::Everything);
    let mut leftovers = 0;
    for step in &plan.steps {
        match buses.iter_mut().find(|bus| Some(&bus.network) == step.network.as_ref()) {
            Some(bus) => bus.steps.push(format!("{} ({})", step.reason, step.action.interface())),
            None => leftovers += 1,
        }
    }
    for problem in plan.problems {
        if let Some(bus) = buses.iter_mut().find(|bus| bus.network == problem.network) {
            bus.blocked |= matches!(problem.blocks, Blocks::Join | Blocks::Network);
            if bus.owner == Ownership::Adapter && problem.endpoint.is_none() {
                bus.adapter_problems.push(problem.text.clone());
            }
            bus.problems.push(problem.text);
        }
    }
    leftovers
}

/// What can-gw counted, by the index of each end on the host.
struct FramesByEnd(BTreeMap<u32, Traffic>);

impl FramesByEnd {
    /// A frame on its way out is handled by one rule for each who hears it, so the destination that was
    /// sent most tells how many there were: rules to others may be younger.
    fn new(rules: &[RuleStatus]) -> Self {
        let mut ways: Vec<(u32, u32, Count)> = rules
            .iter()
            .filter(|status| !status.modifies)
            .map(|RuleStatus { rule, handled, dropped, .. }| {
                (
                    rule.source,
                    rule.destination,
                    Count { handled: (*handled).into(), dropped: (*dropped).into() },
                )
            })
            .collect();
        ways.sort_unstable_by_key(|(source, destination, _)| (*source, *destination));
        let mut ends: BTreeMap<u32, Traffic> = BTreeMap::new();
        for way in ways.chunk_by(|one, other| (one.0, one.1) == (other.0, other.1)) {
            let (source, destination, _) = way[0];
            let handled = way.iter().map(|(.., count)| count.handled).sum();
            let dropped: u64 = way.iter().map(|(.., count)| count.dropped).sum();
            let out = &mut ends.entry(source).or_default().frames_out;
            out.handled = out.handled.max(handled);
            out.dropped += dropped;
            let inward = &mut ends.entry(destination).or_default().frames_in;
            inward.handled += handled;
            inward.dropped += dropped;
        }
        Self(ends)
    }

    fn of(&self, end: u32) -> Traffic {
        self.0.get(&end).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Filter, Rule, RuleFlags};

    fn rule(source: u32, destination: u32, flags: RuleFlags, handled: u32, dropped: u32) -> RuleStatus {
        let rule = Rule { source, destination, flags, filter: Filter::default(), max_hops: Some(1) };
        RuleStatus { rule, handled, dropped, modifies: false }
    }

    #[test]
    fn a_frame_is_sent_once_and_received_by_each() {
        let (classic, fd) = (RuleFlags::empty(), RuleFlags::FD);
        let rules = [
            rule(1, 2, classic, 10, 0),
            rule(1, 2, fd, 5, 0),
            // This one came later, and was down for a while.
            rule(1, 3, classic, 4, 2),
            rule(3, 1, classic, 7, 0),
        ];
        let frames = FramesByEnd::new(&rules);
        let count = |handled, dropped| Count { handled, dropped };
        assert_eq!(frames.of(1), Traffic { frames_in: count(7, 0), frames_out: count(15, 2) });
        assert_eq!(frames.of(3), Traffic { frames_in: count(4, 2), frames_out: count(7, 0) });
        assert_eq!(frames.of(9), Traffic::default());
    }
}
