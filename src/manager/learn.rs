//! What Docker tells in the background: names for people, options that were lost, and what it has forgotten.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use tracing::{info, warn};

use super::Manager;
use crate::{
    events::{Event, Kind},
    names::{EndpointId, NetworkId},
    network::Network,
    options::RawOptions,
};

/// A network or endpoint younger than this is never taken for forgotten: Docker stores one only after the driver answered.
const GRACE: Duration = Duration::from_secs(60);

/// A network as Docker's API lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerNetwork {
    /// Its id.
    pub id: NetworkId,
    /// Its name.
    pub name: String,
    /// The driver options it was created with.
    pub options: RawOptions,
    /// Its endpoints, with the names of their containers. Only asked for where the network is ours.
    pub endpoints: Option<BTreeMap<EndpointId, String>>,
}

impl Manager {
    /// The ids of all networks.
    pub fn network_ids(&self) -> BTreeSet<NetworkId> {
        self.model.lock().networks().map(|network| network.id.clone()).collect()
    }

    /// Takes in the names of containers that Docker gave up on because canhub was not there.
    pub fn set_late(&self, containers: Vec<String>) {
        *self.late.lock() = containers;
    }

    /// Their names, as of the last time that Docker was asked.
    pub fn late(&self) -> Vec<String> {
        self.late.lock().clone()
    }

    /// Takes in Docker's list of all its networks, asked for at `asked`.
    pub fn learn(&self, docker: &[DockerNetwork], asked: Instant) {
        let mut model = self.model.lock();
        let mut learnt = false;
        for told in docker {
            for (endpoint, container) in told.endpoints.iter().flatten() {
                model.name_container(endpoint, container);
            }
            if model.network(&told.id).is_some_and(|network| network.provisional) {
                match Network::new(told.id.clone(), told.options.clone()) {
                    Ok(network) => {
                        info!(
                            network = told.id.short(),
                            network_name = told.name,
                            "Docker told the options of a network whose record was lost"
                        );
                        model.put_network(network);
                        learnt = true;
                    }
                    Err(why) => {
                        warn!(
                            network = told.id.short(),
                            network_name = told.name,
                            reason = why,
                            "Docker's options of a lost network are refused"
                        );
                    }
                }
            }
            learnt |= model.name_network(&told.id, &told.name);
        }
        let old = |id: &str| {
            model.known_since(id).is_some_and(|since| asked.saturating_duration_since(since) > GRACE)
        };
        let networks: Vec<NetworkId> = model
            .networks()
            .filter(|network| old(network.id.as_ref()) && !docker.iter().any(|told| told.id == network.id))
            .map(|network| network.id.clone())
            .collect();
        let listed = |network: &NetworkId| docker.iter().find(|told| told.id == *network)?.endpoints.as_ref();
        let endpoints: Vec<EndpointId> = model
            .endpoints()
            .filter(|endpoint| old(endpoint.id.as_ref()))
            .filter(|endpoint| {
                listed(&endpoint.network).is_some_and(|listed| !listed.contains_key(&endpoint.id))
            })
            .map(|endpoint| endpoint.id.clone())
            .collect();
        if learnt && let Err(err) = self.store.save_networks(model.networks()) {
            warn!(%err, "what Docker told is kept in memory only");
        }
        drop(model);
        // No Leave is ever sent for what an unclean stop of dockerd left behind.
        for endpoint in endpoints {
            self.collect_endpoint(&endpoint, FORGOTTEN);
        }
        for network in networks {
            self.collect_network(&network, FORGOTTEN);
        }
        if learnt {
            self.signals.want_look();
        }
    }

    /// Ends an endpoint of which Docker told no end.
    pub(crate) fn collect_endpoint(&self, id: &EndpointId, reason: &'static str) {
        let event = {
            let model = self.model.lock();
            let Some(endpoint) = model.endpoint(id) else { return };
            Event::of_endpoint(Kind::EndpointCollected, &model, endpoint)
        };
        self.events.tell(Event { reason: Some(reason.into()), ..event });
        self.delete_endpoint(id);
    }

    fn collect_network(&self, id: &NetworkId, reason: &'static str) {
        let event = Event::of_network(Kind::NetworkCollected, &self.model.lock(), id);
        self.events.tell(Event { reason: Some(reason.into()), ..event });
        self.delete_network(id);
    }
}

const FORGOTTEN: &str = "Docker does not know it any more";
