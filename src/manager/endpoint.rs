//! CreateEndpoint, Leave and DeleteEndpoint: a record, and the pair in the kernel. Join creates the pair
//! ([`super::join`]).

use std::time::{Duration, Instant};

use tracing::warn;

use super::{Manager, took_us, unknown_network};
use crate::{
    endpoint::{Endpoint, Stage},
    error::{Error, Operation},
    events::{Event, Kind},
    kernel::{KernelError, Link},
    model::Model,
    names::{EndpointId, NetworkId},
    options::{EndpointOptions, RawOptions, within_bitrate},
    plan::{Have, owner},
};

/// How long the loop waits after an endpoint is deleted.
const SETTLE_LEFT: Duration = Duration::from_millis(100);
/// How long the loop waits once a call from Docker starts: a pass would delay its response, and events caused by the
/// call are no news.
pub(super) const SETTLE_CALL: Duration = Duration::from_millis(100);

impl Manager {
    /// CreateEndpoint: stores what only this call contains. Nothing is created yet.
    ///
    /// # Errors
    /// One sentence for the user of `docker run`.
    pub fn create_endpoint(
        &self,
        network: NetworkId,
        id: EndpointId,
        options: &RawOptions,
    ) -> Result<(), Error> {
        let asked = EndpointOptions::parse(options).map_err(Error::Refused)?;
        self.signals.settle_at_least(SETTLE_CALL);
        let mut model = self.model.lock();
        self.know_network(&mut model, &network)?;
        let endpoint = self.new_endpoint(&model, network, id, asked)?;
        self.keep_endpoint(&mut model, endpoint);
        Ok(())
    }

    /// An endpoint with these options, if its network and its other members allow them.
    pub(super) fn new_endpoint(
        &self,
        model: &Model,
        network: NetworkId,
        id: EndpointId,
        asked: EndpointOptions,
    ) -> Result<Endpoint, Error> {
        if let Some(other) =
            model.endpoints().find(|other| other.id != id && other.id.host_end() == id.host_end())
        {
            return Err(Error::Refused(format!(
                "endpoint {id} would share the interface name {} with endpoint {}: start the container again to get a new endpoint ID",
                id.host_end(),
                other.id
            )));
        }
        let Some(known) = model.network(&network) else { return Err(unknown_network(&network)) };
        within_bitrate(asked.rate, &known.options.settings).map_err(Error::Refused)?;
        let ifname = asked.ifname.unwrap_or_else(|| known.options.ifname.clone());
        let filters = asked.filters.or(&known.options.filters);
        filters
            .fit(&filters)
            .and_then(|()| {
                let others = model.endpoints().filter(|other| other.network == network);
                others
                    .map(|other| other.filters.or(&known.options.filters))
                    .try_for_each(|other| filters.fit(&other))
            })
            .map_err(Error::Refused)?;
        let shapes = asked.shapes.or(&known.options.shapes);
        shapes.check().map_err(|why| Error::Refused(format!("option {why}")))?;
        if !asked.shapes.say_nothing() && shapes.act() {
            self.kernel.ensure_netem().map_err(Error::kernel(Operation::ShapeFrames))?;
        }
        Ok(Endpoint {
            id,
            network,
            ifname,
            rate: asked.rate,
            filters: asked.filters,
            shapes: asked.shapes,
            stage: Stage::Created,
            attached: None,
            namespace: None,
        })
    }

    /// Leave: the container needs nothing any more. The pair stays until DeleteEndpoint, because dockerd 28.0–29.6
    /// crashed ("close of closed channel") if it did not find the interface at that point.
    pub fn leave(&self, id: &EndpointId) {
        self.signals.settle_at_least(SETTLE_CALL);
        let mut model = self.model.lock();
        if let Some(endpoint) = model.endpoint(id).cloned() {
            self.keep_endpoint(&mut model, Endpoint { stage: Stage::Left, ..endpoint });
        }
    }

    /// DeleteEndpoint: when this returns, the pair and its rules are gone. An unknown endpoint is not an error.
    pub fn delete_endpoint(&self, id: &EndpointId) {
        let started = Instant::now();
        self.signals.settle_at_least(SETTLE_CALL);
        self.remove_member(&mut self.model.lock(), id, None, started);
    }

    pub(super) fn remove_member(
        &self,
        model: &mut Model,
        id: &EndpointId,
        reason: Option<&'static str>,
        started: Instant,
    ) {
        self.count_before_leave(model);
        self.delete_pair(id);
        self.signals.settle_for(SETTLE_LEFT);
        if let Some(endpoint) = model.endpoint(id) {
            let (left, network) = (Event::of_endpoint(Kind::Left, model, endpoint), endpoint.network.clone());
            model.remove_endpoint(id);
            self.store.remove_endpoint(id);
            let (reason, took_us) = (reason.map(Into::into), Some(took_us(started)));
            self.events.tell(Event { reason, took_us, ..left });
            self.remove_unused(model, &network);
        }
    }

    /// Deleting one end deletes the other, wherever it is, and the rules of both.
    pub(super) fn delete_pair(&self, id: &EndpointId) {
        let deleted = self.find_host_end(id).and_then(|host| match host {
            Some(index) => self.kernel.delete_link(None, index),
            None => Ok(()),
        });
        if let Err(err) = deleted {
            warn!(endpoint = id.short(), interface = %id.host_end(), %err, "could not delete the pair; will retry");
            self.signals.want_look();
        }
    }

    /// It nearly always has its own name; then no other link has to be read.
    fn find_host_end(&self, id: &EndpointId) -> Result<Option<u32>, KernelError> {
        let host_end =
            |links: Vec<Link>| Have { links, ..Have::default() }.host_end(id).map(|link| link.index);
        let named = self.kernel.link_named(&id.host_end())?.filter(|link| owner(link).as_ref() == Some(id));
        match named.and_then(|link| host_end(vec![link])) {
            Some(index) => Ok(Some(index)),
            None => Ok(host_end(self.kernel.links()?)),
        }
    }

    /// Stores an endpoint in the model and, if possible, on disk. The alias of the pair holds the same information.
    pub(super) fn keep_endpoint(&self, model: &mut Model, endpoint: Endpoint) {
        self.save_endpoint(&endpoint);
        model.put_endpoint(endpoint);
    }

    /// Stores an endpoint on disk, if possible.
    pub(super) fn save_endpoint(&self, endpoint: &Endpoint) {
        if let Err(err) = self.store.save_endpoint(endpoint) {
            warn!(endpoint = endpoint.id.short(), %err, "the endpoint's record could not be saved; it will be lost if canhub restarts");
        }
    }
}
