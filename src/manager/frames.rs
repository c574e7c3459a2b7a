//! Counting frames: the rules' counters are added up whenever the rules are read.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::debug;

use super::Manager;
use crate::{
    events::{Event, Kind},
    model::Model,
    names::EndpointId,
    network::Network,
    traffic::{End, Totals, Untold},
};

/// What all members sent and received since canhub started.
pub(super) type FrameCounts = Mutex<Totals>;

/// Counters that are younger are not read again before a pair goes: a dump of a large bus takes milliseconds.
const COUNT_PAUSE: Duration = Duration::from_secs(1);

impl Manager {
    /// A CAN link of the host is gone, and had sent this many frames.
    pub fn link_removed(&self, index: u32, sent: u64) {
        self.frames.lock().removed(index, sent);
    }

    /// Tells of frames that were lost since they were last told, of each end at most once a minute. Not to be called while
    /// the model is locked.
    pub(crate) fn tell_losses(&self) {
        if !self.frames.lock().losses().is_untold() {
            return;
        }
        let model = self.model();
        let untold = {
            let mut totals = self.frames.lock();
            totals.losses_mut().name(|end| name(&model, end));
            totals.losses_mut().take_untold(Instant::now())
        };
        for Untold { network, end, container, interface, frames, by } in untold {
            let by: Vec<String> = by
                .iter()
                .map(|(direction, cause, frames)| {
                    format!("{frames} {} it, {}", direction.preposition(), cause.sentence())
                })
                .collect();
            let endpoint = match end {
                End::Member(endpoint) => Some(endpoint),
                End::Hub(_) => None,
            };
            self.events.tell(Event {
                endpoint,
                container,
                interface: Some(interface),
                frames: Some(frames),
                reason: Some(by.join("; ").into()),
                ..Event::of_network(Kind::FramesLost, &model, &network)
            });
        }
    }

    /// With a pair go the rules' counters of all that it sent and received since they were last read. Where many
    /// leave in a row, one dump answers for all that leave within [`COUNT_PAUSE`].
    pub(super) fn count_before_leave(&self, model: &Model) {
        self.count(model);
        // Its name goes with it.
        self.frames.lock().losses_mut().name(|end| name(model, end));
    }

    fn count(&self, model: &Model) {
        if self.frames.lock().age(Instant::now()).is_some_and(|age| age < COUNT_PAUSE) {
            return;
        }
        if let Err(err) = self.look_at_rules(&model.want()) {
            debug!(%err, "could not read the frame counters; frames since the last reading are not counted");
        }
    }
}

/// The display name of an end and its interface, as far as they are known.
fn name(model: &Model, end: &End) -> Option<(Option<String>, String)> {
    match end {
        End::Hub(network) => Some((None, model.network(network)?.hub().to_string())),
        End::Member(endpoint) if endpoint.is_span_port() => {
            let of_it = |network: &&Network| EndpointId::of_span_port(&network.id) == *endpoint;
            let span = model.networks().find(of_it)?.options.span.as_ref()?;
            Some((Some(span.name.member()), endpoint.container_end().to_string()))
        }
        End::Member(endpoint) => {
            let interface = model.endpoint(endpoint)?.ifname.to_string();
            Some((model.container_name(endpoint).map(str::to_owned), interface))
        }
    }
}
