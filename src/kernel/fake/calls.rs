//! The `Kernel` calls of the kernel in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::errno::Errno;
use parking_lot::Mutex;
use socketcan::CanAnyFrame;

use super::{
    FakeKernel, Written,
    world::{Place, Standing, World, new_link, place},
};
use crate::{
    kernel::{
        BusState, CAN_MTU, CANFD_MTU, CANXL_MTU, Controller, ControllerChange, Gauge, Identity, Inside,
        Kernel, Link, LinkChange, LinkCounters, LinkKind, Modes, Namespace, Netem, Pace, PairIndices,
        PairSpec, Result, Rule, RuleFlags, RuleStatus, Sender, Timing,
    },
    names::IfName,
};

impl Kernel for FakeKernel {
    fn ensure_gateway(&self) -> Result<()> {
        self.change(|_| Ok(()))
    }

    fn ensure_pairs(&self) -> Result<()> {
        self.change(|_| Ok(()))
    }

    fn links(&self) -> Result<Vec<Link>> {
        self.change(|world| Ok(world.inside(&None).cloned().collect()))
    }

    fn counters(&self) -> Result<Vec<(u32, LinkCounters)>> {
        Ok(self.world.lock().inside(&None).filter_map(|link| Some((link.index, link.counters?))).collect())
    }

    fn rules(&self) -> Result<Vec<RuleStatus>> {
        self.change(|world| {
            let dump = world.rules.iter().map(Standing::status).collect();
            Ok(world.unreadable.tear(dump))
        })
    }

    fn sandbox_links(&self, sandbox: &Path) -> Result<Option<Vec<Link>>> {
        self.change(|world| {
            world.unreadable.check(sandbox)?;
            let place = place(Some(sandbox));
            Ok(world.exists(&place).then(|| world.inside(&place).cloned().collect()))
        })
    }

    fn look_into(&self, sandboxes: BTreeSet<&Path>) -> BTreeMap<PathBuf, Result<Option<Inside>>> {
        let look = |path: &Path| {
            let Some(links) = self.sandbox_links(path)? else { return Ok(None) };
            Ok(Some(Inside { links, cookie: self.world.lock().cookie(path) }))
        };
        sandboxes.into_iter().map(|path| (path.to_owned(), look(path))).collect()
    }

    fn identities(&self) -> Result<Vec<(String, Result<Identity>)>> {
        self.change(|world| {
            let named = |(index, identity): (&u32, &Identity)| {
                let name = world.links.get(&(None, *index))?.name.clone();
                Some((name, world.unreadable.read(*index, identity)))
            };
            Ok(world.identities.iter().filter_map(named).collect())
        })
    }

    fn configure(&self, index: u32, change: &ControllerChange, up: bool) -> Result<()> {
        self.change(|world| {
            let link = world.links.get_mut(&(None, index)).ok_or(Errno::ENODEV)?;
            link.txqueuelen = change.txqueuelen.unwrap_or(link.txqueuelen);
            // `can_changelink`.
            if change.modes_mask.contains(Modes::FD) {
                link.mtu = if change.modes.contains(Modes::FD) { CANFD_MTU } else { CAN_MTU };
            }
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
        self.change(|world| {
            world.unreadable.check(sandbox)?;
            Ok(world.exists(&place(Some(sandbox))))
        })
    }

    fn namespace(&self, sandbox: &Path) -> Result<Option<Namespace>> {
        self.change(|world| {
            world.unreadable.check(sandbox)?;
            let place = place(Some(sandbox));
            let found = || Namespace { cookie: world.cookie(sandbox), is_host: place.is_none() };
            Ok(world.exists(&place).then(found))
        })
    }

    fn create_vcan(&self, name: &IfName, mtu: u32, alias: &str) -> Result<u32> {
        self.change(|world| {
            let index = world.own_index(true);
            world.add(None, new_link(index, name.as_str(), LinkKind::Vcan, mtu, alias))?;
            Ok(index)
        })
    }

    fn create_pair(&self, pair: &PairSpec<'_>) -> Result<PairIndices> {
        let remounted = self.world.lock().remount_before_pair.take();
        if let Some(path) = remounted {
            self.remount_sandbox(&path);
        }
        self.change(|world| {
            let place = place(pair.sandbox);
            if !world.exists(&place) {
                return Err(Errno::ENOENT.into());
            }
            let (host, end) = (world.own_index(true), world.own_index(false));
            let mut link = new_link(end, pair.end.as_str(), LinkKind::Vxcan, pair.mtu, pair.alias);
            link.peer = Some(host);
            link.up = pair.sandbox.is_some();
            world.add(place.clone(), link)?;
            let mut link = new_link(host, pair.host.as_str(), LinkKind::Vxcan, pair.mtu, pair.alias);
            link.peer = Some(end);
            if let Err(err) = world.add(None, link) {
                world.links.remove(&(place, end));
                return Err(err);
            }
            world.pairs.insert((None, host), (place.clone(), end));
            world.pairs.insert((place, end), (None, host));
            Ok(PairIndices { host, end })
        })
    }

    fn change_link(&self, sandbox: Option<&Path>, index: u32, change: &LinkChange) -> Result<()> {
        self.change(|world| {
            let place = place(sandbox);
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
            if change.mtu.is_some_and(|mtu| !is_mtu(mtu)) {
                return Err(Errno::EINVAL.into());
            }
            // Both can only be changed while the link is down.
            link.up &= change.name.is_none() && change.mtu.is_none();
            change.name.iter().for_each(|name| link.name = name.to_string());
            change.mtu.iter().for_each(|mtu| link.mtu = *mtu);
            change.alias.iter().for_each(|alias| link.alias = Some(alias.clone()));
            change.up.iter().for_each(|up| link.up = *up);
            Ok(())
        })
    }

    fn pace(&self, sandbox: &Path, index: u32, pace: Option<Pace>) -> Result<()> {
        self.change(|world| {
            if pace.is_some() && world.wires.without_tbf {
                return Err(Errno::EOPNOTSUPP.into());
            }
            // `tbf_change`; a rate of 0 is accepted.
            if pace.is_some_and(|pace| pace.burst == 0) {
                return Err(Errno::EINVAL.into());
            }
            world.change_qdisc(sandbox, index, |found| (pace, found.and_then(|qdisc| qdisc.netem)))
        })
    }

    fn netem(&self, sandbox: &Path, index: u32, netem: Option<Netem>) -> Result<()> {
        self.change(|world| {
            if netem.is_some() && world.wires.without_netem {
                return Err(Errno::EOPNOTSUPP.into());
            }
            world.change_qdisc(sandbox, index, |found| (found.and_then(|qdisc| qdisc.pace), netem))
        })
    }

    fn ensure_netem(&self) -> Result<()> {
        self.change(|world| if world.wires.without_netem { Err(Errno::EOPNOTSUPP.into()) } else { Ok(()) })
    }

    fn gauge(&self, adapter: u32, ends: &[u32]) -> Result<Gauge> {
        self.change(|world| {
            let there = |index: &u32| world.links.contains_key(&(None, *index));
            if !there(&adapter) {
                return Err(Errno::ENODEV.into());
            }
            let sent_by =
                |end: &u32| there(end).then(|| world.wires.sent.get(end).copied().unwrap_or_default());
            Ok(Gauge {
                queued: world.wires.queued.get(&adapter).copied().unwrap_or_default(),
                sent: world.wires.sent.get(&adapter).copied().unwrap_or_default(),
                from: ends.iter().map(sent_by).collect(),
            })
        })
    }

    fn delete_link(&self, sandbox: Option<&Path>, index: u32) -> Result<()> {
        self.change(|world| {
            world.delete(&place(sandbox), index);
            Ok(())
        })
    }

    fn add_rules(&self, rules: &[Rule]) -> Result<()> {
        self.change(|world| {
            let mut refused = Ok(());
            for rule in rules {
                match world.refuses(rule) {
                    None => world.rules.push(Standing::new(*rule, false)),
                    Some(errno) => refused = Err(errno.into()),
                }
            }
            refused
        })
    }

    fn delete_rules(&self, rules: &[Rule]) -> Result<()> {
        self.change(|world| {
            for rule in rules {
                let is_it = |standing: &Standing| standing.rule == *rule && !standing.modifies;
                if let Some(at) = world.rules.iter().position(is_it) {
                    world.rules.remove(at);
                }
            }
            Ok(())
        })
    }

    fn sender(&self, sandbox: Option<&Path>, index: u32, looped: bool) -> Result<Box<dyn Sender>> {
        let place = place(sandbox);
        match self.world.lock().links.contains_key(&(place.clone(), index)) {
            true => Ok(Box::new(Recorded { place, index, looped, written: self.written.clone() })),
            false => Err(Errno::ENODEV.into()),
        }
    }
}

/// A socket that only remembers what is written.
struct Recorded {
    place: Place,
    index: u32,
    looped: bool,
    written: Arc<Mutex<Vec<Written>>>,
}

impl Sender for Recorded {
    fn send(&mut self, frames: &[CanAnyFrame]) -> io::Result<usize> {
        let written = |frame: &CanAnyFrame| Written {
            sandbox: self.place.clone(),
            index: self.index,
            looped: self.looped,
            frame: *frame,
        };
        self.written.lock().extend(frames.iter().map(written));
        Ok(frames.len())
    }
}

impl World {
    /// `cgw_create_job` and `cgw_parse_attr`.
    fn refuses(&self, rule: &Rule) -> Option<Errno> {
        let is_can = |index| self.links.get(&(None, index)).is_some_and(|link| link.kind.is_can());
        if rule.max_hops.is_some_and(|hops| hops == 0 || hops > self.max_hops) {
            return Some(Errno::EINVAL);
        }
        if !is_can(rule.source) || !is_can(rule.destination) {
            return Some(Errno::ENODEV);
        }
        // Since Linux 6.3.
        let to_itself = rule.source == rule.destination && !rule.flags.contains(RuleFlags::IIF_TX_OK);
        to_itself.then_some(Errno::EINVAL)
    }
}

/// `can_change_mtu` and `vxcan_change_mtu`.
fn is_mtu(mtu: u32) -> bool {
    mtu == CAN_MTU || mtu == CANFD_MTU || (CANFD_MTU + 4..=CANXL_MTU).contains(&mtu)
}

/// As a driver does: settings that are not requested stay, and timings come out as requested.
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
