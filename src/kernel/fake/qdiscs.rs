//! Qdiscs of the kernel in memory.

use std::path::Path;

use nix::errno::Errno;

use super::{
    FakeKernel,
    world::{World, place},
};
use crate::kernel::{Netem, Pace, Qdisc, Result};

impl FakeKernel {
    /// Removes the module `sch_tbf`, or adds it.
    pub fn withhold_tbf(&self, withheld: bool) {
        self.world.lock().wires.without_tbf = withheld;
    }

    /// Removes the module `sch_netem`, or adds it.
    pub fn withhold_netem(&self, withheld: bool) {
        self.world.lock().wires.without_netem = withheld;
    }

    /// Puts a foreign qdisc on a link inside a sandbox, or removes any qdisc.
    pub fn set_qdisc(&self, sandbox: &Path, index: u32, kind: Option<&str>) {
        if let Some(link) = self.world.lock().links.get_mut(&(place(Some(sandbox)), index)) {
            link.qdisc = kind.map(Qdisc::foreign);
        }
    }

    /// Modifies canhub's qdiscs of a link inside a sandbox, so that they can no longer be told from others.
    pub fn modify_qdisc(&self, sandbox: &Path, index: u32) {
        if let Some(link) = self.world.lock().links.get_mut(&(place(Some(sandbox)), index))
            && let Some(qdisc) = &mut link.qdisc
        {
            (qdisc.pace, qdisc.netem) = (None, None);
        }
    }
}

impl World {
    /// As `requests` of the real kernel: what is canhub's is changed in place, so its counters are kept.
    pub(super) fn change_qdisc(
        &mut self,
        sandbox: &Path,
        index: u32,
        wanted: impl FnOnce(Option<&Qdisc>) -> (Option<Pace>, Option<Netem>),
    ) -> Result<()> {
        let place = place(Some(sandbox));
        if !self.exists(&place) {
            return Err(Errno::ENOENT.into());
        }
        let link = self.links.get_mut(&(place, index)).ok_or(Errno::ENODEV)?;
        let (pace, netem) = wanted(link.qdisc.as_ref());
        let ours = link.qdisc.as_ref().is_some_and(|qdisc| qdisc.ours);
        let kind = match (pace, netem) {
            (Some(_), _) => "tbf",
            (None, Some(_)) => "netem",
            (None, None) if ours => {
                link.qdisc = None;
                return Ok(());
            }
            (None, None) => return Ok(()),
        };
        let stays = |old: &Qdisc| (old.pace.is_some() || old.netem.is_some()) && old.kind == kind;
        let old = link.qdisc.take().filter(stays).unwrap_or_else(|| Qdisc::foreign(kind));
        link.qdisc = Some(Qdisc { pace, netem, ours: true, ..old });
        Ok(())
    }
}
