//! The host in memory: links, pairs, sandboxes and rules, and what happens to one when another is deleted.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use nix::errno::Errno;

use super::{unreadable::Unreadable, wires::Wires};
use crate::kernel::{
    Cookie, HOST_NAMESPACE, Identity, Link, LinkKind, OWN_INDEX_BASE, Result, Rule, RuleStatus,
};

/// A namespace: a sandbox, or the host (`None`).
pub(super) type Place = Option<PathBuf>;

/// The namespace at the path of a sandbox.
pub(super) fn place(sandbox: Option<&Path>) -> Place {
    sandbox.filter(|path| *path != Path::new(HOST_NAMESPACE)).map(Path::to_owned)
}

/// An interface: its namespace and its index there.
pub(super) type Port = (Place, u32);

#[derive(Debug)]
pub(super) struct World {
    pub(super) links: BTreeMap<Port, Link>,
    /// The location of the other end of each vxcan.
    pub(super) pairs: BTreeMap<Port, Port>,
    /// The namespace at the path of each sandbox.
    pub(super) sandboxes: BTreeMap<PathBuf, Cookie>,
    pub(super) next_cookie: u64,
    /// The sandbox that becomes another just before the next pair is made.
    pub(super) remount_before_pair: Option<PathBuf>,
    /// Whether namespaces have cookies, as since Linux 5.14.
    pub(super) tells_cookies: bool,
    pub(super) rules: Vec<Standing>,
    /// `max_hops` of can-gw: how many rules a frame may pass before it crosses a pair.
    pub(super) max_hops: u8,
    /// Where hardware is plugged in, by the index of its interface.
    pub(super) identities: BTreeMap<u32, Identity>,
    /// Whether drivers count how often their controllers go bus-off.
    pub(super) counts_bus_offs: bool,
    pub(super) next_index: u32,
    /// How many calls succeed, and the error of the next one.
    pub(super) fail: Option<(u32, Errno)>,
    pub(super) unreadable: Unreadable,
    pub(super) wires: Wires,
}

/// A rule and its counters.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) rule: Rule,
    /// Whether it modifies frames (`CGW_MOD_*`).
    pub(super) modifies: bool,
    pub(super) handled: u32,
    pub(super) dropped: u32,
}

impl Default for World {
    fn default() -> Self {
        Self {
            links: BTreeMap::new(),
            pairs: BTreeMap::new(),
            sandboxes: BTreeMap::new(),
            next_cookie: 0,
            remount_before_pair: None,
            tells_cookies: true,
            rules: Vec::new(),
            max_hops: 1,
            identities: BTreeMap::new(),
            counts_bus_offs: true,
            next_index: 0,
            fail: None,
            unreadable: Unreadable::default(),
            wires: Wires::default(),
        }
    }
}

impl World {
    /// Whether there is a namespace at this place.
    pub(super) fn exists(&self, place: &Place) -> bool {
        place.as_ref().is_none_or(|path| self.sandboxes.contains_key(path))
    }

    /// That of the namespace at a path.
    pub(super) fn cookie(&self, sandbox: &Path) -> Option<Cookie> {
        self.sandboxes.get(sandbox).copied().filter(|_| self.tells_cookies)
    }

    pub(super) fn inside(&self, place: &Place) -> impl Iterator<Item = &Link> + use<'_> {
        self.links.range((place.clone(), 0)..=(place.clone(), u32::MAX)).map(|(_, link)| link)
    }

    pub(super) fn add(&mut self, place: Place, link: Link) -> Result<()> {
        if self.inside(&place).any(|other| other.name == link.name || other.index == link.index) {
            return Err(Errno::EEXIST.into());
        }
        self.links.insert((place, link.index), link);
        Ok(())
    }

    pub(super) fn delete(&mut self, place: &Place, index: u32) {
        let mut doomed = vec![(place.clone(), index)];
        doomed.extend(self.pairs.remove(&(place.clone(), index)));
        for port in doomed {
            self.pairs.remove(&port);
            self.links.remove(&port);
            self.drop_rules_of(&port);
        }
    }

    /// Moves a link, which takes it down. It keeps its index unless that is taken there.
    pub(super) fn relocate(&mut self, from: Port, to: Place, name: &str) {
        let taken = from.0 != to && self.links.contains_key(&(to.clone(), from.1));
        let index = if taken { self.small_index() } else { from.1 };
        self.renumber(&from, (to.clone(), index));
        if let Some(link) = self.links.get_mut(&(to.clone(), index)) {
            link.name = name.into();
            link.up &= from.0 == to;
            // `dev_shutdown`.
            if from.0 != to {
                link.qdisc = None;
            }
        }
        if from.0 != to {
            self.drop_rules_of(&from);
        }
    }

    /// Stores a link under another key, and updates its other end.
    pub(super) fn renumber(&mut self, from: &Port, to: Port) {
        let Some(mut link) = self.links.remove(from) else { return };
        link.index = to.1;
        self.links.insert(to.clone(), link);
        if let Some(other) = self.pairs.remove(from) {
            if let Some(link) = self.links.get_mut(&other) {
                link.peer = Some(to.1);
            }
            self.pairs.insert(other.clone(), to.clone());
            self.pairs.insert(to, other);
        }
    }

    /// `NETDEV_UNREGISTER`: rules belong to the host, and are deleted with either of their links.
    fn drop_rules_of(&mut self, (place, index): &Port) {
        if place.is_none() {
            let touches = |rule: &Rule| rule.source == *index || rule.destination == *index;
            self.rules.retain(|standing| !touches(&standing.rule));
        }
    }

    /// An index as the kernel assigns it.
    pub(super) fn small_index(&mut self) -> u32 {
        self.next_index += 1;
        self.next_index
    }

    /// An index as canhub chooses it: even for links that stay on the host, odd for container ends.
    pub(super) fn own_index(&mut self, even: bool) -> u32 {
        OWN_INDEX_BASE + self.small_index() * 2 + u32::from(!even)
    }
}

impl Standing {
    pub(super) fn new(rule: Rule, modifies: bool) -> Self {
        Self { rule, modifies, handled: 0, dropped: 0 }
    }

    pub(super) fn status(&self) -> RuleStatus {
        let Self { rule, modifies, handled, dropped } = *self;
        RuleStatus { rule, handled, dropped, modifies }
    }
}

/// A link as it is right after it was created, and up.
pub(crate) fn new_link(index: u32, name: &str, kind: LinkKind, mtu: u32, alias: &str) -> Link {
    let alias = Some(alias.to_owned());
    Link {
        index,
        name: name.to_owned(),
        kind,
        mtu,
        up: true,
        alias,
        peer: None,
        txqueuelen: 1000,
        controller: None,
        qdisc: None,
        counters: Some(Default::default()),
    }
}
