//! Start-up: loads the state folder, and adopts links of canhub that exist in the kernel.

use tracing::warn;

use super::Manager;
use crate::{
    apply::Repair,
    error::Error,
    events::{Event, Kind},
    names::NetworkId,
    network::{Alias, Network},
    plan::is_ours,
};

/// The reason given when something is adopted.
const UNRECORDED: &str = "it exists but has no record";

impl Manager {
    /// Repairs the records on disk: an unreadable or deleted file is rewritten, and networks that someone has added to
    /// the file are loaded.
    pub(crate) fn repair_records(&self) -> Vec<Repair> {
        let mut model = self.model.lock();
        self.read_records_again(&mut model);
        let loaded = self.store.load();
        let repair = |reason: &str, did: &str, saved: Result<(), Error>| Repair {
            network_name: None,
            interface: "state.json".into(),
            reason: reason.into(),
            did: did.into(),
            err: saved.err().map(|err| err.to_string()),
        };
        let mut all = Vec::new();
        for network in loaded.networks {
            let taken = |known: &Network| known.id == network.id || known.hub() == network.hub();
            if !model.networks().any(taken) {
                let did = format!("load the network {}", network.id.short());
                all.push(repair("a recorded network was not loaded", &did, Ok(())));
                model.put_network(network);
            }
        }
        if let Some(why) = loaded.unread {
            return vec![Repair {
                err: Some(why),
                ..repair("the records could not be read", "read the records again", Ok(()))
            }];
        }
        for warning in &loaded.warnings {
            warn!("{warning}");
            let endpoints = model.endpoints().try_for_each(|endpoint| self.store.save_endpoint(endpoint));
            let saved = endpoints.and_then(|()| self.store.save_networks(model.networks()));
            all.push(repair(warning, "rewrite the records", saved));
        }
        if self.is_file_deleted(&model) {
            let saved = self.store.save_networks(model.networks());
            all.push(repair("someone deleted the records", "rewrite the records", saved));
        }
        all
    }

    /// Loads the records, and adopts every link whose alias describes something without a record.
    ///
    /// A link whose sandbox no longer exists is not adopted; the reconcile loop removes it.
    pub(super) fn adopt(&self) {
        let loaded = self.store.load();
        for warning in loaded.warnings.iter().chain(&loaded.unread) {
            warn!("{warning}");
        }
        let mut model = self.model.lock();
        loaded.networks.into_iter().for_each(|network| model.put_network(network));
        loaded.endpoints.into_iter().for_each(|endpoint| model.put_endpoint(endpoint));

        let links = self.kernel.links().unwrap_or_else(|err| {
            warn!(%err, "could not list the host's interfaces; nothing was adopted");
            Vec::new()
        });
        let mut adopted: Vec<NetworkId> = Vec::new();
        let owned = links.iter().filter(|link| is_ours(link));
        let mut owned: Vec<_> =
            owned.filter_map(|link| Some((link, Alias::parse(link.alias.as_deref()?)?))).collect();
        // That of a hub or a span port says more about the network than that of a container's pair.
        owned.sort_by_key(|(_, alias)| alias.endpoint.as_ref().is_some_and(|one| !one.id.is_span_port()));
        for (link, alias) in owned {
            // A span port has no record: its network's is enough.
            let endpoint = alias.endpoint.filter(|endpoint| !endpoint.id.is_span_port());
            let endpoint = endpoint.map(|endpoint| endpoint.into_endpoint(alias.network.clone()));
            let alive = match &endpoint {
                None => true,
                // If it cannot be read, it may well exist.
                Some(endpoint) => endpoint
                    .sandbox()
                    .is_some_and(|sandbox| self.kernel.sandbox_exists(sandbox).unwrap_or(true)),
            };
            if !alive {
                continue;
            }
            if model.network(&alias.network).is_none() {
                match Network::new(alias.network.clone(), alias.options) {
                    Ok(network) => {
                        adopted.push(network.id.clone());
                        // Docker's API provides what does not fit into an alias.
                        let network = Network { provisional: alias.more, name: alias.name, ..network };
                        model.put_network(network.with_lists_lost(alias.lists));
                    }
                    Err(why) => {
                        warn!(
                            network = alias.network.short(),
                            interface = link.name,
                            reason = why,
                            "not adopted"
                        );
                        continue;
                    }
                }
            }
            if let Some(endpoint) = endpoint.filter(|endpoint| model.endpoint(&endpoint.id).is_none()) {
                self.events.tell(Event {
                    interface: Some(link.name.clone()),
                    reason: Some(UNRECORDED.into()),
                    ..Event::of_endpoint(Kind::Adopted, &model, &endpoint)
                });
                self.keep_endpoint(&mut model, endpoint);
            }
        }
        for network in &adopted {
            let adopted = Event::of_network(Kind::Adopted, &model, network);
            self.events.tell(Event { reason: Some(UNRECORDED.into()), ..adopted });
        }
        if !adopted.is_empty()
            && let Err(err) = self.store.save_networks(model.networks())
        {
            warn!(%err, "adopted records could not be saved; they will be lost if canhub restarts");
        }
    }
}
