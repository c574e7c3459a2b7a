//! What Docker's API provides in the background: names, lost options, and what no longer exists.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use tracing::{info, warn};

use super::{Manager, collect::Missing};
use crate::{
    names::{EndpointId, NetworkId},
    network::Network,
    options::RawOptions,
};

/// Docker's list of all networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerView {
    /// The engine that returned it: the `ID` of `docker info`, if available.
    pub engine: Option<String>,
    /// When it was requested.
    pub asked: Instant,
    /// The networks.
    pub networks: Vec<DockerNetwork>,
}

/// A network as Docker's API lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerNetwork {
    /// Its id.
    pub id: NetworkId,
    /// Its name.
    pub name: String,
    /// The driver options it was created with.
    pub options: RawOptions,
    /// Its endpoints with the names of their containers. Only requested for our networks.
    pub endpoints: Option<BTreeMap<EndpointId, String>>,
}

impl Manager {
    /// The IDs of all networks.
    pub fn network_ids(&self) -> BTreeSet<NetworkId> {
        self.model.lock().networks().map(|network| network.id.clone()).collect()
    }

    /// Sets the names of containers that Docker failed to start because canhub was not running.
    pub fn set_late(&self, containers: Vec<String>) {
        *self.late.lock() = containers;
    }

    /// Their names, as of the last query.
    pub fn late(&self) -> Vec<String> {
        self.late.lock().clone()
    }

    /// Processes Docker's list of all networks. Returns whether a second list is needed before something missing is
    /// collected.
    pub fn learn(&self, view: &DockerView) -> bool {
        let mut model = self.model.lock();
        let (mut changed, mut is_faulty) = (false, false);
        let mut names = view.networks.iter().flat_map(|told| told.endpoints.iter().flatten());
        let is_renamed = names.any(|(endpoint, container)| model.is_new_name(endpoint, container));
        let before = (is_renamed && !model.faults().all().is_empty()).then(|| model.want());
        for told in &view.networks {
            for (endpoint, container) in told.endpoints.iter().flatten() {
                is_faulty |= model.name_container(endpoint, container);
            }
            if model.network(&told.id).is_some_and(|network| network.provisional) {
                match Network::new(told.id.clone(), told.options.clone()) {
                    Ok(network) => {
                        info!(
                            network = told.id.short(),
                            network_name = told.name,
                            "recovered the options of a network without a record from Docker"
                        );
                        model.put_network(network);
                        changed = true;
                    }
                    Err(why) => {
                        warn!(
                            network = told.id.short(),
                            network_name = told.name,
                            reason = why,
                            "cannot recover a network without a record: its options in Docker are invalid"
                        );
                    }
                }
            }
            changed |= model.name_network(&told.id, &told.name);
            if let Some(engine) = &view.engine {
                changed |= model.set_engine(&told.id, engine);
            }
        }
        let missing = match &view.engine {
            Some(engine) => Missing::find(&mut model, view, engine),
            None => Missing::default(),
        };
        if changed && let Err(err) = self.store.save_networks(model.networks()) {
            warn!(%err, "network names and options from Docker could not be saved; they will be lost if canhub restarts");
        }
        if let (true, Some(before)) = (is_faulty, before) {
            self.follow_names(&mut model, &before);
        }
        drop(model);
        let unconfirmed = missing.unconfirmed;
        self.collect(missing);
        if changed || is_faulty {
            self.signals.want_look();
        }
        unconfirmed
    }
}
