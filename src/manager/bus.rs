//! Buses that are made without Docker: declarations, which stay until somebody removes them.

use std::{
    collections::BTreeSet,
    thread::sleep,
    time::{Duration, Instant},
};

use super::{
    Manager,
    attach::{free_id, words},
    named::{Unknown, find},
};
use crate::{
    attachment::{AttachRequest, BusOutline, BusRequest},
    error::{Code, Error},
    model::Model,
    names::{BusName, NetworkId},
    network::Network,
    plan::Sandbox,
};

/// How long the kernel may take to end a namespace whose path is gone.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// What keeps a bus from being removed.
struct Users {
    names: Vec<String>,
    /// Whether the paths of all their namespaces are gone, so that they are about to end.
    are_ending: bool,
}

impl Manager {
    /// All buses, by name.
    pub fn buses(&self) -> Vec<BusOutline> {
        let model = self.model();
        let mut all: Vec<BusOutline> = model.networks().map(|network| outline(&model, network)).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// Makes a bus; when this returns, it is on disk and its hub is up. Asking twice for the same changes nothing.
    ///
    /// # Errors
    /// One sentence; nothing is left behind. [`Code::Exists`] if there is another bus of this name.
    pub fn create_bus(&self, asked: BusRequest) -> Result<BusOutline, Error> {
        let started = Instant::now();
        self.await_name(asked.name.as_ref());
        let mut model = self.model.lock();
        self.read_records_again(&mut model);
        let is_called = |known: &&Network| known.name.as_deref() == Some(asked.name.as_ref());
        let known = model.networks().find(is_called).cloned();
        let id = known
            .as_ref()
            .map_or_else(|| free_id(|id: &NetworkId| model.network(id).is_some()), |known| known.id.clone());
        let network = Network::made(id, &asked.name, asked.options).map_err(Error::Refused)?;
        if let Some(known) = known.filter(|known| !known.provisional) {
            refuse_another(&known, &network)?;
            if known.transient {
                model.put_network(Network { transient: false, ..known.clone() });
                self.store.save_networks(model.networks())?;
            }
            return Ok(outline(&model, &Network { transient: false, ..known }));
        }
        let id = network.id.clone();
        self.make_network(&mut model, network, started)?;
        model.network(&id).map(|network| outline(&model, network)).ok_or_else(|| gone(asked.name.as_ref()))
    }

    /// Waits for a moment for Docker to tell whether one of its networks has this name.
    fn await_name(&self, name: &str) {
        let is_unnamed = |model: &Model| model.networks().any(|network| network.name.is_none());
        let look = || match find(&self.model.lock(), name) {
            Ok(_) => Ok(()),
            Err(why) => Err(why.reason(name)),
        };
        // Without an answer nothing is known against it.
        let _ = self.soon(is_unnamed, look);
    }

    /// The bus of an attachment. If none has its name and there are options for it, it is made, and removed with its last
    /// attachment.
    ///
    /// # Errors
    /// As of [`create_bus`](Self::create_bus).
    pub(super) fn bus_for(
        &self,
        model: &mut Model,
        asked: &AttachRequest,
        started: Instant,
    ) -> Result<NetworkId, Error> {
        match (find(model, &asked.bus), &asked.bus_options) {
            (Ok(known), options) => {
                let options = options.as_ref().filter(|options| !options.is_empty());
                options.map_or(Ok(()), |options| {
                    refuse_options(
                        known,
                        &Network::new(known.id.clone(), options.clone()).map_err(Error::Refused)?,
                    )
                })?;
                Ok(known.id.clone())
            }
            (Err(Unknown::Missing), Some(options)) => {
                let name = BusName::try_from(asked.bus.clone()).map_err(Error::Refused)?;
                let id = free_id(|id: &NetworkId| model.network(id).is_some());
                let network = Network::made(id.clone(), &name, options.clone()).map_err(Error::Refused)?;
                self.make_network(model, Network { transient: true, ..network }, started)?;
                Ok(id)
            }
            (Err(why), _) => Err(Code::UnknownBus.because(why.advice(model, &asked.bus))),
        }
    }

    /// Removes a bus that was made for an attachment, if nothing is attached to it any more.
    pub(super) fn remove_unused(&self, model: &mut Model, id: &NetworkId) {
        let is_used = || model.endpoints().any(|endpoint| endpoint.network == *id);
        if model.network(id).is_some_and(|network| network.transient) && !is_used() {
            self.remove_network(model, id, Instant::now());
        }
    }

    /// Removes all of them. After a reboot nothing is attached.
    pub(crate) fn remove_all_unused(&self, model: &mut Model) {
        let transient = model.networks().filter(|network| network.transient);
        for id in transient.map(|network| network.id.clone()).collect::<Vec<_>>() {
            self.remove_unused(model, &id);
        }
    }

    /// Removes a bus that canhub made, and returns what it was.
    ///
    /// # Errors
    /// [`Code::UnknownBus`] if it is not there, [`Code::InUse`] if it has members.
    pub fn remove_bus(&self, name: &str) -> Result<BusOutline, Error> {
        let started = Instant::now();
        loop {
            {
                let mut model = self.model.lock();
                let network = find(&model, name)
                    .map_err(|why| Code::UnknownBus.because(why.advice(&model, name)))?
                    .clone();
                if !network.id.is_made() {
                    return Err(Error::Refused(format!(
                        "{name} is a network of Docker's: remove it with `docker network rm {name}`"
                    )));
                }
                match self.users(&model, &network)? {
                    None => {
                        let bus = outline(&model, &network);
                        self.remove_network(&mut model, &network.id, started);
                        return Ok(BusOutline { members: Vec::new(), ..bus });
                    }
                    Some(users) if users.are_ending && started.elapsed() < ENDS_WITHIN => {}
                    Some(users) => {
                        return Err(Code::InUse.because(format!(
                            "bus {name} is in use by {}: detach them first; `canhub attach ls` shows their ids",
                            users.names.join(", ")
                        )));
                    }
                }
            }
            sleep(ENDS_WITHIN / 40);
        }
    }

    /// Who is on a bus according to the kernel; `None` if nobody is.
    fn users(&self, model: &Model, network: &Network) -> Result<Option<Users>, Error> {
        let want = model.want_of(&network.id);
        let members =
            || want.buses.iter().flat_map(|bus| &bus.members).filter(|one| !one.endpoint.is_span_port());
        let sandboxes: BTreeSet<_> = members().map(|member| member.sandbox.as_path()).collect();
        if sandboxes.is_empty() {
            return Ok(None);
        }
        let mut have = self.look_at_host([])?;
        have.sandboxes = self.look_into(sandboxes);
        let living: Vec<_> = members().filter(|member| !member.is_dead(&have)).collect();
        let name = |member: &&crate::plan::Member| {
            model.container_name(&member.endpoint).unwrap_or(member.endpoint.short()).to_owned()
        };
        let are_ending = living.iter().all(|member| *have.sandbox(&member.sandbox) == Sandbox::Missing);
        let names: Vec<String> = living.iter().map(name).collect();
        Ok((!names.is_empty()).then_some(Users { names, are_ending }))
    }
}

fn outline(model: &Model, network: &Network) -> BusOutline {
    let members = model.members_of(&network.id);
    let name = |id| model.container_name(id).unwrap_or(crate::names::EndpointId::short(id)).to_owned();
    BusOutline {
        name: model.network_name(&network.id).to_owned(),
        id: network.id.to_string(),
        interface: network.hub().to_string(),
        docker: !network.id.is_made(),
        transient: network.transient,
        options: network.raw.clone(),
        members: members.map(|endpoint| name(&endpoint.id)).collect(),
    }
}

fn gone(name: &str) -> Error {
    Code::UnknownBus.because(format!("bus {name} was removed at the same time"))
}

fn refuse_another(known: &Network, wanted: &Network) -> Result<(), Error> {
    let name = known.name.as_deref().unwrap_or(known.id.short());
    if !known.id.is_made() {
        return Err(Code::Exists.because(format!(
            "{name} is the name of a network of Docker's already: attach to that one, or choose another name"
        )));
    }
    refuse_options(known, wanted)
}

fn refuse_options(known: &Network, wanted: &Network) -> Result<(), Error> {
    let name = known.name.as_deref().unwrap_or(known.id.short());
    match known.options == wanted.options {
        true => Ok(()),
        false => Err(Code::Exists.because(format!(
            "bus {name} exists already, and its options are {}, not {}: remove it first, or choose another name",
            words(&known.raw),
            words(&wanted.raw)
        ))),
    }
}
