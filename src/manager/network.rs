//! CreateNetwork and DeleteNetwork: a record on disk, and the hub in the kernel.

use std::{path::Path, time::Instant};

use tracing::warn;

use super::{Manager, blocked, took_us};
use crate::{
    error::{Error, Listed, Operation},
    events::{Event, Kind},
    kernel::{HOST_NAMESPACE, Link},
    model::Model,
    names::{EndpointId, IfName, NetworkId},
    network::{Hub, Network},
    options::RawOptions,
    plan::{Action, Blocks, Have, Scope, Step},
};

impl Manager {
    /// CreateNetwork: when this returns, the record is on disk and the hub is up, or nothing is left behind.
    ///
    /// # Errors
    /// One sentence for the user of `docker network create`.
    pub fn create_network(&self, id: NetworkId, options: RawOptions) -> Result<(), Error> {
        let started = Instant::now();
        let network = Network::new(id, options).map_err(Error::Refused)?;
        let mut model = self.model.lock();
        self.read_records_again(&mut model);
        if let Some(known) = model.network(&network.id).filter(|known| !known.provisional) {
            return match known.options == network.options {
                // Swarm sends it again.
                true => Ok(()),
                false => Err(Error::Refused(format!(
                    "network {} already exists with different options",
                    network.id.short()
                ))),
            };
        }
        self.make_network(&mut model, network, started)
    }

    /// Keeps the record of a network, and makes its hub.
    ///
    /// # Errors
    /// One sentence. Nothing is left behind.
    pub(super) fn make_network(
        &self,
        model: &mut Model,
        network: Network,
        started: Instant,
    ) -> Result<(), Error> {
        let shared = refuse_shared_hub(model, &network).and_then(|()| refuse_shared_span(model, &network));
        shared.inspect_err(|_| self.signals.want_relearn())?;
        self.kernel.ensure_gateway().map_err(Error::kernel(Operation::UseGateway))?;
        // Otherwise only the first container would find out.
        self.kernel.ensure_pairs().map_err(Error::kernel(Operation::MakePairs))?;
        if network.options.shapes.act() {
            self.kernel.ensure_netem().map_err(Error::kernel(Operation::ShapeFrames))?;
        }

        let (id, hub) = (network.id.clone(), network.hub());
        let before = model.network(&id).cloned();
        model.put_network(network);
        let created = self.store.save_networks(model.networks()).and_then(|()| self.make_hub(model, &id));
        if let Err(err) = created {
            if let (Hub::Adapter(adapter), Some(tried)) = (&hub, model.network(&id))
                && let Err(err) = self.leave_as_found(tried, adapter)
            {
                warn!(network = id.short(), interface = %hub, %err, "could not restore the adapter's settings");
            }
            // Not removed and put back, because a provisional network may already have members.
            match before {
                Some(network) => model.put_network(network),
                None => drop(model.remove_network(&id)),
            }
            // The request fails either way; a record that stays because of this is later collected against Docker's
            // list.
            let _ = self.store.save_networks(model.networks());
            return Err(err);
        }
        self.signals.want_relearn();
        // Docker tells the name of its own later.
        let name = model.network(&id).and_then(|network| network.name.clone());
        let created = Event { network: Some(id), network_name: name, ..Event::new(Kind::NetworkCreated) };
        self.events.tell(Event {
            interface: Some(hub.to_string()),
            took_us: Some(took_us(started)),
            ..created
        });
        Ok(())
    }

    fn make_hub(&self, model: &mut Model, id: &NetworkId) -> Result<(), Error> {
        let want = model.want_of(id);
        let mut have = self.look_at_host(want.hubs())?;
        if want.buses.iter().any(|bus| bus.network == *id && bus.options.span.is_some()) {
            have.sandboxes = self.look_into([Path::new(HOST_NAMESPACE)].into());
        }
        let plan = self.plan(&want, &mut have, Scope::Network(id));
        blocked(model, id, &plan, |blocks| matches!(blocks, Blocks::Network | Blocks::Creation))?;
        self.remember_found(model, &have, &plan.steps);
        let mut failed = None;
        self.carry_out(model, &plan.steps, |_, done| match done.result {
            // The bus works on this host without it; the loop retries, and reports why it cannot.
            Err(_) if of_span_port(done.step) => self.signals.want_look(),
            result => failed = failed.take().or(result.err()),
        });
        failed.map_or(Ok(()), Err)
    }

    /// DeleteNetwork: when this returns, the bus and its record are gone. An unknown network is not an error.
    pub fn delete_network(&self, id: &NetworkId) {
        let started = Instant::now();
        self.remove_network(&mut self.model.lock(), id, started);
    }

    pub(super) fn remove_network(&self, model: &mut Model, id: &NetworkId, started: Instant) {
        self.store.network_deleted(id);
        let Some(network) = model.network(id).cloned() else { return };
        let deleted = Event::of_network(Kind::NetworkDeleted, model, id);
        self.forget_faults(model, id);
        for endpoint in model.remove_network(id) {
            self.delete_pair(&endpoint);
            self.store.remove_endpoint(&endpoint);
        }
        if network.options.span.is_some() {
            self.delete_pair(&EndpointId::of_span_port(id));
        }
        let hub = network.hub();
        let freed = match &hub {
            // A vcan of canhub took the adapter's place if the network's record was lost for a while.
            Hub::Adapter(adapter) => {
                self.leave_as_found(&network, adapter).and_then(|()| self.delete_hub(id, &id.hub_name()))
            }
            Hub::Owned(name) | Hub::Shared(name) => self.delete_hub(id, name),
        };
        if let Err(err) = freed {
            warn!(network = id.short(), interface = %hub, %err, "could not delete the hub or restore the adapter");
        }
        if let Err(err) = self.store.save_networks(model.networks()) {
            warn!(network = id.short(), %err, "network deleted, but its record could not be removed");
        }
        self.signals.want_look();
        let (interface, took_us) = (Some(hub.to_string()), Some(took_us(started)));
        self.events.tell(Event { interface, took_us, ..deleted });
    }

    /// If this fails, the hub is a leftover, and the loop removes it.
    fn delete_hub(&self, id: &NetworkId, name: &IfName) -> Result<(), Error> {
        let links = self.kernel.links().map_err(Error::kernel(Listed::Links))?;
        let have = Have { links, ..Have::default() };
        let Some(Link { index, name, .. }) = have.own_hub(id, name.as_str()) else { return Ok(()) };
        let action = Action::Delete { sandbox: None, index: *index, name: name.clone() };
        self.kernel.delete_link(None, *index).map_err(Error::kernel(action))
    }

    /// Docker knows the network, so it exists. If its record is lost, it gets default options until Docker's API
    /// provides its own.
    pub(super) fn know_network(&self, model: &mut Model, id: &NetworkId) -> Result<(), Error> {
        if model.network(id).is_some() {
            return Ok(());
        }
        warn!(
            network = id.short(),
            "Docker uses a network that has no record; using default options until Docker's API provides its own"
        );
        model.put_network(Network::provisional(id.clone()).map_err(Error::Refused)?);
        if let Err(err) = self.store.save_networks(model.networks()) {
            warn!(network = id.short(), %err, "the network's record could not be saved; it will be lost if canhub restarts");
        }
        self.signals.want_relearn();
        Ok(())
    }
}

/// Whether a step of CreateNetwork is about the span port: then it is about its pair or its rules, and not about the hub.
fn of_span_port(step: &Step) -> bool {
    step.endpoint.is_some() || matches!(step.action, Action::AddRules { .. })
}

/// Frames of one host do not come back to it, so two buses of one host cannot be one.
fn refuse_shared_span(model: &Model, network: &Network) -> Result<(), Error> {
    let name = |network: &Network| network.options.span.as_ref().map(|span| span.name.clone());
    let Some(span) = name(network) else { return Ok(()) };
    let same = |other: &&Network| other.id != network.id && name(other).as_ref() == Some(&span);
    match model.networks().find(same) {
        None => Ok(()),
        Some(other) => Err(Error::Refused(format!(
            "span {span} is already that of network {} on this host: connect the containers to that network, or choose another span (if that network was removed while canhub was not running, try again in two minutes)",
            model.network_name(&other.id)
        ))),
    }
}

fn refuse_shared_hub(model: &Model, network: &Network) -> Result<(), Error> {
    let hub = network.hub();
    let same = |other: &&Network| {
        other.id != network.id && other.hub().name().is_some_and(|name| hub.name() == Some(name))
    };
    match model.networks().find(same) {
        None => Ok(()),
        Some(other) => Err(Error::Refused(format!(
            "the interface {} is already the bus of network {}: connect the containers to that network, or choose another hub (if that network was removed while canhub was not running, try again in two minutes)",
            hub,
            model.network_name(&other.id)
        ))),
    }
}
