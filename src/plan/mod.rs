//! The planner: a pure function from the desired and the actual state to the steps between them.
//!
//! Join plans one endpoint; start-up, the reconcile loop and every audit plan everything. Nothing else decides. The
//! invariants: carrying out a plan yields the desired state, a second plan is then empty, and no step touches a link or
//! a rule that is not canhub's.

mod have;
mod hub;
mod links;
mod pace;
mod reason;
mod rules;
mod shape;
mod step;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, path::PathBuf};

pub use have::{Have, Rules, Sandbox, is_ours};
pub use hub::{carrier, carriers, unread_adapter};
pub use links::owner;
pub use pace::{ceiling, share};
pub use reason::Reason;
pub use rules::NamedRule;
pub use step::{Action, PairEnd, Step};

use crate::{
    fault::Imposed,
    filters::Filters,
    kernel::{Cookie, Inside},
    names::{EndpointId, IfName, NetworkId},
    network::Hub,
    options::{Frames, Naming, NetworkOptions},
    pace::Rate,
    shape::Shapes,
};

/// The desired state of this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Want {
    /// One per network.
    pub buses: Vec<Bus>,
    /// Endpoints that Docker has created but not joined, or left but not deleted: their links may stay.
    pub tolerated: BTreeSet<EndpointId>,
    /// Which shares of wires the members have: a number that changes with them.
    pub shares: u64,
}

/// The desired state of one bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bus {
    /// Its network.
    pub network: NetworkId,
    /// The interface on the host.
    pub hub: Hub,
    /// The alias of the hub, if canhub owns it.
    pub alias: String,
    /// What its network asks for.
    pub options: NetworkOptions,
    /// One per joined endpoint, and the span port.
    pub members: Vec<Member>,
}

/// One container on a bus, or its span port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Docker's endpoint; that of a span port is canhub's own.
    pub endpoint: EndpointId,
    /// The alias of both ends.
    pub alias: String,
    /// The interface name in the container.
    pub ifname: Naming,
    /// The container's sandbox; for a span port the host's namespace.
    pub sandbox: PathBuf,
    /// The namespace in which its container end was last seen.
    pub namespace: Option<Cookie>,
    /// Docker has yet to move the container end and bring it up; until then it is Docker's.
    pub awaited: bool,
    /// The rate of this container, if its endpoint requests one.
    pub rate: Option<Rate>,
    /// What it may send and hear.
    pub filters: Filters,
    /// What happens to the frames that it sends and that it is to hear, on purpose.
    pub shapes: Shapes,
    /// Its share of an overloaded adapter, in bit/s.
    pub share: Option<u32>,
    /// What faults do to it on purpose.
    pub imposed: Imposed,
}

/// The scope of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// All buses, and leftovers.
    Everything,
    /// One network's hub and span port, at CreateNetwork.
    Network(&'a NetworkId),
    /// One bus, when a fault begins or ends there.
    Bus(&'a NetworkId),
    /// One endpoint at Join: its hub, its pair, the rules between it and the others. If the sandbox does not exist yet,
    /// the container end is created on the host, for Docker to move.
    Join(&'a EndpointId),
}

/// The steps from the actual to the desired state, and the problems in the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order of execution.
    pub steps: Vec<Step>,
    /// What canhub cannot fix by itself.
    pub problems: Vec<Problem>,
}

/// A problem that canhub cannot fix by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The network concerned.
    pub network: NetworkId,
    /// The endpoint concerned, if only one.
    pub endpoint: Option<EndpointId>,
    /// What fails because of it.
    pub blocks: Blocks,
    /// Whether it ends when an adapter is plugged in.
    pub awaits_adapter: bool,
    /// One sentence: what is wrong and what to do.
    pub text: String,
    /// The command that fixes it, if there is one; the sentence contains it too.
    pub fix: Option<String>,
}

/// What fails because of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocks {
    /// Nothing: the bus works, with restrictions.
    Nothing,
    /// The creation of the network, which cannot get what it requests. Containers of an existing network can join.
    Creation,
    /// Joins.
    Join,
    /// The Join of this endpoint, whose interface name another interface in its namespace has.
    Name,
    /// Joins and the creation of the network.
    Network,
}

/// Plans.
pub fn plan(want: &Want, have: &Have, scope: Scope<'_>) -> Plan {
    let asked = |bus: &&Bus| match scope {
        Scope::Everything => true,
        Scope::Network(network) | Scope::Bus(network) => bus.network == *network,
        Scope::Join(endpoint) => bus.members.iter().any(|member| member.endpoint == *endpoint),
    };
    let buses = want.buses.iter().filter(asked).map(|bus| plan_bus(bus, want, have, scope));
    let leftovers = (scope == Scope::Everything).then(|| Plan::from(links::plan_leftovers(want, have)));
    buses.chain(leftovers).fold(Plan::default(), Plan::and)
}

fn plan_bus(bus: &Bus, want: &Want, have: &Have, scope: Scope<'_>) -> Plan {
    let (hub, plan) = hub::plan_hub(bus, want, have, scope);
    let wire = pace::BusWire::of(bus, have);
    let (ends, members) = links::plan_members(bus, have, scope, &wire);
    let wanting = pace::plan_wire(bus, &wire, have).and(shape::plan_module(bus, have));
    plan.and(wanting).and(members).and(rules::plan_rules(bus, have, scope, hub.as_ref(), ends))
}

impl Plan {
    /// This plan and then another.
    fn and(mut self, next: Self) -> Self {
        self.steps.extend(next.steps);
        self.problems.extend(next.problems);
        self
    }

    /// Whether a step adds or removes a rule based on the rules that were read. Rules of an end that an earlier step
    /// creates do not count, because they cannot exist yet.
    pub fn acts_on_rules(&self) -> bool {
        self.rule_steps().next().is_some()
    }

    /// The steps for which [`acts_on_rules`](Self::acts_on_rules) is true.
    pub fn rule_steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.action.acts_on_rules())
    }
}

impl From<Step> for Plan {
    fn from(step: Step) -> Self {
        vec![step].into()
    }
}

impl From<Vec<Step>> for Plan {
    fn from(steps: Vec<Step>) -> Self {
        Self { steps, problems: Vec::new() }
    }
}

impl From<Problem> for Plan {
    fn from(problem: Problem) -> Self {
        Self { steps: Vec::new(), problems: vec![problem] }
    }
}

impl Want {
    /// The hubs of all buses.
    pub fn hubs(&self) -> impl Iterator<Item = &Hub> {
        self.buses.iter().map(|bus| &bus.hub)
    }
}

impl Member {
    /// Whether the container end is in its place and up, whoever put it there.
    pub fn has_arrived(&self, have: &Have) -> bool {
        let end = have.container_end(&self.endpoint, &self.sandbox);
        end.is_some_and(|end| end.up && end.name != self.endpoint.container_end().as_str())
    }

    /// The namespace that its container end is in, if the kernel reports it.
    pub fn seen_in(&self, have: &Have) -> Option<Cookie> {
        have.container_end(&self.endpoint, &self.sandbox)?;
        have.sandbox(&self.sandbox).cookie()
    }

    /// The state of its sandbox. A path that leads to another namespace by now, because a process ID or a name was used
    /// again, is none of an attachment: its namespace may live on without a path.
    fn sandbox_in<'a>(&self, have: &'a Have) -> &'a Sandbox {
        let found = have.sandbox(&self.sandbox);
        let is_another = found.cookie().zip(self.namespace).is_some_and(|(now, joined)| now != joined);
        if is_another && self.endpoint.is_attached() { &Sandbox::Missing } else { found }
    }

    /// Whether its container has ended without notice from Docker: the namespace that it was seen in is gone. Nothing is
    /// planned for it, and what is left of its pair stays until the endpoint is collected.
    ///
    /// This happens with live-restore if a container ends while dockerd is away: when dockerd starts, it unmounts the
    /// sandbox or mounts a new, empty namespace there. An attachment always ends this way. Without cookies (before Linux 5.14) this cannot be detected.
    pub fn is_dead(&self, have: &Have) -> bool {
        let Some(joined) = self.namespace else { return false };
        match self.sandbox_in(have) {
            Sandbox::Present(Inside { cookie, .. }) => {
                let is_another = cookie.is_some_and(|now| now != joined);
                is_another && have.container_end(&self.endpoint, &self.sandbox).is_none()
            }
            // A namespace can outlive its path; then the pair still exists.
            Sandbox::Missing => have.host_end(&self.endpoint).is_none(),
            Sandbox::Unknown(_) => false,
        }
    }
}

impl Bus {
    /// The end of the span port that is on the bus, if it has one.
    fn span_end(&self) -> Option<IfName> {
        self.members
            .iter()
            .map(|member| &member.endpoint)
            .find(|id| id.is_span_port())
            .map(EndpointId::host_end)
    }

    /// The MTU in bytes of what canhub owns.
    pub fn mtu(&self) -> u32 {
        self.options.frames.mtu()
    }

    /// Whether FD frames are carried too.
    pub fn fd(&self) -> bool {
        self.options.frames != Frames::Classic
    }

    fn step(&self, endpoint: Option<&EndpointId>, reason: Reason, action: Action) -> Step {
        Step { network: Some(self.network.clone()), endpoint: endpoint.cloned(), reason, action }
    }

    fn problem(&self, endpoint: Option<&EndpointId>, blocks: Blocks, text: String) -> Problem {
        Problem {
            network: self.network.clone(),
            endpoint: endpoint.cloned(),
            blocks,
            awaits_adapter: false,
            text,
            fix: None,
        }
    }
}

impl Scope<'_> {
    fn covers(self, endpoint: &EndpointId) -> bool {
        match self {
            Self::Everything | Self::Bus(_) => true,
            Self::Network(_) => endpoint.is_span_port(),
            Self::Join(joining) => joining == endpoint,
        }
    }
}
