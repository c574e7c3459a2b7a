//! What canhub knows of Docker's world: networks, endpoints, and the names people gave them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use crate::{
    endpoint::{Endpoint, Stage},
    names::{EndpointId, NetworkId},
    network::Network,
    options::Frames,
    plan::{Bus, Member, Want},
};

/// The model. It has no locks and asks nobody anything.
#[derive(Debug, Default)]
pub struct Model {
    networks: BTreeMap<NetworkId, Network>,
    endpoints: BTreeMap<EndpointId, Endpoint>,
    /// Since when the lists of an engine lack a network or an endpoint.
    unlisted: BTreeMap<String, Unlisted>,
    /// What Docker calls the containers of endpoints; learnt in the background, for people only.
    containers: BTreeMap<EndpointId, String>,
    /// Endpoints whose container end Docker is moving in and has not brought up yet.
    awaited: BTreeSet<EndpointId>,
    generation: u64,
}

/// What an engine's lists lack.
#[derive(Debug, Clone)]
struct Unlisted {
    engine: String,
    since: Instant,
}

impl Model {
    /// Rises with every change of what is wanted, and with every plan that is carried out.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What stands in the kernel is about to change: a look that was taken before is worth nothing any more.
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

    /// Adds or replaces a network.
    pub fn put_network(&mut self, network: Network) {
        self.generation += 1;
        self.networks.insert(network.id.clone(), network);
    }

    /// Adds or replaces an endpoint.
    pub fn put_endpoint(&mut self, endpoint: Endpoint) {
        self.generation += 1;
        self.endpoints.insert(endpoint.id.clone(), endpoint);
    }

    /// Forgets a network and its endpoints, and returns the endpoints.
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

    /// Forgets an endpoint.
    pub fn remove_endpoint(&mut self, id: &EndpointId) -> Option<Endpoint> {
        self.generation += 1;
        self.unlisted.remove(id.as_ref());
        self.containers.remove(id);
        self.awaited.remove(id);
        self.endpoints.remove(id)
    }

    /// Docker is about to move this endpoint's container end in.
    pub fn await_docker(&mut self, id: &EndpointId) {
        self.awaited.insert(id.clone());
    }

    /// The container end is in and up; from now on it is kept so.
    pub fn arrived(&mut self, id: &EndpointId) {
        self.awaited.remove(id);
    }

    /// An engine's list has this network or endpoint.
    pub fn listed(&mut self, id: &str) {
        self.unlisted.remove(id);
    }

    /// An engine's list, asked for at `asked`, lacks this network or endpoint. Returns since when its lists have.
    pub fn unlisted_since(&mut self, id: &str, engine: &str, asked: Instant) -> Instant {
        let now = Unlisted { engine: engine.to_owned(), since: asked };
        let known = self.unlisted.entry(id.to_owned()).or_insert_with(|| now.clone());
        if known.engine != engine {
            *known = now;
        }
        known.since
    }

    /// Remembers what Docker calls a network; true where that is news.
    pub fn name_network(&mut self, id: &NetworkId, name: &str) -> bool {
        let network = self.networks.get_mut(id).filter(|network| network.name.as_deref() != Some(name));
        network.map(|network| network.name = Some(name.to_owned())).is_some()
    }

    /// Remembers which engine has listed a network; true where that is news.
    pub fn set_engine(&mut self, id: &NetworkId, engine: &str) -> bool {
        let network = self.networks.get_mut(id).filter(|network| network.engine.as_deref() != Some(engine));
        network.map(|network| network.engine = Some(engine.to_owned())).is_some()
    }

    /// Remembers what Docker calls the container of an endpoint.
    pub fn name_container(&mut self, id: &EndpointId, name: &str) {
        if self.endpoints.contains_key(id) {
            self.containers.insert(id.clone(), name.to_owned());
        }
    }

    /// What people call a network; its short id until Docker has told.
    pub fn network_name<'a>(&'a self, id: &'a NetworkId) -> &'a str {
        self.networks.get(id).and_then(|network| network.name.as_deref()).unwrap_or(id.short())
    }

    /// What people call the container of an endpoint, once Docker has told.
    pub fn container_name(&self, id: &EndpointId) -> Option<&str> {
        self.containers.get(id).map(String::as_str)
    }

    /// All that is wanted of the kernel.
    pub fn want(&self) -> Want {
        let mut members: BTreeMap<&NetworkId, Vec<&Endpoint>> = BTreeMap::new();
        let mut want = Want::default();
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
        let bus = |network: &Network| self.bus(network, members.remove(&network.id).unwrap_or_default());
        want.buses = self.networks.values().map(bus).collect();
        want
    }

    /// What is wanted for one network; of the others only their hubs.
    pub fn want_of(&self, id: &NetworkId) -> Want {
        let members = |network: &Network| match network.id == *id {
            true => self.endpoints.values().filter(|endpoint| endpoint.network == *id).collect(),
            false => Vec::new(),
        };
        let buses = self.networks.values().map(|network| self.bus(network, members(network)));
        Want { buses: buses.collect(), ..Want::default() }
    }

    fn bus(&self, network: &Network, endpoints: Vec<&Endpoint>) -> Bus {
        let member = |endpoint: &Endpoint| {
            Some(Member {
                endpoint: endpoint.id.clone(),
                alias: network.pair_alias(endpoint),
                ifname: endpoint.ifname.clone(),
                sandbox: endpoint.sandbox()?.to_owned(),
                awaited: self.awaited.contains(&endpoint.id),
            })
        };
        Bus {
            network: network.id.clone(),
            hub: network.hub(),
            alias: network.hub_alias(),
            mtu: network.options.frames.mtu(),
            fd: network.options.frames != Frames::Classic,
            settings: network.options.settings.clone(),
            adapter_wait: network.options.adapter_wait,
            members: endpoints.into_iter().filter_map(member).collect(),
        }
    }
}
