//! A step of a plan: a difference between the desired and the actual state, and the action that removes it.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use super::{NamedRule, Reason, rules};
use crate::{
    kernel::{ControllerChange, LinkChange, Netem, Pace, Rule},
    names::{EndpointId, IfName, NetworkId},
};

/// A difference, and how to remove it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The network; `None` for a leftover of an unknown network.
    pub network: Option<NetworkId>,
    /// The endpoint, if it concerns only one.
    pub endpoint: Option<EndpointId>,
    /// The reason.
    pub reason: Reason,
    /// The action.
    pub action: Action,
}

/// An end of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairEnd {
    /// The one in the container, which sends what the container sends.
    Container,
    /// The one on the host, which sends what the container is to hear.
    Host,
}

/// The action of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Create the hub.
    CreateHub {
        /// Its name.
        name: IfName,
        /// In bytes.
        mtu: u32,
        /// The alias.
        alias: String,
    },
    /// Create a pair.
    CreatePair {
        /// The host end's name.
        host: IfName,
        /// The container end's name.
        end: IfName,
        /// The sandbox in which the container end is created; `None`: on the host, for Docker to move.
        sandbox: Option<PathBuf>,
        /// In bytes.
        mtu: u32,
        /// The alias.
        alias: String,
    },
    /// Change a link.
    Change {
        /// `None`: on the host.
        sandbox: Option<PathBuf>,
        /// Its index.
        index: u32,
        /// Its current name, for messages.
        name: String,
        /// The change.
        change: LinkChange,
    },
    /// Configure an adapter.
    Configure {
        /// Its index.
        index: u32,
        /// Its name, for messages.
        name: String,
        /// The change.
        change: ControllerChange,
        /// Whether it is up afterwards.
        up: bool,
    },
    /// Set the pace of a container end, or remove it.
    Pace {
        /// The container's sandbox.
        sandbox: PathBuf,
        /// The host end of its pair.
        host: IfName,
        /// Its index; `None`: the end of the pair that an earlier step creates.
        index: Option<u32>,
        /// Its name at that point, for messages.
        name: String,
        /// `None`: no longer paced.
        pace: Option<Pace>,
    },
    /// Set what happens to frames on their way through an end, or end it.
    Netem {
        /// The container's sandbox.
        sandbox: PathBuf,
        /// The host end of its pair.
        host: IfName,
        /// Which of the two.
        end: PairEnd,
        /// Its index; `None`: that of the pair that an earlier step creates.
        index: Option<u32>,
        /// Its name at that point, for messages.
        name: String,
        /// `None`: nothing any more.
        netem: Option<Netem>,
    },
    /// Delete a link.
    Delete {
        /// `None`: on the host.
        sandbox: Option<PathBuf>,
        /// Its index.
        index: u32,
        /// Its current name, for messages.
        name: String,
    },
    /// Remove duplicate and leftover rules.
    DeleteRules(Vec<Rule>),
    /// Add missing rules. By name, because an earlier step may create an end.
    AddRules {
        /// The rules.
        rules: Vec<NamedRule>,
        /// The index of each end that already exists.
        ends: BTreeMap<IfName, u32>,
    },
}

impl Action {
    /// The interface concerned, for logs.
    pub fn interface(&self) -> &str {
        match self {
            Self::CreateHub { name, .. } => name.as_str(),
            Self::CreatePair { host, .. } => host.as_str(),
            Self::Change { name, .. }
            | Self::Configure { name, .. }
            | Self::Pace { name, .. }
            | Self::Netem { name, .. }
            | Self::Delete { name, .. } => name,
            Self::DeleteRules(_) => "rules",
            Self::AddRules { rules, .. } => rules::shared_end(rules).map_or("rules", IfName::as_str),
        }
    }

    /// Whether a bus carries frames without it, though not as requested.
    pub(crate) fn is_about_qdiscs(&self) -> bool {
        matches!(self, Self::Pace { .. } | Self::Netem { .. })
    }

    /// Whether it changes a container end that exists.
    pub(crate) fn is_at_container_end(&self) -> bool {
        matches!(
            self,
            Self::Change { sandbox: Some(_), .. }
                | Self::Pace { index: Some(_), .. }
                | Self::Netem { end: PairEnd::Container, index: Some(_), .. }
        )
    }

    pub(super) fn acts_on_rules(&self) -> bool {
        match self {
            Self::DeleteRules(_) => true,
            Self::AddRules { rules, ends } => rules
                .iter()
                .any(|rule| ends.contains_key(&rule.source) && ends.contains_key(&rule.destination)),
            _ => false,
        }
    }
}

impl fmt::Display for Action {
    /// The action, in words that follow "cannot".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateHub { name, .. } => write!(f, "create the vcan {name}"),
            Self::CreatePair { host, end, sandbox: Some(sandbox), .. } => {
                write!(f, "create the vxcan pair {host} with {end} in {}", sandbox.display())
            }
            Self::CreatePair { host, end, sandbox: None, .. } => {
                write!(f, "create the vxcan pair {host} with {end}")
            }
            Self::Change { name, change: LinkChange { name: Some(new), .. }, .. } => {
                write!(f, "rename the interface {name} to {new}")
            }
            Self::Change { name, .. } => write!(f, "set up the interface {name}"),
            Self::Configure { name, change, .. } => write!(f, "configure the adapter {name}{change}"),
            Self::Pace { name, pace: Some(pace), .. } => {
                write!(f, "pace the interface {name} at {} bit/s", pace.rate)
            }
            Self::Pace { name, pace: None, .. } => write!(f, "stop pacing the interface {name}"),
            Self::Netem { name, netem: Some(_), .. } => {
                write!(f, "shape the frames on interface {name}")
            }
            Self::Netem { name, netem: None, .. } => {
                write!(f, "stop shaping the frames on interface {name}")
            }
            Self::Delete { name, .. } => write!(f, "delete the interface {name}"),
            Self::DeleteRules(rules) => write!(f, "remove {} can-gw rules", rules.len()),
            Self::AddRules { rules, .. } => write!(f, "add {} can-gw rules", rules.len()),
        }
    }
}
