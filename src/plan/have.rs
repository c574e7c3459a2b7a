//! What is there: one look at the kernel as plain values, and whose each link is.
//!
//! What could not be read has a state of its own. It is never taken for empty or gone, so nothing is created, deleted
//! or forgotten because of it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    kernel::{Identity, Link, LinkKind, OWN_INDEX_BASE, RuleStatus},
    names::{EndpointId, NetworkId},
    network::Alias,
};

/// What one look at the kernel found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Have {
    /// All links of the host.
    pub links: Vec<Link>,
    /// All can-gw rules of the host.
    pub rules: Rules,
    /// Where each hardware CAN interface is plugged in, by its name, or why that could not be read. Read only where an
    /// adapter is known by it.
    pub identities: BTreeMap<String, Result<Identity, String>>,
    /// Each sandbox that was looked at.
    pub sandboxes: BTreeMap<PathBuf, Sandbox>,
}

/// The can-gw rules, as one look found them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Rules {
    /// Nobody asked.
    #[default]
    NotRead,
    /// All that stand.
    Read(Vec<RuleStatus>),
    /// They could not be read, and why.
    Unknown(String),
}

/// A sandbox, as one look found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sandbox {
    /// It exists and has these links.
    Present(Vec<Link>),
    /// There is no namespace at that path: the container ended, or Docker has not made the sandbox yet.
    Missing,
    /// It could not be read, and why.
    Unknown(String),
}

/// What is known of a sandbox that nobody looked at.
const NOT_READ: &Sandbox = &Sandbox::Unknown(String::new());

impl Rules {
    /// The rules, as far as they are known.
    pub fn list(&self) -> &[RuleStatus] {
        match self {
            Self::Read(rules) => rules,
            Self::NotRead | Self::Unknown(_) => &[],
        }
    }
}

/// Whether a link is canhub's: by its alias, or by an index that only canhub chooses.
pub fn is_ours(link: &Link) -> bool {
    let kind = matches!(link.kind, LinkKind::Vcan | LinkKind::Vxcan);
    kind && (link.index >= OWN_INDEX_BASE || alias(link).is_some())
}

pub(super) fn alias(link: &Link) -> Option<Alias> {
    link.alias.as_deref().and_then(Alias::parse)
}

impl Have {
    /// The link of that name on the host.
    pub fn named(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The vcan that canhub made as a network's hub, under whatever name it has now.
    pub fn own_hub(&self, network: &NetworkId, name: &str) -> Option<&Link> {
        let is_hub = |link: &&Link| link.kind == LinkKind::Vcan && is_ours(link);
        let owner = |link: &Link| alias(link).map(|alias| (alias.network, alias.endpoint.is_none()));
        let mine = |link: &&Link| owner(link) == Some((network.clone(), true));
        // Nearly always it has its name, and the aliases of all the others need not be read.
        let named = || self.links.iter().find(|link| link.name == name).filter(is_hub);
        named()
            .filter(mine)
            .or_else(|| self.links.iter().filter(is_hub).find(mine))
            .or_else(|| named().filter(|link| owner(link).is_none()))
    }

    /// The host end of an endpoint's pair, under whatever name it has now.
    pub fn host_end(&self, endpoint: &EndpointId) -> Option<&Link> {
        let (host, beside) = (endpoint.host_end(), endpoint.container_end());
        // Both ends carry the alias; host ends have even indices, and while beside, the container end its own name.
        let is_host_end = |link: &&Link| {
            link.kind == LinkKind::Vxcan
                && is_ours(link)
                && link.name != beside.as_str()
                && (link.index < OWN_INDEX_BASE || link.index.is_multiple_of(2))
        };
        let owner = |link: &Link| alias(link).and_then(|alias| alias.endpoint).map(|owner| owner.id);
        let mine = |link: &&Link| owner(link).as_ref() == Some(endpoint);
        // Nearly always it has its name, and the aliases of all the others need not be read.
        let named = || self.links.iter().find(|link| link.name == host.as_str()).filter(is_host_end);
        named()
            .filter(mine)
            .or_else(|| self.links.iter().filter(is_host_end).find(mine))
            .or_else(|| named().filter(|link| owner(link).is_none()))
    }

    /// The container end of an endpoint's pair, if it is in this sandbox.
    pub fn container_end(&self, endpoint: &EndpointId, sandbox: &Path) -> Option<&Link> {
        match self.sandbox(sandbox) {
            Sandbox::Present(links) => other_end(self.host_end(endpoint)?, links),
            Sandbox::Missing | Sandbox::Unknown(_) => None,
        }
    }

    /// What is known of a sandbox.
    pub fn sandbox(&self, path: &Path) -> &Sandbox {
        self.sandboxes.get(path).unwrap_or(NOT_READ)
    }

    /// Whether something could not be read, so that another look may find more.
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
