//! The one door to the buses: for the driver, the reconcile loop and everything that asks.
//!
//! All methods of [`Manager`] are synchronous and may block for as long as the kernel does. One lock orders them, so
//! there is one writer of rules. Asynchronous code gets a [`Handle`], which runs them on threads that may block.

mod adapter;
mod adopt;
mod collect;
mod handle;
mod join;
mod learn;
mod look;
mod records;
mod signals;
mod survey;

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime},
};

use parking_lot::{Mutex, MutexGuard};
use tracing::{debug, warn};

pub(crate) use collect::SECOND_LOOK;
pub use handle::Handle;
pub use join::Joined;
pub use learn::{DockerNetwork, DockerView};
pub use records::RecordsState;
pub use signals::Signals;
pub use survey::Depth;

use crate::{
    apply::{StepResult, apply},
    clock::micros,
    endpoint::{Endpoint, Stage},
    error::{Error, Listed, Operation},
    events::{Event, Events, Kind},
    kernel::{Kernel, Link},
    model::Model,
    names::{EndpointId, IfName, NetworkId},
    network::{Hub, Network},
    options::{RawOptions, parse_endpoint},
    plan::{Action, Blocks, Have, Plan, Scope, Step},
    state::Store,
    status::StartupValidation,
    traffic::Totals,
};

/// How long the loop waits after an endpoint was deleted.
const SETTLE_LEFT: Duration = Duration::from_millis(100);

/// Counters that are younger are not read again before a pair goes: a dump of a large bus takes milliseconds.
const COUNT_PAUSE: Duration = Duration::from_secs(1);

/// Holds the model, the store and the kernel together.
pub struct Manager {
    pub(crate) kernel: Arc<dyn Kernel>,
    store: Store,
    model: Mutex<Model>,
    signals: Signals,
    /// `--no-heal` turns it off for all networks.
    heal: bool,
    events: Events,
    /// When canhub started.
    since: SystemTime,
    /// Containers that Docker gave up on because canhub was not there.
    late: Mutex<Vec<String>>,
    /// What all members sent and received since canhub started.
    traffic: Mutex<Totals>,
    /// What the first look at everything came to.
    validation: OnceLock<StartupValidation>,
}

impl Manager {
    /// Loads the state folder and adopts what lives in the kernel.
    pub fn new(kernel: Arc<dyn Kernel>, store: Store, heal: bool) -> Self {
        let manager = Self {
            kernel,
            store,
            model: Mutex::default(),
            signals: Signals::default(),
            heal,
            events: Events::default(),
            since: SystemTime::now(),
            late: Mutex::default(),
            traffic: Mutex::default(),
            validation: OnceLock::new(),
        };
        manager.adopt();
        manager
    }

    /// What wakes whom.
    pub fn signals(&self) -> &Signals {
        &self.signals
    }

    /// Where all that happens is told.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Everything was compared with what is wanted. `found` is kept if this was the first time.
    pub(crate) fn audited(&self, found: impl FnOnce() -> StartupValidation) {
        self.validation.get_or_init(found);
        self.events.counters().audited();
        self.signals.audited();
    }

    /// What start-up validation came to; `None` until it is done.
    pub fn startup_validation(&self) -> Option<StartupValidation> {
        self.validation.get().cloned()
    }

    /// The model, for reading.
    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock()
    }

    /// Whether a network's bus is repaired while it runs.
    pub(crate) fn heals(&self, network: &Network) -> bool {
        self.heal && network.options.heal
    }

    /// CreateNetwork: the record is on the disk and the hub is up when this returns, or nothing is left.
    ///
    /// # Errors
    /// One sentence for the user of `docker network create`.
    pub fn create_network(&self, id: NetworkId, options: RawOptions) -> Result<(), Error> {
        let started = Instant::now();
        let network = Network::new(id.clone(), options).map_err(Error::Refused)?;
        let mut model = self.model.lock();
        self.read_records_again(&mut model);
        if let Some(known) = model.network(&id).filter(|known| !known.provisional) {
            return match known.options == network.options {
                // A swarm sends it again.
                true => Ok(()),
                false => Err(Error::Refused(format!(
                    "network {} already exists with different options",
                    id.short()
                ))),
            };
        }
        refuse_shared_hub(&model, &network).inspect_err(|_| self.signals.want_relearn())?;
        self.kernel.ensure_gateway().map_err(Error::kernel(Operation::UseGateway))?;

        let before = model.network(&id).cloned();
        let hub = network.hub();
        model.put_network(network);
        let created =
            self.store.save_networks(model.networks()).and_then(|()| self.make_hub(&mut model, &id));
        if let Err(err) = created {
            if let (Hub::Adapter(adapter), Some(tried)) = (&hub, model.network(&id))
                && let Err(err) = self.leave_as_found(tried, adapter)
            {
                warn!(network = id.short(), interface = %hub, %err, "could not restore the adapter's settings");
            }
            // Not removed and put back: a provisional network may have members already.
            match before {
                Some(network) => model.put_network(network),
                None => drop(model.remove_network(&id)),
            }
            // The create fails either way; a record that stays by this failure is collected against Docker's list.
            let _ = self.store.save_networks(model.networks());
            return Err(err);
        }
        self.signals.want_relearn();
        self.events.tell(Event {
            network: Some(id),
            interface: Some(hub.to_string()),
            took_us: Some(took_us(started)),
            ..Event::new(Kind::NetworkCreated)
        });
        Ok(())
    }

    /// Carries out steps, under the lock: from now on nobody acts on a look that was taken before.
    pub(crate) fn carry_out(
        &self,
        model: &mut Model,
        steps: &[Step],
        mut done: impl FnMut(&Model, StepResult<'_>),
    ) {
        if steps.is_empty() {
            return;
        }
        model.outdate_looks();
        let model = &*model;
        apply(&*self.kernel, steps, |step| done(model, step));
    }

    fn make_hub(&self, model: &mut Model, id: &NetworkId) -> Result<(), Error> {
        let want = model.want_of(id);
        let mut have = self.look_at_host(want.hubs())?;
        let plan = self.plan(&want, &mut have, Scope::Network(id));
        blocked(model, id, &plan, |blocks| matches!(blocks, Blocks::Network | Blocks::Creation))?;
        self.remember_found(model, &have, &plan.steps);
        let mut failed = None;
        self.carry_out(model, &plan.steps, |_, done| failed = failed.take().or(done.result.err()));
        failed.map_or(Ok(()), Err)
    }

    /// DeleteNetwork: the bus and its record are gone when this returns. Unknown ones are gone already.
    pub fn delete_network(&self, id: &NetworkId) {
        let started = Instant::now();
        self.remove_network(&mut self.model.lock(), id, started);
    }

    fn remove_network(&self, model: &mut Model, id: &NetworkId, started: Instant) {
        self.store.network_deleted(id);
        let Some(network) = model.network(id).cloned() else { return };
        let deleted = Event::of_network(Kind::NetworkDeleted, model, id);
        for endpoint in model.remove_network(id) {
            self.delete_pair(&endpoint);
            self.store.remove_endpoint(&endpoint);
        }
        let hub = network.hub();
        let freed = match &hub {
            // A vcan of ours stood in for it if the network's record was lost for a while.
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

    /// A hub that stays by a failure is a leftover, which the loop removes.
    fn delete_hub(&self, id: &NetworkId, name: &IfName) -> Result<(), Error> {
        let links = self.kernel.links().map_err(Error::kernel(Listed::Links))?;
        let have = Have { links, ..Have::default() };
        let Some(Link { index, name, .. }) = have.own_hub(id, name.as_str()) else { return Ok(()) };
        let action = Action::Delete { sandbox: None, index: *index, name: name.clone() };
        self.kernel.delete_link(None, *index).map_err(Error::kernel(action))
    }

    /// CreateEndpoint: remembers what only this call carries. Nothing is made yet.
    ///
    /// # Errors
    /// One sentence for the user of `docker run`.
    pub fn create_endpoint(
        &self,
        network: NetworkId,
        id: EndpointId,
        options: &RawOptions,
    ) -> Result<(), Error> {
        let asked = parse_endpoint(options).map_err(Error::Refused)?;
        let mut model = self.model.lock();
        self.know_network(&mut model, &network)?;
        if let Some(other) =
            model.endpoints().find(|other| other.id != id && other.id.host_end() == id.host_end())
        {
            return Err(Error::Refused(format!(
                "endpoint {id} would share the interface name {} with endpoint {}: start the container again to get a new endpoint ID",
                id.host_end(),
                other.id
            )));
        }
        let ifname = asked.or_else(|| Some(model.network(&network)?.options.ifname.clone()));
        let Some(ifname) = ifname else { return Err(unknown_network(&network)) };
        let endpoint = Endpoint { id, network, ifname, stage: Stage::Created };
        self.keep_endpoint(&mut model, endpoint);
        Ok(())
    }

    /// Leave: the container needs nothing any more. The pair stays until DeleteEndpoint: a name that Docker
    /// does not find then crashed dockerd 28.0–29.6 ("close of closed channel").
    pub fn leave(&self, id: &EndpointId) {
        let mut model = self.model.lock();
        if let Some(endpoint) = model.endpoint(id).cloned() {
            self.keep_endpoint(&mut model, Endpoint { stage: Stage::Left, ..endpoint });
        }
    }

    /// DeleteEndpoint: the pair and its rules are gone when this returns. Unknown ones are gone already.
    pub fn delete_endpoint(&self, id: &EndpointId) {
        let started = Instant::now();
        let mut model = self.model.lock();
        self.count_before_leave(&model);
        self.delete_pair(id);
        self.signals.settle_for(SETTLE_LEFT);
        if let Some(endpoint) = model.endpoint(id) {
            let left = Event::of_endpoint(Kind::Left, &model, endpoint);
            model.remove_endpoint(id);
            self.store.remove_endpoint(id);
            self.events.tell(Event { took_us: Some(took_us(started)), ..left });
        }
    }

    /// With a pair go the rules' counters of all that it sent and received since they were last read. Where many
    /// leave in a row, one dump answers for all that leave within [`COUNT_PAUSE`].
    fn count_before_leave(&self, model: &Model) {
        if self.traffic.lock().age(Instant::now()).is_some_and(|age| age < COUNT_PAUSE) {
            return;
        }
        if let Err(err) = self.look_at_rules(&model.want()) {
            debug!(%err, "could not read the frame counters; frames since the last reading are not counted");
        }
    }

    /// One end takes the other along, wherever it is, and the rules of both.
    fn delete_pair(&self, id: &EndpointId) {
        let deleted =
            self.kernel.links().and_then(|links| match (Have { links, ..Have::default() }).host_end(id) {
                Some(host) => self.kernel.delete_link(None, host.index),
                None => Ok(()),
            });
        if let Err(err) = deleted {
            warn!(endpoint = id.short(), interface = %id.host_end(), %err, "could not delete the pair; will retry");
            self.signals.want_look();
        }
    }

    /// Keeps an endpoint in the model and, if the disk allows, over a crash. Its alias holds the same.
    fn keep_endpoint(&self, model: &mut Model, endpoint: Endpoint) {
        if let Err(err) = self.store.save_endpoint(&endpoint) {
            warn!(endpoint = endpoint.id.short(), %err, "the endpoint's record could not be saved; it will be lost if canhub restarts");
        }
        model.put_endpoint(endpoint);
    }

    /// Docker knows the network, so it exists: one whose record is lost works as an ordinary bus until
    /// Docker, asked in the background, tells its options.
    fn know_network(&self, model: &mut Model, id: &NetworkId) -> Result<(), Error> {
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

fn blocked(
    model: &Model,
    id: &NetworkId,
    plan: &Plan,
    matters: impl Fn(Blocks) -> bool,
) -> Result<(), Error> {
    match plan.problems.iter().find(|problem| matters(problem.blocks)) {
        Some(problem) => {
            Err(Error::Blocked { network: model.network_name(id).to_owned(), text: problem.text.clone() })
        }
        None => Ok(()),
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

fn unknown_network(id: &NetworkId) -> Error {
    Error::Refused(format!("unknown network {id}"))
}

/// Microseconds since `started`, for the log.
pub(crate) fn took_us(started: Instant) -> u64 {
    micros(started.elapsed())
}
