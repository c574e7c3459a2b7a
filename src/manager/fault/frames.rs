//! The frames of faults: what programs of a member hear, and what is sent while a fault lasts.

use tracing::debug;

use crate::{
    endpoint::Endpoint,
    fault::{Effect, ErrorKind, Fault, Place, Source},
    manager::Manager,
    model::Model,
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
            .filter_map(|endpoint| have.host_end(&endpoint.id))
            .map(|end| end.index)
            .collect()
    }

    /// What the faults in effect send again and again.
    pub(crate) fn sources(&self) -> Vec<Source> {
        let model = self.model.lock();
        if model
            .faults()
            .all()
            .iter()
            .all(|fault| fault.effects.iter().all(|effect| effect.sends().is_none()))
        {
            return Vec::new();
        }
        let hubs: Vec<_> = model.networks().map(|network| network.hub()).collect();
        let Ok(have) = self.look_at_host(&hubs) else { return Vec::new() };
        let mut sources = Vec::new();
        for fault in model.faults().all() {
            for (frame, rate, as_sender) in fault.effects.iter().filter_map(|effect| effect.sends()) {
                let source = |place| Source { fault: fault.id, place, frame, rate, ends: fault.ends };
                let place = |endpoint: &Endpoint| {
                    let host = have.host_end(&endpoint.id)?;
                    Some(match as_sender {
                        true => Place {
                            sandbox: Some(endpoint.sandbox()?.to_owned()),
                            index: host.peer?,
                            looped: true,
                        },
                        false => Place { sandbox: None, index: host.index, looped: false },
                    })
                };
                if as_sender && fault.member.is_none() {
                    let network = model.network(&fault.network);
                    let hub = network.and_then(|network| hub_of(&network.id, &network.hub(), &have));
                    sources.extend(
                        hub.map(|hub| source(Place { sandbox: None, index: hub.index, looped: true })),
                    );
                } else {
                    sources.extend(members(&model, fault).filter_map(place).map(source));
                }
            }
        }
        sources
    }
}

/// The containers that a fault is about and that are on the bus.
pub(super) fn members<'a>(model: &'a Model, fault: &'a Fault) -> impl Iterator<Item = &'a Endpoint> {
    model.endpoints().filter(move |endpoint| {
        endpoint.network == fault.network
            && endpoint.sandbox().is_some()
            && !model.is_dead(&endpoint.id)
            && fault.is_about(&endpoint.id, model.container_name(&endpoint.id))
    })
}
