//! The one door to the buses: for the driver, the reconcile loop and everything that asks.
//!
//! All methods are synchronous and may block for as long as the kernel does; the driver calls them on a
//! thread of their own with a time limit. One lock orders them, so there is one writer of rules.

mod adopt;
mod learn;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tracing::{info, warn};

pub use learn::DockerNetwork;

use crate::{
    apply::apply,
    endpoint::{Endpoint, Stage},
    error::Error,
    kernel::Kernel,
    model::Model,
    names::{EndpointId, IfName, NetworkId},
    network::Network,
    options::{Naming, RawOptions, parse_endpoint},
    plan::{Action, Blocks, Have, Plan, Scope, Want, plan},
    state::Store,
};

/// A Join looks again this often when the world moved between its look and its steps.
const JOIN_TRIES: usize = 3;

/// Holds the model, the store and the kernel together.
pub struct Manager {
    pub(crate) kernel: Arc<dyn Kernel>,
    store: Store,
    model: Mutex<Model>,
    /// Wakes the reconcile loop.
    wake: Notify,
    /// Wakes whoever asks Docker for names.
    news: Notify,
    /// When a request of Docker's last changed the world.
    changed: Mutex<Instant>,
    /// `--no-heal` turns it off for all networks.
    heal: bool,
}

/// How the container gets its interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joined {
    /// It is inside already, under its exact name, up. Docker has nothing to move.
    Inside,
    /// Docker is to move it in.
    ByDocker {
        /// The container end as it is called on the host.
        source: IfName,
        /// Docker puts a number behind this.
        prefix: String,
        /// The exact name, for engines that honour one.
        exact: Option<IfName>,
    },
}

impl Manager {
    /// Loads the state folder and adopts what lives in the kernel.
    pub fn new(kernel: Arc<dyn Kernel>, store: Store, heal: bool) -> Self {
        let manager = Self {
            kernel,
            store,
            model: Mutex::default(),
            wake: Notify::new(),
            news: Notify::new(),
            changed: Mutex::new(Instant::now()),
            heal,
        };
        manager.adopt();
        manager
    }

    /// Resolves when something may need healing.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Asks the reconcile loop to look.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Resolves when there is a network or an endpoint that Docker may tell more about.
    pub async fn has_news(&self) {
        self.news.notified().await;
    }

    /// The model, for reading.
    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock()
    }

    /// How long ago Docker's last request changed the world; its events are no news.
    pub(crate) fn since_own_change(&self) -> Duration {
        self.changed.lock().elapsed()
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
        if let Some(known) = model.network(&id).filter(|known| !known.provisional) {
            return match known.options == network.options {
                // A swarm sends it again.
                true => Ok(()),
                false => {
                    Err(Error::Refused(format!("network {} exists already with other options", id.short())))
                }
            };
        }
        refuse_shared_hub(&model, &network).inspect_err(|_| self.news.notify_one())?;
        self.kernel.ensure_gateway().map_err(|err| Error::kernel("use can-gw rules".into(), err))?;

        let before = model.network(&id).cloned();
        let hub = network.hub();
        model.put_network(network);
        let created = self.store.save_networks(model.networks()).and_then(|()| self.make_hub(&model, &id));
        if let Err(err) = created {
            // Not removed and put back: a provisional network may have members already.
            match before {
                Some(network) => model.put_network(network),
                None => drop(model.remove_network(&id)),
            }
            // The create fails either way; a record that stays by this failure is collected against Docker's list.
            let _ = self.store.save_networks(model.networks());
            return Err(err);
        }
        self.news.notify_one();
        info!(network = id.short(), interface = %hub.name, took_us = took_us(started), "network created");
        Ok(())
    }

    fn make_hub(&self, model: &Model, id: &NetworkId) -> Result<(), Error> {
        let have = self.look(&Want::default(), false)?;
        let plan = plan(&model.want(), &have, Scope::Network(id));
        blocked(model, id, &plan, |blocks| blocks == Blocks::Network)?;
        let mut failed = None;
        apply(&*self.kernel, &plan.steps, |done| failed = failed.take().or(done.outcome.err()));
        failed.map_or(Ok(()), Err)
    }

    /// DeleteNetwork: the bus and its record are gone when this returns. Unknown ones are gone already.
    pub fn delete_network(&self, id: &NetworkId) {
        let started = Instant::now();
        let mut model = self.model.lock();
        let Some(network) = model.network(id).cloned() else { return };
        let name = model.network_name(id).to_owned();
        for endpoint in model.remove_network(id) {
            self.delete_pair(&endpoint);
            self.store.remove_endpoint(&endpoint);
        }
        let hub = network.hub();
        if let Ok(links) = self.kernel.links()
            && let Some(link) = (Have { links, ..Have::default() }).own_hub(id, hub.name.as_str())
            && let Err(err) = self.kernel.delete_link(None, link.index)
        {
            warn!(network = id.short(), interface = %hub.name, %err, "the hub could not be deleted; it will be tried again");
        }
        if let Err(err) = self.store.save_networks(model.networks()) {
            warn!(network = id.short(), %err, "the network is gone and its record is not");
        }
        self.wake();
        info!(network = id.short(), network_name = name, interface = %hub.name, took_us = took_us(started), "network deleted");
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
                "endpoint {id} would share the interface name {} with endpoint {}: start the container again, it will get another id",
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

    /// Join: makes it so for this endpoint, whatever was missing.
    ///
    /// # Errors
    /// One sentence for the user of `docker run`; nothing half-made is left then.
    pub fn join(&self, network: NetworkId, id: EndpointId, sandbox: PathBuf) -> Result<Joined, Error> {
        let started = Instant::now();
        let mut model = self.model.lock();
        self.know_network(&mut model, &network)?;
        let ifname = match model.endpoint(&id) {
            Some(endpoint) if endpoint.network == network => endpoint.ifname.clone(),
            Some(endpoint) => {
                return Err(Error::Refused(format!("endpoint {id} belongs to network {}", endpoint.network)));
            }
            None => {
                warn!(
                    network = network.short(),
                    endpoint = id.short(),
                    "an endpoint joins that was not created; it gets the network's interface name"
                );
                let Some(network) = model.network(&network) else { return Err(unknown_network(&network)) };
                network.options.ifname.clone()
            }
        };
        refuse_taken_name(&model, &id, &sandbox, &ifname)?;
        let endpoint = Endpoint {
            id: id.clone(),
            network: network.clone(),
            ifname: ifname.clone(),
            stage: Stage::Joined { sandbox },
        };
        self.keep_endpoint(&mut model, endpoint.clone());

        let made = self.make_member(&model, &endpoint);
        *self.changed.lock() = Instant::now();
        match made {
            Ok(joined) => {
                self.news.notify_one();
                if joined != Joined::Inside {
                    model.await_docker(&id);
                }
                info!(
                    network = network.short(),
                    network_name = model.network_name(&network),
                    endpoint = id.short(),
                    interface = %ifname,
                    took_us = took_us(started),
                    "joined"
                );
                Ok(joined)
            }
            Err(err) => {
                self.delete_pair(&id);
                self.keep_endpoint(&mut model, Endpoint { stage: Stage::Created, ..endpoint });
                Err(err)
            }
        }
    }

    fn make_member(&self, model: &Model, endpoint: &Endpoint) -> Result<Joined, Error> {
        let want = model.want_of(&endpoint.network);
        let mut tries = 0;
        loop {
            tries += 1;
            let have = self.look_for_join(endpoint, tries > 1)?;
            let plan = plan(&want, &have, Scope::Join(&endpoint.id));
            blocked(model, &endpoint.network, &plan, |blocks| blocks != Blocks::Nothing)?;
            self.refuse_unhealed(model, endpoint, &plan)?;
            let mut failed = None;
            apply(&*self.kernel, &plan.steps, |done| {
                let of_the_hub =
                    done.step.endpoint.is_none() && !matches!(done.step.action, Action::AddRules { .. });
                match done.outcome {
                    Ok(()) if of_the_hub => crate::reconcile::log_healed(model, &done),
                    Ok(()) => {}
                    Err(err) => failed = failed.take().or(Some(err)),
                }
            });
            match failed {
                // Another container left meanwhile: its interface is gone, and so is the need for its rules.
                Some(err) if err.is_race() && tries < JOIN_TRIES => {}
                Some(err) => return Err(err),
                None => return Ok(joined(endpoint, !have.sandboxes.is_empty())),
            }
        }
    }

    /// Looks at as little as a Join needs, so that its cost does not grow with what is running.
    ///
    /// A pair that is not there has no rules, and what else is in the container matters only if the name
    /// turns out to be taken: then the step is refused (`EEXIST`), and the next look is a thorough one.
    fn look_for_join(&self, endpoint: &Endpoint, thorough: bool) -> Result<Have, Error> {
        let failed = |what: &'static str| move |err| Error::kernel(format!("list {what}"), err);
        let links = self.kernel.links().map_err(failed("interfaces"))?;
        let mut have = Have { links, ..Have::default() };
        let Some(sandbox) = endpoint.sandbox() else { return Ok(have) };
        let is_there = have.host_end(&endpoint.id).is_some();
        let named_by_number = matches!(endpoint.ifname, Naming::Prefix(_));
        let inside = match thorough || is_there || named_by_number {
            true => self.kernel.sandbox_links(sandbox).map_err(failed("the container's interfaces"))?,
            false => self
                .kernel
                .sandbox_exists(sandbox)
                .map_err(failed("the container's interfaces"))?
                .then(Vec::new),
        };
        have.sandboxes.extend(inside.map(|links| (sandbox.to_owned(), links)));
        if thorough || is_there {
            have.rules = self.kernel.rules().map_err(failed("can-gw rules"))?;
        }
        Ok(have)
    }

    /// `heal=off`: what should be there and is not, is the user's to know.
    fn refuse_unhealed(&self, model: &Model, endpoint: &Endpoint, plan: &Plan) -> Result<(), Error> {
        let heals = model.network(&endpoint.network).is_none_or(|network| self.heals(network));
        let missing = plan.steps.iter().find(|step| {
            step.endpoint.is_none() && matches!(step.action, Action::CreateHub { .. } | Action::Change { .. })
        });
        match missing {
            Some(step) if !heals => Err(Error::Blocked {
                network: model.network_name(&endpoint.network).to_owned(),
                text: format!(
                    "{} ({}), and healing is off: create the network again, or let canhub mend it without heal=off and --no-heal",
                    step.reason,
                    step.action.interface()
                ),
            }),
            _ => Ok(()),
        }
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
        self.delete_pair(id);
        *self.changed.lock() = Instant::now();
        let container = model.container_name(id).map(str::to_owned);
        if let Some(endpoint) = model.remove_endpoint(id) {
            self.store.remove_endpoint(id);
            info!(
                network = endpoint.network.short(),
                network_name = model.network_name(&endpoint.network),
                endpoint = id.short(),
                container,
                took_us = took_us(started),
                "left"
            );
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
            warn!(endpoint = id.short(), interface = %id.host_end(), %err, "the pair could not be deleted; it will be tried again");
            self.wake();
        }
    }

    /// Looks at the kernel: all links, the sandboxes of what is wanted, and the rules if asked for.
    pub(crate) fn look(&self, want: &Want, rules: bool) -> Result<Have, Error> {
        let failed = |what: &str| {
            let doing = format!("list {what}");
            move |err| Error::kernel(doing.clone(), err)
        };
        let mut have = Have { links: self.kernel.links().map_err(failed("interfaces"))?, ..Have::default() };
        if rules {
            have.rules = self.kernel.rules().map_err(failed("can-gw rules"))?;
        }
        for member in want.buses.iter().flat_map(|bus| &bus.members) {
            if !have.sandboxes.contains_key(&member.sandbox)
                && let Some(links) = self
                    .kernel
                    .sandbox_links(&member.sandbox)
                    .map_err(failed(&format!("the interfaces in {}", member.sandbox.display())))?
            {
                have.sandboxes.insert(member.sandbox.clone(), links);
            }
        }
        Ok(have)
    }

    /// Keeps an endpoint in the model and, if the disk allows, over a crash. Its alias holds the same.
    fn keep_endpoint(&self, model: &mut Model, endpoint: Endpoint) {
        if let Err(err) = self.store.save_endpoint(&endpoint) {
            warn!(endpoint = endpoint.id.short(), %err, "the endpoint's record is kept in memory only");
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
            "Docker uses a network whose record is lost; it gets default options until Docker tells its own"
        );
        model.put_network(Network::provisional(id.clone()).map_err(Error::Refused)?);
        if let Err(err) = self.store.save_networks(model.networks()) {
            warn!(network = id.short(), %err, "the network's record is kept in memory only");
        }
        self.news.notify_one();
        Ok(())
    }
}

fn joined(endpoint: &Endpoint, inside: bool) -> Joined {
    if inside {
        return Joined::Inside;
    }
    let exact = match &endpoint.ifname {
        Naming::Exact(name) => Some(name.clone()),
        Naming::Prefix(_) => None,
    };
    Joined::ByDocker { source: endpoint.id.container_end(), prefix: endpoint.ifname.docker_prefix(), exact }
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
    match model.networks().find(|other| other.id != network.id && other.hub().name == hub.name) {
        None => Ok(()),
        Some(other) => Err(Error::Refused(format!(
            "the interface {} is already the bus of network {}: a bus is one network; attach the containers to that one, or choose another hub (if that network was removed while canhub was not there, try again in two minutes)",
            hub.name,
            model.network_name(&other.id)
        ))),
    }
}

/// Before the sandbox exists, only the model knows that two networks want one name in it.
fn refuse_taken_name(
    model: &Model,
    id: &EndpointId,
    sandbox: &std::path::Path,
    ifname: &Naming,
) -> Result<(), Error> {
    let Naming::Exact(name) = ifname else { return Ok(()) };
    let taken = model
        .endpoints()
        .find(|other| other.id != *id && other.sandbox() == Some(sandbox) && other.ifname == *ifname);
    match taken {
        None => Ok(()),
        Some(other) => Err(Error::Refused(format!(
            "the container already has an interface {name} from network {}: give one of its networks another name, with -o ifname=… or per container with the option {}",
            model.network_name(&other.network),
            crate::options::DOCKER_IFNAME
        ))),
    }
}

fn unknown_network(id: &NetworkId) -> Error {
    Error::Refused(format!("network {id} is not known"))
}

/// Microseconds since `started`, for the log.
pub(crate) fn took_us(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX)
}
