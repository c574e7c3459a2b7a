//! The status of all buses, computed without holding anything up.
//!
//! Reads the kernel without the model's lock, like the reconcile loop, and uses the same planner.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Instant,
};

use super::Manager;
use crate::{
    clock::rfc3339,
    endpoint::Endpoint,
    error::Error,
    filters::Filters,
    kernel::{HOST_NAMESPACE, Link, RuleStatus},
    model::Model,
    names::EndpointId,
    network::{Hub, Ownership},
    plan::{Blocks, Have, Plan, Reason, Scope, unread_adapter},
    status::{AdapterStatus, BusStatus, MemberStatus, SpanStatus, Status, Traffic},
    traffic::{End, Faults, Totals, hub_of},
};

/// How much to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Only the frame counts. Finds neither steps nor problems.
    Frames,
    /// Also the differences from the desired state, by a full plan.
    Everything,
}

/// If Docker changes something while the kernel is read, that looks like a fault. Number of attempts.
const LOOKS: usize = 3;

impl Manager {
    /// The status of this canhub. May block for as long as the kernel does.
    ///
    /// # Errors
    /// If the kernel cannot be read.
    pub fn status(&self) -> Result<Status, Error> {
        let (buses, leftovers) = self.survey(Depth::Everything)?;
        let audit_age = self.signals.audit_age();
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").into(),
            since: rfc3339(self.startup.since()),
            uptime_s: self.startup.uptime().as_secs(),
            ready: audit_age.is_some(),
            heal: self.heal,
            audit_age_s: audit_age.map(|age| age.as_secs_f64()),
            buses,
            leftovers,
            late: self.late(),
            expectations: self.expectations.report(),
            faults: self.faults(),
            span: self.spans.program(),
        })
    }

    /// All buses, and the number of leftover links. May block for as long as the kernel does.
    ///
    /// # Errors
    /// If the kernel cannot be read.
    pub fn survey(&self, depth: Depth) -> Result<(Vec<BusStatus>, usize), Error> {
        let mut looks = 0;
        loop {
            looks += 1;
            let (want, generation, mut buses) = {
                let model = self.model();
                (model.want(), model.generation(), self.outline(&model))
            };
            let mut have = self.look(&want)?;
            let mut plan = match depth {
                Depth::Frames => Plan::default(),
                Depth::Everything => self.plan(&want, &mut have, Scope::Everything),
            };
            let members = want.buses.iter().flat_map(|bus| &bus.members);
            let dead: BTreeSet<_> =
                members.filter(|member| member.is_dead(&have)).map(|member| &member.endpoint).collect();
            buses.iter_mut().for_each(|bus| bus.members.retain(|member| !dead.contains(&member.endpoint)));
            if looks < LOOKS && self.model().generation() != generation {
                continue;
            }
            self.leave_shares(self.model().shares_version(), &want, &mut plan);
            self.tell_losses();
            let totals = self.frames.lock();
            // Both are ordered by network ID.
            let rules = Destinations::of(&have);
            buses.iter_mut().zip(want.hubs()).for_each(|(bus, hub)| fill(bus, hub, &have, &rules, &totals));
            drop(totals);
            for bus in &mut buses {
                bus.span.iter_mut().for_each(|span| self.spans.complete(&bus.network, span));
            }
            let leftovers = compare(&mut buses, plan);
            return Ok((buses, leftovers));
        }
    }

    /// The buses as far as the model knows them.
    fn outline(&self, model: &Model) -> Vec<BusStatus> {
        let member = |endpoint: &Endpoint| MemberStatus {
            endpoint: endpoint.id.clone(),
            container: model.container_name(&endpoint.id).map(str::to_owned),
            kind: endpoint.kind(),
            interface: endpoint.ifname.to_string(),
            stage: endpoint.stage.clone(),
            rate: None,
            filters: model
                .network(&endpoint.network)
                .map_or_else(Filters::default, |network| endpoint.filters.or(&network.options.filters)),
            shapes: model
                .network(&endpoint.network)
                .map_or(endpoint.shapes, |network| network.shapes_of(endpoint)),
            heals: self.events.heals_of_endpoint(&endpoint.network, &endpoint.id),
            traffic: Traffic::default(),
        };
        let mut members: BTreeMap<_, Vec<MemberStatus>> = BTreeMap::new();
        for endpoint in model.endpoints().filter(|endpoint| !model.is_dead(&endpoint.id)) {
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
                leftovers: Vec::new(),
                problems: Vec::new(),
                adapter_problems: Vec::new(),
                fixes: BTreeMap::new(),
                blocked: false,
                losses: Vec::new(),
                rules: 0,
                heals: self.events.heals_of_network(&network.id),
                traffic: Traffic::default(),
                members: members.remove(&network.id).unwrap_or_default(),
                span: network.options.span.as_ref().map(|options| {
                    let port = EndpointId::of_span_port(&network.id);
                    SpanStatus::new(options, &port, self.events.heals_of_endpoint(&network.id, &port))
                }),
            }
        };
        model.networks().map(bus).collect()
    }
}

/// Adds what the kernel knows about a bus.
fn fill(bus: &mut BusStatus, hub: &Hub, have: &Have, rules: &Destinations, totals: &Totals) {
    let link = hub_of(&bus.network, hub, have);
    let away = |adapter| link.is_none() && unread_adapter(adapter, have).is_none();
    bus.waiting = matches!(hub, Hub::Adapter(adapter) if away(adapter));
    bus.traffic = totals.of(&End::Hub(bus.network.clone()));
    bus.rules = rules.between_ends(bus, link, have);
    bus.losses = totals.losses().of_network(&bus.network, Instant::now());
    bus.adapter = link.and_then(|link| adapter(link, totals.faults(&bus.network)));
    if let Some(span) = &mut bus.span {
        let port = EndpointId::of_span_port(&bus.network);
        let end = have.container_end(&port, Path::new(HOST_NAMESPACE));
        span.rate = end.and_then(|end| end.qdisc.as_ref()?.pace).map(|pace| pace.rate);
        span.traffic = totals.of(&End::Member(port));
    }
    for member in &mut bus.members {
        member.traffic = totals.of(&End::Member(member.endpoint.clone()));
        if let Some(end) = member.stage.sandbox().and_then(|at| have.container_end(&member.endpoint, at)) {
            member.interface.clone_from(&end.name);
            member.rate = end.qdisc.as_ref().and_then(|qdisc| qdisc.pace).map(|pace| pace.rate);
        }
    }
}

/// Where the rules of each interface lead to: read once for all buses.
struct Destinations(BTreeMap<u32, Vec<u32>>);

impl Destinations {
    fn of(have: &Have) -> Self {
        let mut destinations: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for RuleStatus { rule, .. } in have.rules.list().iter().filter(|status| !status.modifies) {
            destinations.entry(rule.source).or_default().push(rule.destination);
        }
        Self(destinations)
    }

    /// How many can-gw rules there are between the ends of a bus.
    fn between_ends(&self, bus: &BusStatus, hub: Option<&Link>, have: &Have) -> usize {
        let span = bus.span.is_some().then(|| EndpointId::of_span_port(&bus.network));
        let members = bus.members.iter().map(|member| &member.endpoint).chain(&span);
        let hosts = members.filter_map(|endpoint| have.host_end(endpoint));
        let ends: BTreeSet<u32> = hosts.chain(hub).map(|link| link.index).collect();
        let rules = ends.iter().filter_map(|end| self.0.get(end)).flatten();
        rules.filter(|destination| ends.contains(destination)).count()
    }
}

fn adapter(link: &Link, faults: Faults) -> Option<AdapterStatus> {
    let controller = link.controller.as_ref()?;
    Some(AdapterStatus {
        interface: link.name.clone(),
        state: controller.state.to_string(),
        bitrate: controller.timing.map(|timing| timing.bitrate),
        tx_errors: controller.errors.map(|errors| errors.tx),
        rx_errors: controller.errors.map(|errors| errors.rx),
        bus_offs: faults.bus_offs,
        restarts: faults.restarts,
    })
}

/// Adds the steps and problems of a full plan. Returns how many steps remove leftovers of unknown buses.
fn compare(buses: &mut [BusStatus], plan: Plan) -> usize {
    let mut leftovers = 0;
    for step in &plan.steps {
        match buses.iter_mut().find(|bus| Some(&bus.network) == step.network.as_ref()) {
            Some(bus) => {
                let text = format!("{} ({})", step.reason, step.action.interface());
                if step.reason == Reason::Leftover {
                    bus.leftovers.push(text.clone());
                }
                bus.steps.push(text);
            }
            None => leftovers += 1,
        }
    }
    for problem in plan.problems {
        if let Some(bus) = buses.iter_mut().find(|bus| bus.network == problem.network) {
            bus.blocked |= matches!(problem.blocks, Blocks::Join | Blocks::Name | Blocks::Network);
            if bus.owner == Ownership::Adapter && problem.endpoint.is_none() {
                bus.adapter_problems.push(problem.text.clone());
            }
            if let Some(fix) = problem.fix {
                bus.fixes.insert(problem.text.clone(), fix);
            }
            bus.problems.push(problem.text);
        }
    }
    leftovers
}
