//! What canhub knows about Docker: networks, endpoints, and their names.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use crate::{
    attachment::MemberKind,
    endpoint::{Endpoint, Stage},
    fault::{Fault, Faults, Imposed},
    filters::Filters,
    kernel::{Cookie, HOST_NAMESPACE},
    names::{AttachmentId, EndpointId, NetworkId},
    network::Network,
    options::Naming,
    plan::{Bus, Member, Step, Want},
    shape::Shapes,
};

/// The model. It has no locks and queries nothing.
#[derive(Debug, Default)]
pub struct Model {
    networks: BTreeMap<NetworkId, Network>,
    endpoints: BTreeMap<EndpointId, Endpoint>,
    /// Since when an engine's lists lack a network or an endpoint.
    unlisted: BTreeMap<String, Unlisted>,
    /// Container names by endpoint, for display only: from Docker's API, or from whoever attached it.
    containers: BTreeMap<EndpointId, String>,
    /// Endpoints whose container end Docker is about to move and bring up.
    awaited: BTreeSet<EndpointId>,
    /// Endpoints whose containers ended without notice from Docker; they are collected soon.
    dead: BTreeSet<EndpointId>,
    /// Shares of overloaded adapters, in bit/s.
    shares: BTreeMap<EndpointId, u32>,
    /// Incremented whenever the shares change.
    shares_version: u64,
    /// Faults on purpose.
    faults: Faults,
    generation: u64,
}

/// What the lists of an engine lack.
#[derive(Debug, Clone)]
struct Unlisted {
    engine: String,
    since: Instant,
}

impl Model {
    /// Incremented whenever the desired state changes or a plan is carried out.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The kernel state is about to change: earlier readings become invalid.
    pub fn outdate_looks(&mut self) {
        self.generation += 1;
    }

    /// All networks.
    pub fn networks(&self) -> impl Iterator<Item = &Network> {
        self.networks.values()
    }

    /// All endpoints.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.values()
    }

    /// One network.
    pub fn network(&self, id: &NetworkId) -> Option<&Network> {
        self.networks.get(id)
    }

    /// One endpoint.
    pub fn endpoint(&self, id: &EndpointId) -> Option<&Endpoint> {
        self.endpoints.get(id)
    }

    /// The endpoint of an attachment.
    pub fn attachment(&self, id: &AttachmentId) -> Option<&Endpoint> {
        self.attachments().find(|endpoint| endpoint.attached.as_ref().is_some_and(|one| one.id == *id))
    }

    /// The endpoints that were attached without Docker.
    pub fn attachments(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.values().filter(|endpoint| endpoint.attached.is_some())
    }

    /// Adds or replaces a network.
    pub fn put_network(&mut self, network: Network) {
        self.generation += 1;
        self.networks.insert(network.id.clone(), network);
    }

    /// Adds or replaces an endpoint.
    pub fn put_endpoint(&mut self, endpoint: Endpoint) {
        self.generation += 1;
        self.dead.remove(&endpoint.id);
        if let Some(attached) = &endpoint.attached {
            self.containers.insert(endpoint.id.clone(), attached.name.clone());
        }
        self.endpoints.insert(endpoint.id.clone(), endpoint);
    }

    /// Removes a network and its endpoints, and returns the endpoints.
    pub fn remove_network(&mut self, id: &NetworkId) -> Vec<EndpointId> {
        self.generation += 1;
        self.networks.remove(id);
        self.unlisted.remove(id.as_ref());
        let gone: Vec<EndpointId> = self
            .endpoints
            .values()
            .filter(|endpoint| endpoint.network == *id)
            .map(|endpoint| endpoint.id.clone())
            .collect();
        for endpoint in &gone {
            self.remove_endpoint(endpoint);
        }
        gone
    }

    /// Removes an endpoint.
    pub fn remove_endpoint(&mut self, id: &EndpointId) -> Option<Endpoint> {
        self.generation += 1;
        self.unlisted.remove(id.as_ref());
        self.containers.remove(id);
        self.awaited.remove(id);
        self.dead.remove(id);
        self.shares.remove(id);
        self.endpoints.remove(id)
    }

    /// Docker is about to move the container end of this endpoint.
    pub fn await_docker(&mut self, id: &EndpointId) {
        self.awaited.insert(id.clone());
    }

    /// Whether a step finishes a Join: it changes a container end that Docker has only just moved. Not healing.
    pub fn finishes_join(&self, step: &Step) -> bool {
        let is_awaited = step.endpoint.as_ref().is_some_and(|id| self.awaited.contains(id));
        is_awaited && step.action.is_at_container_end()
    }

    /// The container end has been moved, is up and as wanted; canhub maintains it from now on.
    pub fn arrived(&mut self, id: &EndpointId) {
        self.awaited.remove(id);
    }

    /// Records the namespace of an endpoint's container end. Returns the endpoint if that is new.
    pub fn seen_in(&mut self, id: &EndpointId, namespace: Cookie) -> Option<&Endpoint> {
        let endpoint = self.endpoints.get_mut(id).filter(|known| known.namespace != Some(namespace))?;
        endpoint.namespace = Some(namespace);
        Some(endpoint)
    }

    /// Records whether an endpoint's container has ended without notice from Docker.
    pub fn set_dead(&mut self, id: &EndpointId, dead: bool) {
        match dead {
            true => self.dead.insert(id.clone()),
            false => self.dead.remove(id),
        };
    }

    /// Whether an endpoint's container has ended without notice from Docker; it no longer counts as a member.
    pub fn is_dead(&self, id: &EndpointId) -> bool {
        self.dead.contains(id)
    }

    /// Sets the shares of overloaded adapters, in bit/s. Endpoints without a share send at their full rate.
    pub fn set_shares(&mut self, shares: BTreeMap<EndpointId, u32>) {
        self.shares = shares;
        self.shares_version += 1;
    }

    /// Incremented whenever the shares change.
    pub fn shares_version(&self) -> u64 {
        self.shares_version
    }

    /// The shares of overloaded adapters, in bit/s.
    pub fn shares(&self) -> &BTreeMap<EndpointId, u32> {
        &self.shares
    }

    /// The faults in effect.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Those of a record.
    pub fn set_faults(&mut self, faults: Faults) {
        self.generation += 1;
        self.faults = faults;
    }

    /// Adds a fault, which gets a number of its own.
    ///
    /// # Errors
    /// As [`Faults::add`].
    pub fn add_fault(&mut self, fault: Fault) -> Result<Fault, String> {
        self.generation += 1;
        let mut faults = std::mem::take(&mut self.faults);
        let about = |fault: &Fault, endpoint: &Endpoint| {
            fault.is_about(&endpoint.id, self.container_name(&endpoint.id))
        };
        let added = faults.add(fault, |fault| {
            self.members_of(&fault.network).filter(|endpoint| about(fault, endpoint)).count()
        });
        self.faults = faults;
        added
    }

    /// Removes the faults for which `is_it` is true, and returns them.
    pub fn remove_faults(&mut self, is_it: impl FnMut(&mut Fault) -> bool) -> Vec<Fault> {
        self.generation += 1;
        self.faults.remove(is_it)
    }

    /// What faults do to an endpoint of a network.
    pub fn imposed_on(&self, network: &NetworkId, endpoint: &EndpointId) -> Imposed {
        self.faults.imposed_on(network, endpoint, self.container_name(endpoint))
    }

    /// An engine listed this network or endpoint.
    pub fn listed(&mut self, id: &str) {
        self.unlisted.remove(id);
    }

    /// The list of an engine, requested at `asked`, lacks this network or endpoint. Returns since when.
    pub fn unlisted_since(&mut self, id: &str, engine: &str, asked: Instant) -> Instant {
        let now = Unlisted { engine: engine.to_owned(), since: asked };
        let known = self.unlisted.entry(id.to_owned()).or_insert_with(|| now.clone());
        if known.engine != engine {
            *known = now;
        }
        known.since
    }

    /// Sets the name of a network. Returns whether it changed.
    pub fn name_network(&mut self, id: &NetworkId, name: &str) -> bool {
        let network = self.networks.get_mut(id).filter(|network| network.name.as_deref() != Some(name));
        network.map(|network| network.name = Some(name.to_owned())).is_some()
    }

    /// Sets the engine that listed a network. Returns whether it changed.
    pub fn set_engine(&mut self, id: &NetworkId, engine: &str) -> bool {
        let network = self.networks.get_mut(id).filter(|network| network.engine.as_deref() != Some(engine));
        network.map(|network| network.engine = Some(engine.to_owned())).is_some()
    }

    /// Whether this is one of its endpoints, and its container is not known by this name.
    pub fn is_new_name(&self, id: &EndpointId, name: &str) -> bool {
        self.endpoints.contains_key(id) && self.container_name(id) != Some(name)
    }

    /// Sets the name of an endpoint's container. Returns whether that matters: a fault is about it.
    pub fn name_container(&mut self, id: &EndpointId, name: &str) -> bool {
        let Some(endpoint) = self.endpoints.get(id).filter(|_| self.is_new_name(id, name)) else {
            return false;
        };
        let before = self.containers.insert(id.clone(), name.to_owned());
        let is_there = |id: &EndpointId| self.endpoints.contains_key(id);
        let matters = self.faults.rename(&endpoint.network, id, before.as_deref(), name, is_there);
        self.generation += u64::from(matters);
        matters
    }

    /// The display name of a network; its short ID until Docker's API has answered.
    pub fn network_name<'a>(&'a self, id: &'a NetworkId) -> &'a str {
        self.networks.get(id).and_then(|network| network.name.as_deref()).unwrap_or(id.short())
    }

    /// What an endpoint is.
    pub fn kind_of(&self, id: &EndpointId) -> MemberKind {
        self.endpoints.get(id).map(Endpoint::kind).unwrap_or_default()
    }

    /// The name of an endpoint's container, once Docker's API has answered.
    pub fn container_name(&self, id: &EndpointId) -> Option<&str> {
        self.containers.get(id).map(String::as_str)
    }

    /// The complete desired state.
    pub fn want(&self) -> Want {
        let mut members: BTreeMap<&NetworkId, Vec<&Endpoint>> = BTreeMap::new();
        let mut want = Want { shares: self.shares_version, ..Want::default() };
        for endpoint in self.endpoints.values() {
            match endpoint.stage {
                Stage::Joined { .. } if self.networks.contains_key(&endpoint.network) => {
                    members.entry(&endpoint.network).or_default().push(endpoint);
                }
                _ => {
                    want.tolerated.insert(endpoint.id.clone());
                }
            }
        }
        let bus = |network: &Network| {
            let bus = self.bus(network, members.remove(&network.id).unwrap_or_default());
            self.with_span_port(bus, network)
        };
        want.buses = self.networks.values().map(bus).collect();
        want
    }

    /// The members of a bus: endpoints that have joined, and whose namespace is not known to be gone.
    pub fn members_of<'a>(&'a self, network: &'a NetworkId) -> impl Iterator<Item = &'a Endpoint> {
        let is_member = move |endpoint: &&Endpoint| {
            endpoint.network == *network && endpoint.sandbox().is_some() && !self.is_dead(&endpoint.id)
        };
        self.endpoints.values().filter(is_member)
    }

    /// The desired state of one network; for the others, only their hubs.
    pub fn want_of(&self, id: &NetworkId) -> Want {
        let bus = |network: &Network| match network.id == *id {
            true => self.with_span_port(self.bus(network, self.members_of(id).collect()), network),
            false => self.bus(network, Vec::new()),
        };
        Want { buses: self.networks.values().map(bus).collect(), ..Want::default() }
    }

    fn bus(&self, network: &Network, endpoints: Vec<&Endpoint>) -> Bus {
        let member = |endpoint: &Endpoint| {
            let imposed = self.imposed_on(&network.id, &endpoint.id);
            Some(Member {
                endpoint: endpoint.id.clone(),
                alias: network.pair_alias(endpoint),
                ifname: endpoint.ifname.clone(),
                sandbox: endpoint.sandbox()?.to_owned(),
                namespace: endpoint.namespace,
                awaited: self.awaited.contains(&endpoint.id),
                rate: endpoint.rate,
                filters: endpoint.filters.or(&network.options.filters),
                shapes: imposed.shapes_over(network.shapes_of(endpoint)),
                share: self.shares.get(&endpoint.id).copied(),
                imposed,
            })
        };
        Bus {
            network: network.id.clone(),
            hub: network.hub(),
            alias: network.hub_alias(),
            options: network.options.clone(),
            members: endpoints.into_iter().filter_map(member).collect(),
        }
    }

    /// Adds the span port: a member of which both ends stay on the host.
    fn with_span_port(&self, mut bus: Bus, network: &Network) -> Bus {
        let endpoint = EndpointId::of_span_port(&network.id);
        bus.members.extend(network.span_port_alias().map(|alias| Member {
            alias,
            ifname: Naming::Exact(endpoint.container_end()),
            sandbox: HOST_NAMESPACE.into(),
            namespace: None,
            awaited: false,
            rate: None,
            filters: Filters::default(),
            shapes: Shapes::default(),
            share: self.shares.get(&endpoint).copied(),
            imposed: self.imposed_on(&network.id, &endpoint),
            endpoint,
        }));
        bus
    }
}
