//! Queues of the kernel in memory: tests set how many frames wait and how many were sent.

use std::collections::BTreeMap;

use super::FakeKernel;

#[derive(Debug, Default)]
pub(super) struct Wires {
    /// Frames that wait for an adapter, by its index.
    pub(super) queued: BTreeMap<u32, u32>,
    /// Frames that an adapter has sent, or that an end has received, by its index.
    pub(super) sent: BTreeMap<u32, u64>,
    /// Whether the module `sch_tbf` is missing.
    pub(super) without_tbf: bool,
    /// Whether the module `sch_netem` is missing.
    pub(super) without_netem: bool,
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
}
