//! Join: creates whatever is missing for an endpoint.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use tracing::warn;

use super::{Manager, attach::no_namespace, blocked, endpoint::SETTLE_CALL, took_us, unknown_network};
use crate::{
    endpoint::{Endpoint, Stage},
    error::{Code, Error, Listed},
    events::{Event, Kind},
    filters::Filters,
    kernel::Inside,
    model::Model,
    names::{EndpointId, IfName, NetworkId},
    options::{DOCKER_IFNAME, NAME_ANOTHER, Naming},
    plan::{Action, Blocks, Have, Plan, Reason, Rules, Sandbox, Scope, Want},
    shape::Shapes,
};

/// How often a Join starts over if something changed between reading the kernel and acting.
const JOIN_TRIES: usize = 3;

/// How long the loop waits after a Join that left nothing to do.
const SETTLE_INSIDE: Duration = Duration::from_secs(1);
/// The same if Docker moves the container end: its name may have to be changed before the program starts.
const SETTLE_BY_DOCKER: Duration = Duration::from_millis(100);

/// How the container gets its interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joined {
    /// It is already in the container, with its exact name, and up. Docker has nothing to move.
    Inside,
    /// Docker moves it into the container.
    ByDocker {
        /// The name of the container end on the host.
        source: IfName,
        /// The prefix to which Docker appends a number.
        prefix: String,
        /// The exact name, for engines that support it.
        exact: Option<IfName>,
    },
}

impl Manager {
    /// Join: creates whatever is missing for this endpoint.
    ///
    /// # Errors
    /// One sentence for the user of `docker run`. Nothing half-created is left behind.
    pub fn join(&self, network: NetworkId, id: EndpointId, sandbox: PathBuf) -> Result<Joined, Error> {
        self.try_join(network, id, sandbox).inspect_err(|_| self.events.counters().join_failed())
    }

    fn try_join(&self, network: NetworkId, id: EndpointId, sandbox: PathBuf) -> Result<Joined, Error> {
        let started = Instant::now();
        self.signals.settle_at_least(SETTLE_CALL);
        let mut model = self.model.lock();
        self.know_network(&mut model, &network)?;
        let known = match model.endpoint(&id) {
            Some(endpoint) if endpoint.network == network => endpoint.clone(),
            Some(endpoint) => {
                return Err(Error::Refused(format!("endpoint {id} belongs to network {}", endpoint.network)));
            }
            None => {
                warn!(
                    network = network.short(),
                    endpoint = id.short(),
                    "Join for an endpoint that was never created; using the network's interface name"
                );
                let Some(known) = model.network(&network) else { return Err(unknown_network(&network)) };
                Endpoint {
                    ifname: known.options.ifname.clone(),
                    id,
                    network,
                    rate: None,
                    filters: Filters::default(),
                    shapes: Shapes::default(),
                    stage: Stage::Created,
                    attached: None,
                    namespace: None,
                }
            }
        };
        let endpoint = Endpoint { stage: Stage::Joined { sandbox }, namespace: None, ..known };
        refuse_taken_name(&model, &endpoint)?;
        let joined = self.make_joined(&mut model, &endpoint, started);
        joined.inspect_err(|_| {
            self.keep_endpoint(&mut model, Endpoint { stage: Stage::Created, ..endpoint });
        })
    }

    /// Keeps the record of an endpoint that joins, and creates whatever is missing for it.
    ///
    /// # Errors
    /// One sentence. Of the endpoint, only its record is left.
    pub(super) fn make_joined(
        &self,
        model: &mut Model,
        endpoint: &Endpoint,
        started: Instant,
    ) -> Result<Joined, Error> {
        self.keep_endpoint(model, endpoint.clone());
        let made = self.make_member(model, endpoint).and_then(|joined| match (joined, endpoint.sandbox()) {
            // It ended just now, and nobody moves an end into it later.
            (Joined::ByDocker { .. }, Some(netns)) if endpoint.attached.is_some() => Err(no_namespace(netns)),
            (joined, _) => Ok(joined),
        });
        self.signals.settle_for(match made {
            Ok(Joined::Inside) => SETTLE_INSIDE,
            _ => SETTLE_BY_DOCKER,
        });
        let joined = made.inspect_err(|_| self.delete_pair(&endpoint.id))?;
        self.signals.want_relearn_afterwards();
        if joined != Joined::Inside {
            model.await_docker(&endpoint.id);
        }
        self.events.tell(Event {
            interface: Some(endpoint.ifname.to_string()),
            reason: model.network(&endpoint.network).and_then(|known| {
                let filters = endpoint.filters.or(&known.options.filters).words();
                let words: Vec<String> =
                    filters.into_iter().chain(known.shapes_of(endpoint).words()).collect();
                (!words.is_empty()).then(|| words.join("; ").into())
            }),
            took_us: Some(took_us(started)),
            ..Event::of_endpoint(Kind::Joined, model, endpoint)
        });
        Ok(joined)
    }

    fn make_member(&self, model: &mut Model, endpoint: &Endpoint) -> Result<Joined, Error> {
        let want = model.want_of(&endpoint.network);
        let mut tries = 0;
        loop {
            tries += 1;
            let mut have = self.look_for_join(&want, endpoint, tries > 1)?;
            let plan = self.plan(&want, &mut have, Scope::Join(&endpoint.id));
            blocked(model, &endpoint.network, &plan, |blocks| {
                matches!(blocks, Blocks::Join | Blocks::Name | Blocks::Network)
            })?;
            self.refuse_unhealed(model, endpoint, &plan)?;
            self.remember_found(model, &have, &plan.steps);
            let mut failed = None;
            self.carry_out(model, &plan.steps, |model, done| {
                let of_the_hub =
                    done.step.endpoint.is_none() && !matches!(done.step.action, Action::AddRules { .. });
                match done.result {
                    // A container works without its qdiscs; the loop retries, or reports why it cannot.
                    Err(_) if done.step.action.is_about_qdiscs() => self.signals.want_look(),
                    Ok(()) if of_the_hub => self.events.tell(Event::healed(model, &done)),
                    Ok(()) => {}
                    Err(err) => failed = failed.take().or(Some(err)),
                }
            });
            match failed {
                // Another container left meanwhile: its interface is gone, and its rules are not needed.
                Some(err) if err.is_race() && tries < JOIN_TRIES => {}
                Some(err) => return Err(err),
                None => {
                    let inside = |sandbox| matches!(have.sandbox(sandbox), Sandbox::Present(_));
                    return Ok(joined(endpoint, endpoint.sandbox().is_some_and(inside)));
                }
            }
        }
    }

    /// Reads as little as a Join needs, so that its cost does not grow with the number of running containers.
    ///
    /// A pair that does not exist has no rules. What else is in the container matters only if the name is taken: then
    /// the step fails (`EEXIST`), and the next attempt reads everything.
    fn look_for_join(&self, want: &Want, endpoint: &Endpoint, thorough: bool) -> Result<Have, Error> {
        let mut have = self.look_at_host(want.hubs())?;
        let Some(sandbox) = endpoint.sandbox() else { return Ok(have) };
        let is_there = have.host_end(&endpoint.id).is_some();
        let named_by_number = matches!(endpoint.ifname, Naming::Prefix(_));
        let inside = match thorough || is_there || named_by_number {
            true => self.kernel.sandbox_links(sandbox),
            false => self.kernel.sandbox_exists(sandbox).map(|exists| exists.then(Vec::new)),
        };
        let inside = inside.map_err(Error::kernel(Listed::ContainerLinks))?;
        // The first full pass records the namespace.
        let inside = inside.map(|links| Inside { links, cookie: None });
        have.sandboxes.insert(sandbox.to_owned(), inside.map_or(Sandbox::Missing, Sandbox::Present));
        if thorough || is_there {
            have.rules = Rules::Read(self.kernel.rules().map_err(Error::kernel(Listed::Rules))?);
        }
        Ok(have)
    }

    /// With `heal=off`, the user is told what is missing.
    fn refuse_unhealed(&self, model: &Model, endpoint: &Endpoint, plan: &Plan) -> Result<(), Error> {
        let heals = model.network(&endpoint.network).is_none_or(|network| self.heals(network));
        let missing = plan.steps.iter().find(|step| {
            step.endpoint.is_none()
                && step.reason != Reason::AdapterQueue
                && matches!(
                    step.action,
                    Action::CreateHub { .. } | Action::Change { .. } | Action::Configure { .. }
                )
        });
        match missing {
            Some(step) if !heals => Err(Error::Blocked {
                network: model.network_name(&endpoint.network).to_owned(),
                text: format!(
                    "{} ({}), and healing is off: recreate the network, or enable healing (remove heal=off or --no-heal)",
                    step.reason,
                    step.action.interface()
                ),
            }),
            _ => Ok(()),
        }
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

/// Docker connects a container to its networks in random order, so a name that depends on another network changes from
/// start to start. Only the model knows both: before Docker 28 the sandbox does not exist yet.
pub(super) fn refuse_taken_name(model: &Model, endpoint: &Endpoint) -> Result<(), Error> {
    let Endpoint { id, network, ifname, attached, .. } = endpoint;
    let in_it = |other: &&Endpoint| other.id != *id && other.shares_namespace_with(endpoint);
    let Some(other) = model.endpoints().filter(in_it).find(|other| other.ifname.collides_with(ifname)) else {
        return Ok(());
    };
    let (here, there) = (model.network_name(network), model.network_name(&other.network));
    let what = match (ifname, &other.ifname) {
        (Naming::Exact(name), Naming::Exact(_)) => {
            format!("{} already has an interface {name} from network {there}", id.place())
        }
        _ if attached.is_some() => format!(
            "network {here} names its interface {ifname} and network {there} names its {} there, so the two could swap names",
            other.ifname
        ),
        _ => format!(
            "network {here} names its interface {ifname} and network {there} names its {}, and Docker connects a \
             container to its networks in random order, so the two could swap names at each start",
            other.ifname
        ),
    };
    if attached.is_some() {
        return Err(Code::Taken.because(format!("{what}: {NAME_ANOTHER}")));
    }
    Err(Error::Refused(format!(
        "{what}: set another interface name for one of them, with -o ifname=… or -o vxcan.peer=… on the network, or \
         with the endpoint option {DOCKER_IFNAME}"
    )))
}
