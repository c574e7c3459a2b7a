//! Adds and removes expectations, and finds the interfaces on which to listen for them.

use std::collections::BTreeMap;

use tracing::warn;

use super::{Manager, named::find};
use crate::{
    endpoint::Endpoint,
    error::Error,
    expect::{Expectation, FrameId, Source, component},
    kernel::Link,
    model::Model,
    names::{EndpointId, NetworkId, is_called},
    network::{Hub, Network},
    options::Frames,
    status::ExpectationStatus,
    traffic::hub_of,
};

/// Where frames can be heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// On this interface of the host.
    At {
        /// Its index.
        index: u32,
        /// Whether the bus carries CAN FD frames.
        fd: bool,
    },
    /// The container is not on the bus.
    Left,
    /// The hub is missing, so nobody can listen.
    Deaf(String),
    /// There is no such network.
    NoBus(String),
}

/// Where the frames of all expectations can be heard.
#[derive(Debug, Default)]
pub(crate) struct Ears {
    /// By component, with the network.
    pub(crate) places: BTreeMap<String, (Option<NetworkId>, Place)>,
    /// The network and the name of each member, by its interface on the host.
    pub(crate) members: BTreeMap<u32, (NetworkId, String)>,
    /// Whether the name of a container is not known yet.
    pub(crate) unnamed: bool,
}

/// What the model knows of where to listen.
struct Wanted {
    component: String,
    network: NetworkId,
    hub: Hub,
    fd: bool,
    sender: Expected,
}

/// Whose frames are expected.
enum Expected {
    /// Anybody's: the hub hears them.
    Anyone,
    /// Those of a container that is on the bus: its host end hears them.
    Member(EndpointId),
    /// Those of a container that is not on the bus.
    Absent,
}

impl Manager {
    pub(super) fn load_expectations(&self) {
        let loaded = self.store.load_expectations();
        for warning in loaded.warnings.iter().chain(&loaded.unread) {
            warn!("{warning}");
        }
        *self.expectations.unread.lock() = loaded.unread;
        self.expectations.set(Source::Added, loaded.expectations);
    }

    /// Adds an expectation; it is on disk when this returns.
    ///
    /// # Errors
    /// One sentence.
    pub fn expect(&self, wanted: Expectation) -> Result<ExpectationStatus, Error> {
        let _saving = self.expectations.saving();
        self.read_expectations_again()?;
        let bus = self.bus_name_soon(&wanted.bus).map_err(Error::Refused)?;
        let wanted = Expectation { bus, ..wanted };
        let component = wanted.component();
        match self.expectations.source(&component) {
            None => {}
            Some(Source::Policy) => {
                return Err(Error::Refused(format!(
                    "{} on {} is already expected by the health policy: change it there",
                    wanted.id, wanted.bus
                )));
            }
            Some(Source::Added) => {
                let from = wanted.from.as_ref().map(|from| format!(" --from {from}")).unwrap_or_default();
                return Err(Error::Refused(format!(
                    "{} on {} is already expected: to change it, first `canhub expect rm {} {}{from}`",
                    wanted.id, wanted.bus, wanted.bus, wanted.id
                )));
            }
        }
        let mut added = self.expectations.of(Source::Added);
        added.push(wanted);
        self.store.save_expectations(&added)?;
        self.expectations.set(Source::Added, added);
        let report = self.expectations.report().into_iter().find(|one| one.component == component);
        report.ok_or_else(|| Error::Refused(format!("{component} was removed at the same time")))
    }

    /// Removes an expectation; it is gone from disk when this returns.
    ///
    /// # Errors
    /// One sentence.
    pub fn unexpect(&self, bus: &str, id: FrameId, from: Option<&str>) -> Result<(), Error> {
        let _saving = self.expectations.saving();
        self.read_expectations_again()?;
        // The network may be gone; then it is known by the name it had.
        let bus = self.bus_name(bus).unwrap_or_else(|_| bus.to_owned());
        let gone = component(&bus, id, from);
        match self.expectations.source(&gone) {
            Some(Source::Added) => {}
            Some(Source::Policy) => {
                return Err(Error::Refused(format!(
                    "{id} on {bus} is expected by the health policy: remove it there, and restart canhub"
                )));
            }
            None => {
                let others: Vec<String> = self
                    .expectations
                    .all()
                    .into_iter()
                    .filter(|one| one.bus == bus && one.id == id)
                    .filter_map(|one| one.from)
                    .collect();
                let who = from.map(|from| format!(" from {from}")).unwrap_or_default();
                let hint = match others.first() {
                    Some(other) => format!("did you mean --from {other}?"),
                    None => "`canhub expect ls` lists what is".to_owned(),
                };
                return Err(Error::Refused(format!("{id} on {bus}{who} is not expected; {hint}")));
            }
        }
        let mut left = self.expectations.of(Source::Added);
        left.retain(|one| one.component() != gone);
        self.store.save_expectations(&left)?;
        self.expectations.set(Source::Added, left);
        Ok(())
    }

    /// Records that could not be read are not overwritten.
    fn read_expectations_again(&self) -> Result<(), Error> {
        if self.expectations.unread.lock().is_some() {
            self.load_expectations();
        }
        self.expectations.unread.lock().clone().map_or(Ok(()), |why| Err(Error::Unread(why)))
    }

    /// The name by which a bus is remembered: that of its network, which outlives the network's ID and hub.
    fn bus_name(&self, bus: &str) -> Result<String, String> {
        let model = self.model.lock();
        let network = find(&model, bus).map_err(|unknown| unknown.advice(&model, bus))?;
        Ok(network.name.clone().unwrap_or_else(|| bus.to_owned()))
    }

    /// Docker's API provides the name of a new network a moment after Docker has created it.
    fn bus_name_soon(&self, bus: &str) -> Result<String, String> {
        let unnamed = |model: &Model| model.networks().any(|network| network.name.is_none());
        self.soon(unnamed, || self.bus_name(bus))
    }

    /// Where the frames of all expectations can be heard now. May block for as long as the kernel does.
    ///
    /// # Errors
    /// If the host's interfaces cannot be listed.
    pub(crate) fn ears(&self) -> Result<Ears, Error> {
        let all = self.expectations.all();
        let mut ears = Ears::default();
        let (wanted, members) = {
            let model = self.model.lock();
            let mut wanted = Vec::new();
            for one in &all {
                match find(&model, &one.bus) {
                    Ok(network) => wanted.push(want(&model, network, one)),
                    Err(unknown) => {
                        let why = unknown.reason(&one.bus);
                        ears.places.insert(one.component(), (None, Place::NoBus(why)));
                    }
                }
            }
            ears.unnamed = model.endpoints().any(|endpoint| model.container_name(&endpoint.id).is_none());
            let member = |endpoint: &Endpoint| {
                let name = model.container_name(&endpoint.id).unwrap_or(endpoint.id.short()).to_owned();
                (endpoint.id.clone(), endpoint.network.clone(), name)
            };
            (wanted, model.endpoints().map(member).collect::<Vec<_>>())
        };
        if wanted.is_empty() {
            return Ok(ears);
        }
        let have = self.look_at_host(wanted.iter().map(|one| &one.hub))?;
        for (endpoint, network, name) in members {
            if let Some(end) = have.host_end(&endpoint) {
                ears.members.insert(end.index, (network, name));
            }
        }
        for Wanted { component, network, hub, fd, sender } in wanted {
            let at = |link: &Link| Place::At { index: link.index, fd };
            let place = match sender {
                Expected::Anyone => hub_of(&network, &hub, &have)
                    .map_or_else(|| Place::Deaf(format!("the interface {hub} of the bus is missing")), at),
                Expected::Member(endpoint) => have.host_end(&endpoint).map_or(Place::Left, at),
                Expected::Absent => Place::Left,
            };
            ears.places.insert(component, (Some(network), place));
        }
        Ok(ears)
    }
}

fn want(model: &Model, network: &Network, one: &Expectation) -> Wanted {
    let endpoint = |from: &String| {
        // What a member sends that is cut off on purpose is heard at its pair only.
        let is_it = |id: &EndpointId| {
            is_called(from, id, model.container_name(id)) && !model.imposed_on(&network.id, id).cut
        };
        let mut members = model.members_of(&network.id);
        members.find(|endpoint| is_it(&endpoint.id)).map(|endpoint| endpoint.id.clone())
    };
    Wanted {
        component: one.component(),
        network: network.id.clone(),
        hub: network.hub(),
        fd: network.options.frames != Frames::Classic,
        sender: one
            .from
            .as_ref()
            .map_or(Expected::Anyone, |from| endpoint(from).map_or(Expected::Absent, Expected::Member)),
    }
}
