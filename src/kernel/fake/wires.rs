//! Queues of the kernel in memory: tests set how many frames wait and how many were sent.

use std::{collections::BTreeMap, path::Path};

use super::FakeKernel;
use crate::kernel::Qdisc;

#[derive(Debug, Default)]
pub(super) struct Wires {
    /// Frames that wait for an adapter, by its index.
    pub(super) queued: BTreeMap<u32, u32>,
    /// Frames that an adapter has sent, or that an end has received, by its index.
    pub(super) sent: BTreeMap<u32, u64>,
    /// Whether the module `sch_tbf` is missing.
    pub(super) without_tbf: bool,
}

impl FakeKernel {
    /// Sets the number of frames that wait for this adapter.
    pub fn set_queued(&self, adapter: u32, frames: u32) {
        self.world.lock().wires.queued.insert(adapter, frames);
    }

    /// Adds frames that this adapter has sent, or that this host end of a pair has received.
    pub fn add_sent(&self, link: u32, frames: u64) {
        *self.world.lock().wires.sent.entry(link).or_default() += frames;
    }

    /// Removes the module `sch_tbf`, or adds it.
    pub fn withhold_tbf(&self, withheld: bool) {
        self.world.lock().wires.without_tbf = withheld;
    }

    /// Puts a foreign qdisc on a link inside a sandbox, or removes any qdisc.
    pub fn set_qdisc(&self, sandbox: &Path, index: u32, kind: Option<&str>) {
        if let Some(link) = self.world.lock().links.get_mut(&(Some(sandbox.to_owned()), index)) {
            link.qdisc = kind.map(|kind| Qdisc { kind: kind.into(), pace: None, queued: 0, drops: 0 });
        }
    }
}
