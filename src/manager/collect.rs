//! Removes what Docker has forgotten: an unclean stop of dockerd sends no Leave, and a network that is removed while
//! canhub is not running gets no DeleteNetwork.
//!
//! A list without a network proves little: it may come from another engine (a wrong `--docker-socket`), or at the wrong
//! moment. So it takes two lists, some time apart, from the engine that listed the network before, and a bus with a
//! running member is never collected.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{DockerView, Manager};
use crate::{
    events::{Event, Kind},
    model::Model,
    names::{EndpointId, NetworkId},
};

/// What is collected was missing from two lists at least this far apart. Docker stores a network or an endpoint only
/// after the driver has answered, and a busy machine takes its time.
pub(crate) const SECOND_LOOK: Duration = Duration::from_secs(60);

/// What a list lacks.
#[derive(Debug, Default)]
pub(super) struct Missing {
    networks: Vec<NetworkId>,
    endpoints: Vec<EndpointId>,
    /// Whether something is missing for the first time, or not for long enough.
    pub(super) unconfirmed: bool,
}

impl Missing {
    /// Compares the model with a list.
    pub(super) fn find(model: &mut Model, view: &DockerView, engine: &str) -> Self {
        let mut missing = Self::default();
        let listed: BTreeMap<_, _> = view.networks.iter().map(|network| (&network.id, network)).collect();
        let known: BTreeSet<NetworkId> = model.networks().map(|network| network.id.clone()).collect();
        for id in known {
            if listed.contains_key(&id) {
                model.listed(id.as_ref());
            } else if is_engine_of(model, &id, engine) {
                match is_confirmed(model, id.as_ref(), view.asked, engine) {
                    true => missing.networks.push(id),
                    false => missing.unconfirmed = true,
                }
            }
        }
        let of_docker = model.endpoints().filter(|endpoint| endpoint.attached.is_none());
        let endpoints: Vec<(EndpointId, NetworkId)> =
            of_docker.map(|endpoint| (endpoint.id.clone(), endpoint.network.clone())).collect();
        for (id, network) in endpoints {
            let Some(told) = listed.get(&network).and_then(|network| network.endpoints.as_ref()) else {
                continue;
            };
            if told.contains_key(&id) {
                model.listed(id.as_ref());
                continue;
            }
            // A container has one endpoint on a network at a time: this run of it has ended, and another one has
            // started.
            let name = model.container_name(&id);
            if name.is_some_and(|name| told.values().any(|listed| listed == name)) {
                model.set_dead(&id, true);
                missing.endpoints.push(id);
                continue;
            }
            match is_confirmed(model, id.as_ref(), view.asked, engine) {
                true => missing.endpoints.push(id),
                false => missing.unconfirmed = true,
            }
        }
        missing
    }
}

fn is_confirmed(model: &mut Model, id: &str, asked: Instant, engine: &str) -> bool {
    asked.saturating_duration_since(model.unlisted_since(id, engine, asked)) >= SECOND_LOOK
}

/// Whether a list of this engine counts for a network. A network that no engine has ever listed may be too new, or belong
/// to a second engine that canhub does not ask: doctor names it, and a person decides.
fn is_engine_of(model: &Model, id: &NetworkId, engine: &str) -> bool {
    model.network(id).is_some_and(|network| network.engine.as_deref() == Some(engine))
}

/// Why an attachment ends by itself.
pub(super) const NAMESPACE_ENDED: &str = "its network namespace has ended";

const FORGOTTEN: &str = "Docker no longer lists it";

impl Manager {
    /// Removes what is confirmed missing.
    pub(super) fn collect(&self, missing: Missing) {
        for endpoint in missing.endpoints {
            self.collect_endpoint(&endpoint, FORGOTTEN);
        }
        for network in missing.networks {
            self.collect_network(&network, FORGOTTEN);
        }
    }

    /// Removes an endpoint for which Docker sent no DeleteEndpoint.
    pub(crate) fn collect_endpoint(&self, id: &EndpointId, reason: &'static str) {
        let mut model = self.model.lock();
        let Some(endpoint) = model.endpoint(id) else { return };
        let reason = match endpoint.attached {
            // Its regular end.
            Some(_) => Some(NAMESPACE_ENDED),
            None => {
                let event = Event::of_endpoint(Kind::EndpointCollected, &model, endpoint);
                self.events.tell(Event { reason: Some(reason.into()), ..event });
                None
            }
        };
        self.remove_member(&mut model, id, reason, Instant::now());
    }

    fn collect_network(&self, id: &NetworkId, reason: &'static str) {
        let mut model = self.model.lock();
        // Under the lock, so that nothing joins meanwhile.
        if self.has_living_member(&model, id) {
            return;
        }
        let event = Event::of_network(Kind::NetworkCollected, &model, id);
        self.events.tell(Event { reason: Some(reason.into()), ..event });
        self.remove_network(&mut model, id, Instant::now());
    }

    /// A sandbox that cannot be read may exist.
    fn has_living_member(&self, model: &Model, id: &NetworkId) -> bool {
        let members = model.endpoints().filter(|endpoint| endpoint.network == *id);
        members
            .filter_map(|endpoint| endpoint.sandbox())
            .any(|sandbox| self.kernel.sandbox_exists(sandbox).unwrap_or(true))
    }
}
