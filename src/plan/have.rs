//! The actual state: a snapshot of the kernel as plain values, and the owner of each link.
//!
//! What could not be read has a state of its own. It is never taken for empty or missing, so nothing is created,
//! deleted or forgotten because of it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    kernel::{Cookie, Identity, Inside, Link, LinkKind, OWN_INDEX_BASE, RuleStatus},
    names::{EndpointId, NetworkId},
    network::Alias,
};

/// A snapshot of the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Have {
    /// All links of the host.
    pub links: Vec<Link>,
    /// All can-gw rules of the host.
    pub rules: Rules,
    /// Where each hardware CAN interface is plugged in, by name, or why that could not be read. Only read if an adapter
    /// is selected by identity.
    pub identities: BTreeMap<String, Result<Identity, String>>,
    /// The sandboxes that were read.
    pub sandboxes: BTreeMap<PathBuf, Sandbox>,
    /// The kernel lacks the qdisc for pacing: what follows from that, and the way out.
    pub cannot_pace: Option<String>,
    /// The same for the qdisc that delays, loses, duplicates and corrupts frames.
    pub cannot_shape: Option<String>,
}

/// The can-gw rules in a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Rules {
    /// Not requested.
    #[default]
    NotRead,
    /// All rules.
    Read(Vec<RuleStatus>),
    /// They could not be read, for this reason.
    Unknown(String),
}

/// A sandbox in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sandbox {
    /// It exists, with this content.
    Present(Inside),
    /// There is no namespace at that path: the container has ended, or Docker has not created the sandbox yet.
    Missing,
    /// It could not be read, for this reason.
    Unknown(String),
}

/// The state of a sandbox that was not read.
const NOT_READ: &Sandbox = &Sandbox::Unknown(String::new());

impl Sandbox {
    /// The namespace that it is, if known.
    pub fn cookie(&self) -> Option<Cookie> {
        match self {
            Self::Present(inside) => inside.cookie,
            Self::Missing | Self::Unknown(_) => None,
        }
    }
}

impl Rules {
    /// The known rules.
    pub fn list(&self) -> &[RuleStatus] {
        match self {
            Self::Read(rules) => rules,
            Self::NotRead | Self::Unknown(_) => &[],
        }
    }
}

/// Whether a link is canhub's: by its alias, or by an index that only canhub uses.
pub fn is_ours(link: &Link) -> bool {
    let kind = matches!(link.kind, LinkKind::Vcan | LinkKind::Vxcan);
    kind && (link.index >= OWN_INDEX_BASE || alias(link).is_some())
}

pub(super) fn alias(link: &Link) -> Option<Alias> {
    link.alias.as_deref().and_then(Alias::parse)
}

impl Have {
    /// The link of this name on the host.
    pub fn named(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The vcan that canhub created as a network's hub, whatever its current name.
    pub fn own_hub(&self, network: &NetworkId, name: &str) -> Option<&Link> {
        let is_hub = |link: &&Link| link.kind == LinkKind::Vcan && is_ours(link);
        let owner = |link: &Link| alias(link).map(|alias| (alias.network, alias.endpoint.is_none()));
        let mine = |link: &&Link| owner(link) == Some((network.clone(), true));
        // It nearly always has its name, and then the other aliases need not be parsed.
        let named = || self.links.iter().find(|link| link.name == name).filter(is_hub);
        named()
            .filter(mine)
            .or_else(|| self.links.iter().filter(is_hub).find(mine))
            .or_else(|| named().filter(|link| owner(link).is_none()))
    }

    /// The host end of an endpoint's pair, whatever its current name.
    pub fn host_end(&self, endpoint: &EndpointId) -> Option<&Link> {
        let (host, beside) = (endpoint.host_end(), endpoint.container_end());
        // Both ends have the alias; host ends have even indices, and a container end on the host has a name of its own.
        let is_host_end = |link: &&Link| {
            link.kind == LinkKind::Vxcan
                && is_ours(link)
                && link.name != beside.as_str()
                && (link.index < OWN_INDEX_BASE || link.index.is_multiple_of(2))
        };
        let owner = |link: &Link| alias(link).and_then(|alias| alias.endpoint).map(|owner| owner.id);
        let mine = |link: &&Link| owner(link).as_ref() == Some(endpoint);
        // It nearly always has its name, and then the other aliases need not be parsed.
        let named = || self.links.iter().find(|link| link.name == host.as_str()).filter(is_host_end);
        named()
            .filter(mine)
            .or_else(|| self.links.iter().filter(is_host_end).find(mine))
            .or_else(|| named().filter(|link| owner(link).is_none()))
    }

    /// The container end of an endpoint's pair, if it is in this sandbox.
    pub fn container_end(&self, endpoint: &EndpointId, sandbox: &Path) -> Option<&Link> {
        match self.sandbox(sandbox) {
            Sandbox::Present(Inside { links, .. }) => other_end(self.host_end(endpoint)?, links),
            Sandbox::Missing | Sandbox::Unknown(_) => None,
        }
    }

    /// The state of a sandbox.
    pub fn sandbox(&self, path: &Path) -> &Sandbox {
        self.sandboxes.get(path).unwrap_or(NOT_READ)
    }

    /// Whether something could not be read, so that another reading may find more.
    pub fn is_partial(&self) -> bool {
        matches!(self.rules, Rules::Unknown(_))
            || self.identities.values().any(Result::is_err)
            || self.sandboxes.values().any(|sandbox| matches!(sandbox, Sandbox::Unknown(_)))
    }
}

/// The other end of a pair among `links`: each end reports the index of the other.
pub(super) fn other_end<'a>(host: &Link, links: &'a [Link]) -> Option<&'a Link> {
    links.iter().find(|link| {
        link.kind == LinkKind::Vxcan && Some(link.index) == host.peer && link.peer == Some(host.index)
    })
}
