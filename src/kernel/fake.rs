//! A kernel in memory that obeys the real one's rules, for tests of planning.
//!
//! What it must share with the real one (`tests/kernel` runs the same cases on both): names and indices
//! are unique per namespace; deleting one end of a pair deletes the other; rules die with their links;
//! equal rules are not refused and deliver twice; a namespace's death takes its links with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use nix::errno::Errno;
use parking_lot::Mutex;

use super::{
    BusState, Controller, ControllerChange, Identity, Kernel, Link, LinkChange, LinkKind, OWN_INDEX_BASE,
    PairSpec, Result, Rule, RuleFlags, RuleStatus, Timing,
};
use crate::names::IfName;

/// Where a link is; `None`: the host.
type Place = Option<PathBuf>;

/// The kernel in memory.
#[derive(Debug, Default)]
pub struct FakeKernel {
    world: Mutex<World>,
}

#[derive(Debug, Default)]
struct World {
    links: BTreeMap<(Place, u32), Link>,
    /// Where the other end of each vxcan is.
    pairs: BTreeMap<(Place, u32), (Place, u32)>,
    sandboxes: BTreeSet<PathBuf>,
    rules: Vec<Rule>,
    /// Where hardware is plugged in, by the index of its interface.
    identities: BTreeMap<u32, Identity>,
    /// Frames that each end has sent while its rules stood, classic and FD.
    sent: BTreeMap<(u32, bool), u32>,
    next_index: u32,
    fail: Option<(u32, Errno)>,
}

impl FakeKernel {
    /// An empty host with an `eth0`.
    pub fn new() -> Self {
        let kernel = Self::default();
        kernel.add_foreign("eth0", LinkKind::Other);
        kernel
    }

    /// Makes a sandbox, as Docker does.
    pub fn add_sandbox(&self, path: impl Into<PathBuf>) {
        self.world.lock().sandboxes.insert(path.into());
    }

    /// Ends a sandbox and all links in it.
    pub fn end_sandbox(&self, path: &Path) {
        let mut world = self.world.lock();
        world.sandboxes.remove(path);
        let inside: Vec<u32> = world.inside(&Some(path.into())).map(|link| link.index).collect();
        for index in inside {
            world.delete(&Some(path.into()), index);
        }
    }

    /// Makes an interface that is not canhub's, up, and returns its index.
    pub fn add_foreign(&self, name: &str, kind: LinkKind) -> u32 {
        let mut world = self.world.lock();
        world.next_index += 1;
        let index = world.next_index;
        world.links.insert((None, index), Link { alias: None, ..new_link(index, name, kind, 72, "") });
        index
    }

    /// Plugs hardware in: an interface that is down, with this controller. Its name is the next that is free.
    pub fn plug(&self, identity: Identity, controller: Controller) -> u32 {
        let mut world = self.world.lock();
        world.next_index += 1;
        let index = world.next_index;
        let name = (0..).map(|number| format!("can{number}"));
        let name = name.into_iter().find(|name| !world.inside(&None).any(|link| link.name == *name));
        let name = name.unwrap_or_default();
        let link = new_link(index, &name, LinkKind::Can, 16, "");
        let controller = Some(Box::new(controller));
        world
            .links
            .insert((None, index), Link { alias: None, up: false, txqueuelen: 10, controller, ..link });
        world.identities.insert(index, identity);
        index
    }

    /// Puts a controller on the host into another state, as its wire would.
    pub fn set_state(&self, index: u32, state: BusState) {
        if let Some(link) = self.world.lock().links.get_mut(&(None, index))
            && let Some(controller) = &mut link.controller
        {
            // `can_update_state_error_stats`.
            controller.history.bus_off += u32::from(state == BusState::BusOff && controller.state != state);
            controller.state = state;
        }
    }

    /// Moves a link to another namespace, which takes its rules away.
    pub fn move_link(&self, index: u32, from: Option<&Path>, to: Option<&Path>, name: &str) {
        let (from, to) = (from.map(Path::to_owned), to.map(Path::to_owned));
        let mut world = self.world.lock();
        let Some(mut link) = world.links.remove(&(from.clone(), index)) else { return };
        link.name = name.into();
        if let Some(other) = world.pairs.remove(&(from.clone(), index)) {
            world.pairs.insert(other.clone(), (to.clone(), index));
            world.pairs.insert((to.clone(), index), other);
        }
        world.links.insert((to, index), link);
        world.rules.retain(|rule| from.is_some() || (rule.source != index && rule.destination != index));
    }

    /// Lets the next calls through, as many as said, and fails the one after them.
    pub fn fail_after(&self, calls: u32, errno: i32) {
        self.world.lock().fail = Some((calls, Errno::from_raw(errno)));
    }

    /// How often each CAN link of the host gets a frame of a kind that comes in on `source`.
    ///
    /// With the hop limit of one that every rule of canhub's has, a forwarded frame meets no second rule.
    pub fn deliveries(&self, source: u32, fd: bool) -> BTreeMap<u32, usize> {
        let mut counts = BTreeMap::new();
        for rule in &self.world.lock().rules {
            let unfiltered = rule.filter == super::Filter::default();
            if rule.source == source && rule.flags.contains(RuleFlags::FD) == fd && unfiltered {
                *counts.entry(rule.destination).or_insert(0) += 1;
            }
        }
        counts
    }

    /// Frames of one kind that come in on `source`; the rules that stand when it is asked for count them.
    pub fn send(&self, source: u32, fd: bool, frames: u32) {
        *self.world.lock().sent.entry((source, fd)).or_default() += frames;
    }

    fn change<T>(&self, change: impl FnOnce(&mut World) -> Result<T>) -> Result<T> {
        let mut world = self.world.lock();
        match &mut world.fail {
            Some((0, errno)) => {
                let errno = *errno;
                world.fail = None;
                return Err(errno.into());
            }
            Some((calls, _)) => *calls -= 1,
            None => {}
        }
        change(&mut world)
    }
}

impl World {
    fn inside<'a>(&'a self, place: &'a Place) -> impl Iterator<Item = &'a Link> {
        self.links.iter().filter(move |((at, _), _)| at == place).map(|(_, link)| link)
    }

    fn add(&mut self, place: Place, link: Link) -> Result<()> {
        if self.inside(&place).any(|other| other.name == link.name || other.index == link.index) {
            return Err(Errno::EEXIST.into());
        }
        self.links.insert((place, link.index), link);
        Ok(())
    }

    fn delete(&mut self, place: &Place, index: u32) {
        let mut doomed = vec![(place.clone(), index)];
        doomed.extend(self.pairs.remove(&(place.clone(), index)));
        for key in doomed {
            self.pairs.remove(&key);
            self.links.remove(&key);
            if key.0.is_none() {
                self.rules.retain(|rule| rule.source != key.1 && rule.destination != key.1);
            }
        }
    }

    /// An up destination took all frames, one that is down none.
    fn status(&self, rule: &Rule) -> RuleStatus {
        let of_its_kind = (rule.source, rule.flags.contains(RuleFlags::FD));
        let carries = rule.filter == super::Filter::default();
        let frames = self.sent.get(&of_its_kind).copied().filter(|_| carries).unwrap_or(0);
        let up = self.links.get(&(None, rule.destination)).is_some_and(|link| link.up);
        let (handled, dropped) = if up { (frames, 0) } else { (0, frames) };
        RuleStatus { rule: *rule, handled, dropped, modifies: false }
    }

    fn own_index(&mut self, even: bool) -> u32 {
        self.next_index += 1;
        OWN_INDEX_BASE + self.next_index * 2 + u32::from(!even)
    }
}

fn new_link(index: u32, name: &str, kind: LinkKind, mtu: u32, alias: &str) -> Link {
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
    }
}

/// As a driver would: what is not asked for stays, and a timing comes out as asked.
fn set_up(controller: &mut Controller, change: &ControllerChange) {
    let timing = |(bitrate, point): (u32, Option<u32>)| Timing {
        bitrate,
        sample_point: point.unwrap_or(875),
        quanta: 16,
    };
    controller.timing = change.timing.map(timing).or(controller.timing);
    controller.data_timing = change.data_timing.map(timing).or(controller.data_timing);
    controller.restart_ms = change.restart_ms.unwrap_or(controller.restart_ms);
    controller.modes = (controller.modes - change.modes_mask) | (change.modes & change.modes_mask);
    controller.termination = change.termination.or(controller.termination);
}

impl Kernel for FakeKernel {
    fn ensure_gateway(&self) -> Result<()> {
        self.change(|_| Ok(()))
    }

    fn links(&self) -> Result<Vec<Link>> {
        self.change(|world| Ok(world.inside(&None).cloned().collect()))
    }

    fn rules(&self) -> Result<Vec<RuleStatus>> {
        self.change(|world| Ok(world.rules.iter().map(|rule| world.status(rule)).collect()))
    }

    fn sandbox_links(&self, sandbox: &Path) -> Result<Option<Vec<Link>>> {
        self.change(|world| {
            let there = world.sandboxes.contains(sandbox);
            Ok(there.then(|| world.inside(&Some(sandbox.to_owned())).cloned().collect()))
        })
    }

    fn identities(&self) -> Result<Vec<(String, Identity)>> {
        self.change(|world| {
            let named = |(index, identity): (&u32, &Identity)| {
                Some((world.links.get(&(None, *index))?.name.clone(), identity.clone()))
            };
            Ok(world.identities.iter().filter_map(named).collect())
        })
    }

    fn configure(&self, index: u32, change: &ControllerChange, up: bool) -> Result<()> {
        self.change(|world| {
            let link = world.links.get_mut(&(None, index)).ok_or(Errno::ENODEV)?;
            link.txqueuelen = change.txqueuelen.unwrap_or(link.txqueuelen);
            if let Some(controller) = &mut link.controller {
                set_up(controller, change);
                // `open_candev`: "bit-timing not yet defined".
                if up && controller.timing.is_none() {
                    return Err(Errno::EINVAL.into());
                }
                let runs = up || (link.up && !change.needs_down());
                controller.state = if runs { BusState::ErrorActive } else { BusState::Stopped };
            }
            link.up = up || (link.up && !change.needs_down());
            Ok(())
        })
    }

    fn sandbox_exists(&self, sandbox: &Path) -> Result<bool> {
        self.change(|world| Ok(world.sandboxes.contains(sandbox)))
    }

    fn create_vcan(&self, name: &IfName, mtu: u32, alias: &str) -> Result<u32> {
        self.change(|world| {
            let index = world.own_index(true);
            world.add(None, new_link(index, name.as_str(), LinkKind::Vcan, mtu, alias))?;
            Ok(index)
        })
    }

    fn create_pair(&self, pair: &PairSpec<'_>) -> Result<u32> {
        self.change(|world| {
            let place = pair.sandbox.map(Path::to_owned);
            if place.as_ref().is_some_and(|path| !world.sandboxes.contains(path)) {
                return Err(Errno::ENOENT.into());
            }
            let (host, end) = (world.own_index(true), world.own_index(false));
            let mut link = new_link(end, pair.end.as_str(), LinkKind::Vxcan, pair.mtu, pair.alias);
            link.peer = Some(host);
            link.up = place.is_some();
            world.add(place.clone(), link)?;
            let mut link = new_link(host, pair.host.as_str(), LinkKind::Vxcan, pair.mtu, pair.alias);
            link.peer = Some(end);
            if let Err(err) = world.add(None, link) {
                world.links.remove(&(place, end));
                return Err(err);
            }
            world.pairs.insert((None, host), (place.clone(), end));
            world.pairs.insert((place, end), (None, host));
            Ok(host)
        })
    }

    fn change_link(&self, sandbox: Option<&Path>, index: u32, change: &LinkChange) -> Result<()> {
        self.change(|world| {
            let place = sandbox.map(Path::to_owned);
            if !world.links.contains_key(&(place.clone(), index)) {
                return Err(Errno::ENODEV.into());
            }
            let taken = |name: &IfName| {
                world.inside(&place).any(|link| link.name == name.as_str() && link.index != index)
            };
            if change.name.as_ref().is_some_and(taken) {
                return Err(Errno::EEXIST.into());
            }
            let link = world.links.get_mut(&(place, index)).ok_or(Errno::ENODEV)?;
            change.name.iter().for_each(|name| link.name = name.to_string());
            change.mtu.iter().for_each(|mtu| link.mtu = *mtu);
            change.alias.iter().for_each(|alias| link.alias = Some(alias.clone()));
            change.up.iter().for_each(|up| link.up = *up);
            Ok(())
        })
    }

    fn delete_link(&self, sandbox: Option<&Path>, index: u32) -> Result<()> {
        self.change(|world| {
            world.delete(&sandbox.map(Path::to_owned), index);
            Ok(())
        })
    }

    fn add_rules(&self, rules: &[Rule]) -> Result<()> {
        self.change(|world| {
            let mut refused = false;
            for rule in rules {
                let is_can = |index| world.links.get(&(None, index)).is_some_and(|link| link.kind.is_can());
                if is_can(rule.source) && is_can(rule.destination) {
                    world.rules.push(*rule);
                } else {
                    refused = true;
                }
            }
            if refused { Err(Errno::ENODEV.into()) } else { Ok(()) }
        })
    }

    fn delete_rules(&self, rules: &[Rule]) -> Result<()> {
        self.change(|world| {
            for rule in rules {
                if let Some(at) = world.rules.iter().position(|standing| standing == rule) {
                    world.rules.remove(at);
                }
            }
            Ok(())
        })
    }
}
