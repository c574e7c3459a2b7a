//! One event: its fields, named as in the log, and its line there.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tracing::{field, info, warn};

use crate::{
    apply::Done,
    clock::micros,
    endpoint::Endpoint,
    health::Status,
    model::Model,
    names::{EndpointId, NetworkId},
    plan::{Problem, Step},
};

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A step of a plan was carried out because something was missing.
    Healed,
    /// Such a step failed.
    HealFailed,
    /// A fault was healed several times in a row; from now on its heals are only counted.
    KeepsComingBack,
    /// A fault that kept coming back has stayed away.
    HealedForGood,
    /// Something is wrong that only somebody else can mend.
    Problem,
    /// It is wrong no more.
    ProblemOver,
    /// The adapter of a bus is not there any more; the bus waits for it.
    AdapterVanished,
    /// It is there again, or another one in its place, and was made part of the bus.
    AdapterAppeared,
    /// An adapter met so many errors that it left the wire.
    BusOff,
    /// CreateNetwork.
    NetworkCreated,
    /// DeleteNetwork.
    NetworkDeleted,
    /// Join.
    Joined,
    /// DeleteEndpoint.
    Left,
    /// An endpoint of which Docker told no end.
    EndpointCollected,
    /// A network of which Docker told no end.
    NetworkCollected,
    /// Something of ours that lived, and that no record knew.
    Adopted,
    /// The health of a component, or of all together, is another than it was.
    StatusChanged,
}

impl Kind {
    /// What the line in the log says.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Healed => "healed",
            Self::HealFailed => "could not heal; it will be tried again",
            Self::KeepsComingBack => {
                "keeps coming back: somebody or something undoes it; canhub goes on, with growing pauses, and sums up when it is over"
            }
            Self::HealedForGood => "healed for good; it had kept coming back",
            Self::Problem => "a problem",
            Self::ProblemOver => "no longer a problem",
            Self::AdapterVanished => "adapter vanished",
            Self::AdapterAppeared => "healed: the adapter appeared and carries its bus",
            Self::BusOff => "bus-off: the adapter met so many errors that it left the wire",
            Self::NetworkCreated => "network created",
            Self::NetworkDeleted => "network deleted",
            Self::Joined => "joined",
            Self::Left => "left",
            Self::EndpointCollected => "endpoint collected",
            Self::NetworkCollected => "network collected",
            Self::Adopted => "adopted",
            Self::StatusChanged => "health changed",
        }
    }
}

/// What happened. The fields have the names of the log's; what is `None` does not apply or is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What kind of thing.
    #[serde(rename = "event")]
    pub kind: Kind,
    /// Docker's id, whole; the log has its first twelve digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkId>,
    /// What people call the network; the start of its id until Docker has told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_name: Option<String>,
    /// Docker's id, whole; the log has its first twelve digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointId>,
    /// What people call the container, once Docker has told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The interface that it is about, or `rules`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Whose health changed: `bus:body`, `docker`; `overall` for all together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// What it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Status>,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Status>,
    /// What was wrong. Of heals one of a fixed set, so that they can be counted by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'static, str>>,
    /// What was done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub did: Option<String>,
    /// How often in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// How long it took, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_us: Option<u64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub err: Option<String>,
}

impl Event {
    /// An event with no field set.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            network: None,
            network_name: None,
            endpoint: None,
            container: None,
            interface: None,
            component: None,
            from: None,
            to: None,
            reason: None,
            did: None,
            times: None,
            took_us: None,
            err: None,
        }
    }

    /// About a network.
    pub(crate) fn of_network(kind: Kind, model: &Model, id: &NetworkId) -> Self {
        let network_name = Some(model.network_name(id).to_owned());
        Self { network: Some(id.clone()), network_name, ..Self::new(kind) }
    }

    /// About an endpoint of a network.
    pub(crate) fn of_endpoint(kind: Kind, model: &Model, endpoint: &Endpoint) -> Self {
        Self {
            endpoint: Some(endpoint.id.clone()),
            container: model.container_name(&endpoint.id).map(str::to_owned),
            ..Self::of_network(kind, model, &endpoint.network)
        }
    }

    /// About a step of a plan.
    pub(crate) fn of_step(kind: Kind, model: &Model, step: &Step) -> Self {
        let network = step.network.as_ref();
        Self {
            network: network.cloned(),
            network_name: network.map(|id| model.network_name(id).to_owned()),
            endpoint: step.endpoint.clone(),
            container: step.endpoint.as_ref().and_then(|id| model.container_name(id)).map(str::to_owned),
            interface: Some(step.action.interface().to_owned()),
            reason: Some(step.reason.into()),
            ..Self::new(kind)
        }
    }

    /// A step that was carried out because something was missing.
    pub(crate) fn healed(model: &Model, done: &Done<'_>) -> Self {
        Self {
            did: Some(done.step.action.to_string()),
            took_us: Some(micros(done.took)),
            ..Self::of_step(Kind::Healed, model, done.step)
        }
    }

    /// About a problem.
    pub(crate) fn of_problem(kind: Kind, model: &Model, problem: &Problem) -> Self {
        Self {
            endpoint: problem.endpoint.clone(),
            reason: Some(problem.text.clone().into()),
            ..Self::of_network(kind, model, &problem.network)
        }
    }

    /// The one line by which `journalctl -g healed` tells the story.
    pub(super) fn log(&self) {
        // A problem's line is its text, so that it reads as a sentence.
        let (sentence, reason) = match (self.kind, self.reason.as_deref()) {
            (Kind::Problem, Some(text)) => (text, None),
            (kind, reason) => (kind.sentence(), reason),
        };
        macro_rules! line {
            ($level:ident) => {
                $level!(
                    network = self.network.as_ref().map(NetworkId::short),
                    network_name = self.network_name.as_deref(),
                    endpoint = self.endpoint.as_ref().map(EndpointId::short),
                    container = self.container.as_deref(),
                    interface = self.interface.as_deref(),
                    component = self.component.as_deref(),
                    from = self.from.map(Status::as_str),
                    to = self.to.map(Status::as_str),
                    reason,
                    did = self.did.as_deref().map(field::display),
                    times = self.times,
                    took_us = self.took_us,
                    err = self.err.as_deref().map(field::display),
                    "{sentence}"
                )
            };
        }
        match self.kind {
            Kind::HealFailed
            | Kind::KeepsComingBack
            | Kind::Problem
            | Kind::AdapterVanished
            | Kind::BusOff => line!(warn),
            Kind::StatusChanged if self.to > self.from => line!(warn),
            _ => line!(info),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_fields_of_the_log_and_only_those_that_are_known() {
        let event = Event {
            interface: Some("vcan7".into()),
            reason: Some("the hub was missing".into()),
            took_us: Some(12),
            ..Event::new(Kind::Healed)
        };
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(
            json,
            r#"{"event":"healed","interface":"vcan7","reason":"the hub was missing","took_us":12}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    }
}
