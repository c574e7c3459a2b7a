//! A kernel in memory with the semantics of the real one, for tests of the planner.
//!
//! What it must have in common with the real one (`tests/kernel` runs the same cases on both): names and indices are
//! unique per namespace; deleting one end of a pair deletes the other; rules are deleted with their links; duplicate
//! rules are accepted and deliver twice; deleting a namespace deletes its links. Frames (`frames`) obey the flags,
//! filters and hop limits of all rules on their path.

mod calls;
mod frames;
mod qdiscs;
mod unreadable;
mod wires;
mod world;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::errno::Errno;
use parking_lot::Mutex;
use socketcan::CanAnyFrame;

pub use frames::{Deliveries, Frame};

use super::{
    BusState, CAN_MTU, CANFD_MTU, Controller, Cookie, Identity, Link, LinkCounters, LinkKind, Result, Rule,
};
use frames::Journey;
pub(crate) use world::new_link;
use world::{Standing, World};

/// The kernel in memory.
#[derive(Debug, Default)]
pub struct FakeKernel {
    world: Mutex<World>,
    written: Arc<Mutex<Vec<Written>>>,
}

/// A frame that was written to a link with [`Kernel::sender`](super::Kernel::sender).
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// `None`: on the host.
    pub sandbox: Option<PathBuf>,
    /// The index of the link.
    pub index: u32,
    /// Whether others in the same namespace hear it.
    pub looped: bool,
    /// The frame.
    pub frame: CanAnyFrame,
}

impl FakeKernel {
    /// An empty host with an `eth0`.
    pub fn new() -> Self {
        let kernel = Self::default();
        kernel.add_foreign("eth0", LinkKind::Other);
        kernel
    }

    /// Creates a sandbox, as Docker does. An existing one stays.
    pub fn add_sandbox(&self, path: impl Into<PathBuf>) {
        let mut world = self.world.lock();
        world.next_cookie += 1;
        let cookie = Cookie(world.next_cookie);
        world.sandboxes.entry(path.into()).or_insert(cookie);
    }

    /// Ends a sandbox and mounts another, empty namespace at its path, as dockerd with live-restore does for a container
    /// that ended while dockerd was away.
    pub fn remount_sandbox(&self, path: &Path) {
        self.end_sandbox(path);
        self.add_sandbox(path);
    }

    /// As [`remount_sandbox`](Self::remount_sandbox), just before the next pair is made.
    pub fn remount_before_pair(&self, path: &Path) {
        self.world.lock().remount_before_pair = Some(path.to_owned());
    }

    /// A namespace loses its path and lives on at another, as that of a process that ended while others were in it.
    pub fn move_sandbox(&self, from: &Path, to: &Path) {
        let mut world = self.world.lock();
        let Some(cookie) = world.sandboxes.remove(from) else { return };
        world.sandboxes.insert(to.to_owned(), cookie);
        let (from, to) = (Some(from.to_owned()), Some(to.to_owned()));
        let inside: Vec<u32> = world.inside(&from).map(|link| link.index).collect();
        for index in inside {
            world.renumber(&(from.clone(), index), (to.clone(), index));
        }
    }

    /// From now on namespaces have no cookies, as before Linux 5.14.
    pub fn withhold_cookies(&self) {
        self.world.lock().tells_cookies = false;
    }

    /// Deletes a sandbox and all links in it.
    pub fn end_sandbox(&self, path: &Path) {
        let mut world = self.world.lock();
        world.sandboxes.remove(path);
        let inside: Vec<u32> = world.inside(&Some(path.into())).map(|link| link.index).collect();
        for index in inside {
            world.delete(&Some(path.into()), index);
        }
    }

    /// Creates a foreign interface, up, and returns its index.
    pub fn add_foreign(&self, name: &str, kind: LinkKind) -> u32 {
        let mut world = self.world.lock();
        let index = world.small_index();
        world.links.insert((None, index), Link { alias: None, ..new_link(index, name, kind, CANFD_MTU, "") });
        index
    }

    /// Plugs in hardware: an interface that is down, with this controller. It gets the next free name.
    pub fn plug(&self, identity: Identity, controller: Controller) -> u32 {
        let mut world = self.world.lock();
        let index = world.small_index();
        let name = (0..).map(|number| format!("can{number}"));
        let name = name.into_iter().find(|name| !world.inside(&None).any(|link| link.name == *name));
        let name = name.unwrap_or_default();
        let link = new_link(index, &name, LinkKind::Can, CAN_MTU, "");
        let controller = Some(Box::new(controller));
        world
            .links
            .insert((None, index), Link { alias: None, up: false, txqueuelen: 10, controller, ..link });
        world.identities.insert(index, identity);
        index
    }

    /// Whether drivers count how often their controllers go bus-off; not all do.
    pub fn count_bus_offs(&self, count: bool) {
        self.world.lock().counts_bus_offs = count;
    }

    /// Changes the state of a controller on the host, as its bus would.
    pub fn set_state(&self, index: u32, state: BusState) {
        let mut world = self.world.lock();
        let world = &mut *world;
        if let Some(link) = world.links.get_mut(&(None, index))
            && let Some(controller) = &mut link.controller
        {
            // `can_update_state_error_stats`.
            let counts = world.counts_bus_offs && state == BusState::BusOff && controller.state != state;
            controller.history.bus_off += u32::from(counts);
            controller.state = state;
        }
    }

    /// Moves a link to another namespace, which takes it down and removes its rules.
    pub fn move_link(&self, index: u32, from: Option<&Path>, to: Option<&Path>, name: &str) {
        self.world.lock().relocate((from.map(Path::to_owned), index), to.map(Path::to_owned), name);
    }

    /// Changes the index of a link inside a sandbox, like a move with `IFLA_NEW_IFINDEX`, or a namespace in which the
    /// old index was taken.
    pub fn renumber(&self, sandbox: &Path, index: u32, to: u32) {
        let place = Some(sandbox.to_owned());
        self.world.lock().renumber(&(place.clone(), index), (place, to));
    }

    /// Lets this many calls succeed, and fails the next one.
    pub fn fail_after(&self, calls: u32, errno: i32) {
        self.world.lock().fail = Some((calls, Errno::from_raw(errno)));
    }

    /// Reloads can-gw with another `max_hops`; existing rules are lost.
    pub fn set_max_hops(&self, max_hops: u8) {
        let mut world = self.world.lock();
        world.max_hops = max_hops;
        world.rules.clear();
    }

    /// The frames that were written, in order. They reach nobody.
    pub fn written(&self) -> Vec<Written> {
        self.written.lock().clone()
    }

    /// Adds a foreign rule that modifies frames (`cangw -m …`).
    pub fn add_modifying_rule(&self, rule: Rule) {
        self.world.lock().rules.push(Standing::new(rule, true));
    }

    /// Who receives a frame that a socket sends at the far side of a host link: in the container for the host end of a
    /// pair, on the host otherwise. No counter changes.
    pub fn deliveries(&self, source: u32, frame: Frame) -> Deliveries {
        self.world.lock().written_beyond(source, frame).deliveries
    }

    /// Who receives a frame that an adapter receives from its bus. No counter changes.
    pub fn deliveries_from_wire(&self, adapter: u32, frame: Frame) -> Deliveries {
        self.world.lock().received_from_wire(adapter, frame).deliveries
    }

    /// Sets the counters of a link on the host or in a sandbox.
    pub fn count(&self, sandbox: Option<&Path>, index: u32, counters: LinkCounters) {
        if let Some(link) = self.world.lock().links.get_mut(&(sandbox.map(Path::to_owned), index)) {
            link.counters = Some(counters);
        }
    }

    /// Sends frames from a socket at the far side of a host link; the rules count them.
    pub fn send(&self, source: u32, frame: Frame, times: u32) {
        let mut world = self.world.lock();
        let Journey { handled, dropped, .. } = world.written_beyond(source, frame);
        for (position, standing) in world.rules.iter_mut().enumerate() {
            let of = |counts: &BTreeMap<usize, u32>| counts.get(&position).map_or(0, |count| count * times);
            standing.handled = standing.handled.wrapping_add(of(&handled));
            standing.dropped = standing.dropped.wrapping_add(of(&dropped));
        }
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
