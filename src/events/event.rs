//! An event: its fields, named as in the log, and its log line.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tracing::{field, info, warn};

use crate::{
    apply::StepResult,
    attachment::MemberKind,
    clock::micros,
    endpoint::Endpoint,
    model::Model,
    names::{EndpointId, NetworkId, SpanName},
    plan::{Problem, Step},
    status::HealthStatus,
};

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A step was carried out to repair a fault.
    Healed,
    /// A repair failed.
    HealFailed,
    /// A fault was healed several times in a row; from now on its heals are counted but not logged.
    KeepsComingBack,
    /// A recurring fault has not come back.
    HealedForGood,
    /// A problem that canhub cannot fix by itself.
    Problem,
    /// The problem is gone.
    ProblemOver,
    /// The adapter of a bus has disappeared; the bus waits for it.
    AdapterVanished,
    /// The adapter, or another that matches, has appeared and was added to the bus.
    AdapterAppeared,
    /// An adapter went bus-off.
    BusOff,
    /// Frames from or to an end of a bus were lost; told at most once a minute per end.
    FramesLost,
    /// CreateNetwork.
    NetworkCreated,
    /// DeleteNetwork.
    NetworkDeleted,
    /// Join.
    Joined,
    /// DeleteEndpoint.
    Left,
    /// The record of an endpoint was removed although Docker never sent DeleteEndpoint.
    EndpointCollected,
    /// The record of a network was removed although Docker never sent DeleteNetwork.
    NetworkCollected,
    /// A link of canhub without a record was adopted.
    Adopted,
    /// The health of a component, or the overall health, has changed.
    StatusChanged,
    /// Another host is on a span.
    HostOnline,
    /// It is not any more.
    HostOffline,
    /// A host was refused.
    HostRefused,
    /// Nothing is carried on a span: its frames went in circles, or this host has no right for it.
    SpanStopped,
    /// The span is carried again.
    SpanResumed,
    /// A fault on purpose has begun.
    FaultBegan,
    /// It has ended.
    FaultEnded,
    /// `canhub-span` does not answer.
    SpanLost,
    /// It does again.
    SpanFound,
}

impl Kind {
    /// The message of the log line.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Healed => "healed",
            Self::HealFailed => "could not heal; will retry",
            Self::KeepsComingBack => {
                "fault keeps coming back: something else undoes the repair; canhub keeps healing at growing intervals and logs a summary at the end"
            }
            Self::HealedForGood => "recurring fault is gone",
            Self::Problem => "problem",
            Self::ProblemOver => "no longer a problem",
            Self::AdapterVanished => "adapter vanished",
            Self::AdapterAppeared => "healed: the adapter appeared and carries its bus",
            Self::BusOff => "adapter went bus-off after too many errors",
            Self::FramesLost => "frames lost",
            Self::NetworkCreated => "network created",
            Self::NetworkDeleted => "network deleted",
            Self::Joined => "joined",
            Self::Left => "left",
            Self::EndpointCollected => "endpoint collected",
            Self::NetworkCollected => "network collected",
            Self::Adopted => "adopted",
            Self::StatusChanged => "health changed",
            Self::HostOnline => "host online",
            Self::HostOffline => "host offline",
            Self::HostRefused => "host refused",
            Self::SpanStopped => "span stopped",
            Self::SpanResumed => "span carries frames again",
            Self::FaultBegan => "fault on purpose began",
            Self::FaultEnded => "fault on purpose ended",
            Self::SpanLost => "canhub-span does not answer; buses work on this host",
            Self::SpanFound => "canhub-span answers again",
        }
    }
}

/// An event. The fields are named as in the log; `None` means not applicable or not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The kind of event.
    #[serde(rename = "event")]
    pub kind: Kind,
    /// Docker's full ID; the log shows the first twelve digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkId>,
    /// The network name; the start of its ID until Docker's API has answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_name: Option<String>,
    /// Docker's full ID; the log shows the first twelve digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointId>,
    /// The container name, once Docker's API has answered; that of another member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// What the member is. The log has its name in the field of this name.
    #[serde(rename = "kind", skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberKind>,
    /// The number of the fault on purpose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<u64>,
    /// The interface concerned, or `rules`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span: Option<SpanName>,
    /// The other host: its name, or its address if it has not proved a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The component whose health changed: `bus:body`, `docker`, or `overall`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// The previous health.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<HealthStatus>,
    /// The new health.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<HealthStatus>,
    /// What was wrong. For heals, one of a fixed set, so that they can be counted by reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'static, str>>,
    /// The repair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub did: Option<String>,
    /// How many frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames: Option<u64>,
    /// How many times in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// Duration in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_us: Option<u64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub err: Option<String>,
}

impl Event {
    /// An event without fields.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            network: None,
            network_name: None,
            endpoint: None,
            container: None,
            member: None,
            fault: None,
            interface: None,
            span: None,
            host: None,
            component: None,
            from: None,
            to: None,
            reason: None,
            did: None,
            frames: None,
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
            member: Some(endpoint.kind()),
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
            member: step.endpoint.as_ref().map(|id| model.kind_of(id)),
            interface: Some(step.action.interface().to_owned()),
            reason: Some(step.reason.as_str().into()),
            ..Self::new(kind)
        }
    }

    /// A repair that was carried out.
    pub(crate) fn healed(model: &Model, done: &StepResult<'_>) -> Self {
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

    /// The name of the member, if it is of this kind.
    fn named(&self, kind: MemberKind) -> Option<&str> {
        self.container.as_deref().filter(|_| self.member.unwrap_or_default() == kind)
    }

    /// Writes the log line; `journalctl -g healed` finds heals.
    pub(super) fn log(&self) {
        // The message of a problem is its text, so that it reads as a sentence.
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
                    container = self.named(MemberKind::Container),
                    podman = self.named(MemberKind::Podman),
                    cni = self.named(MemberKind::Cni),
                    pod = self.named(MemberKind::Pod),
                    namespace = self.named(MemberKind::Namespace),
                    fault = self.fault,
                    interface = self.interface.as_deref(),
                    span = self.span.as_ref().map(SpanName::as_str),
                    host = self.host.as_deref(),
                    component = self.component.as_deref(),
                    from = self.from.map(HealthStatus::as_str),
                    to = self.to.map(HealthStatus::as_str),
                    reason,
                    did = self.did.as_deref().map(field::display),
                    frames = self.frames,
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
            | Kind::FramesLost
            | Kind::HostOffline
            | Kind::HostRefused
            | Kind::SpanStopped
            | Kind::SpanLost
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
    fn an_event_has_the_fields_of_the_log_and_only_known_ones() {
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
