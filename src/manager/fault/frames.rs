//! The frames of faults: what programs of a member hear, and what is sent while a fault lasts.

use tracing::debug;

use crate::{
    endpoint::Endpoint,
    fault::{Effect, ErrorKind, Fault, Place, Source},
    manager::Manager,
    model::Model,
    plan::Have,
    traffic::hub_of,
};

impl Manager {
    /// Sends the error frame of each effect that has one to the programs of its members: out of the host end, so that
    /// nobody else on the bus hears it.
    pub(super) fn tell_programs(
        &self,
        model: &Model,
        fault: &Fault,
        frame: impl Fn(&Effect) -> Option<&'static ErrorKind>,
    ) {
        let frames: Vec<_> = fault.effects.iter().filter_map(frame).map(ErrorKind::frame).collect();
        if frames.is_empty() {
            return;
        }
        for index in self.host_ends(model, fault) {
            let sent = self.kernel.sender(None, index, false).map_err(|err| err.to_string());
            if let Err(err) = sent.and_then(|mut sender| sender.send(&frames).map_err(|err| err.to_string()))
            {
                debug!(fault = fault.id, err, "an error frame was not sent");
            }
        }
    }

    fn host_ends(&self, model: &Model, fault: &Fault) -> Vec<u32> {
        let have = self.look_at_host([]).unwrap_or_default();
        members(model, fault)
            .filter(|endpoint| !is_down(model, endpoint))
            .filter_map(|endpoint| have.host_end(&endpoint.id))
            .map(|end| end.index)
            .collect()
    }

    /// What the faults in effect send again and again.
    pub(crate) fn sources(&self) -> Vec<Source> {
        let model = self.model.lock();
        let of_fault = |fault| Fault::sends(fault).map(move |sent| (fault, sent));
        let sent: Vec<(&Fault, _)> = model.faults().all().iter().flat_map(of_fault).collect();
        if sent.is_empty() {
            return Vec::new();
        }
        let hubs: Vec<_> = model.networks().map(|network| network.hub()).collect();
        let Ok(have) = self.look_at_host(&hubs) else { return Vec::new() };
        let mut sources = Vec::new();
        for (fault, (frame, rate, as_sender)) in sent {
            let source = |place| Source { fault: fault.id, place, frame, rate, ends: fault.ends };
            sources.extend(places(&model, &have, fault, as_sender).into_iter().map(source));
        }
        sources
    }
}

/// Where to send the frames of a fault: as its members, or as the host if it is about all; otherwise to its members only.
fn places(model: &Model, have: &Have, fault: &Fault, as_sender: bool) -> Vec<Place> {
    if as_sender && fault.member.is_none() {
        let network = model.network(&fault.network);
        let hub = network.and_then(|network| hub_of(&network.id, &network.hub(), have));
        return hub.map(|hub| Place { sandbox: None, index: hub.index, looped: true }).into_iter().collect();
    }
    let place = |endpoint: &Endpoint| {
        let host = have.host_end(&endpoint.id)?;
        Some(match as_sender {
            true => Place { sandbox: Some(endpoint.sandbox()?.to_owned()), index: host.peer?, looped: true },
            false => Place { sandbox: None, index: host.index, looped: false },
        })
    };
    members(model, fault).filter(|endpoint| !is_down(model, endpoint)).filter_map(place).collect()
}

/// Whether another fault has its interface down: its programs hear nothing then, and frames to it would count as lost.
fn is_down(model: &Model, endpoint: &Endpoint) -> bool {
    model.imposed_on(&endpoint.network, &endpoint.id).down
}

/// The containers that a fault is about and that are on the bus.
pub(super) fn members<'a>(model: &'a Model, fault: &'a Fault) -> impl Iterator<Item = &'a Endpoint> {
    let is_about = |endpoint: &&Endpoint| fault.is_about(&endpoint.id, model.container_name(&endpoint.id));
    model.members_of(&fault.network).filter(is_about)
}
