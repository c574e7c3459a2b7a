//! What is there: one dump as plain values, and whose each link is.

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
    pub rules: Vec<RuleStatus>,
    /// Where each hardware CAN interface is plugged in, by its name; read only where an adapter is known by that.
    pub identities: BTreeMap<String, Identity>,
    /// The links inside each sandbox that exists.
    pub sandboxes: BTreeMap<PathBuf, Vec<Link>>,
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
        other_end(self.host_end(endpoint)?, self.sandboxes.get(sandbox)?)
    }
}

/// The other end of a pair among `links`: each end reports the index of the other.
pub(super) fn other_end<'a>(host: &Link, links: &'a [Link]) -> Option<&'a Link> {
    links.iter().find(|link| {
        link.kind == LinkKind::Vxcan && Some(link.index) == host.peer && link.peer == Some(host.index)
    })
}
