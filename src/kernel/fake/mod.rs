//! A kernel in memory that obeys the real one's rules, for tests of planning.
//!
//! What it must share with the real one (`tests/kernel` runs the same cases on both): names and indices
//! are unique per namespace; deleting one end of a pair deletes the other; rules die with their links;
//! equal rules are not refused and deliver twice; a namespace's death takes its links with it. Frames
//! (`frames`) obey each flag, filter and hop limit of the rules on their way.

mod calls;
mod frames;
mod unreadable;
mod world;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use nix::errno::Errno;
use parking_lot::Mutex;

pub use frames::{Deliveries, Frame};

use super::{BusState, CAN_MTU, CANFD_MTU, Controller, Identity, Link, LinkKind, Result, Rule};
use frames::Journey;
use world::{Standing, World, new_link};

/// The kernel in memory.
#[derive(Debug, Default)]
pub struct FakeKernel {
    world: Mutex<World>,
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
        let index = world.small_index();
        world.links.insert((None, index), Link { alias: None, ..new_link(index, name, kind, CANFD_MTU, "") });
        index
    }

    /// Plugs hardware in: an interface that is down, with this controller. Its name is the next that is free.
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

    /// Moves a link to another namespace, which takes it down and its rules away.
    pub fn move_link(&self, index: u32, from: Option<&Path>, to: Option<&Path>, name: &str) {
        self.world.lock().relocate((from.map(Path::to_owned), index), to.map(Path::to_owned), name);
    }

    /// Gives a link inside a sandbox another index, as a move with `IFLA_NEW_IFINDEX` does, or a namespace
    /// where the old one was taken.
    pub fn renumber(&self, sandbox: &Path, index: u32, to: u32) {
        let place = Some(sandbox.to_owned());
        self.world.lock().renumber(&(place.clone(), index), (place, to));
    }

    /// Lets the next calls through, as many as said, and fails the one after them.
    pub fn fail_after(&self, calls: u32, errno: i32) {
        self.world.lock().fail = Some((calls, Errno::from_raw(errno)));
    }

    /// Loads can-gw with another `max_hops`; the rules that stood are gone with the old one.
    pub fn set_max_hops(&self, max_hops: u8) {
        let mut world = self.world.lock();
        world.max_hops = max_hops;
        world.rules.clear();
    }

    /// Adds a rule of somebody else's that changes frames on their way (`cangw -m …`).
    pub fn add_modifying_rule(&self, rule: Rule) {
        self.world.lock().rules.push(Standing::new(rule, true));
    }

    /// Who gets a frame that a socket sends at the far side of a link of the host: in the container for the
    /// host end of a pair, on the host otherwise. No counter moves.
    pub fn deliveries(&self, source: u32, frame: Frame) -> Deliveries {
        self.world.lock().written_beyond(source, frame).deliveries
    }

    /// Who gets a frame that the wire brings to an adapter. No counter moves.
    pub fn deliveries_from_wire(&self, adapter: u32, frame: Frame) -> Deliveries {
        self.world.lock().received_from_wire(adapter, frame).deliveries
    }

    /// Frames that a socket sends at the far side of a link of the host, and that the rules count.
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
