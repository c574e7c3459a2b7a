//! Buses that are made without Docker: declarations, which stay until somebody removes them.

use std::{
    collections::BTreeSet,
    thread::sleep,
    time::{Duration, Instant},
};

use super::{
    Manager,
    attach::{free_id, words},
    named::find,
};
use crate::{
    attachment::{BusOutline, BusRequest},
    error::{Code, Error},
    model::Model,
    names::NetworkId,
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
            return Ok(outline(&model, &known));
        }
        let id = network.id.clone();
        self.make_network(&mut model, network, started)?;
        model.network(&id).map(|network| outline(&model, network)).ok_or_else(|| gone(asked.name.as_ref()))
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
    match known.options == wanted.options {
        true => Ok(()),
        false => Err(Code::Exists.because(format!(
            "bus {name} exists already, and its options are {}, not {}: `canhub bus rm {name}` first, or choose another name",
            words(&known.raw),
            words(&wanted.raw)
        ))),
    }
}
