//! Queues of the kernel in memory: what waits in one and what was sent is what the test says.

use std::{collections::BTreeMap, path::Path};

use super::FakeKernel;
use crate::kernel::Qdisc;

#[derive(Debug, Default)]
pub(super) struct Wires {
    /// Frames that wait for an adapter, by its index.
    pub(super) queued: BTreeMap<u32, u32>,
    /// Frames that an adapter has sent, or that came from an end, by its index.
    pub(super) sent: BTreeMap<u32, u64>,
    /// There is no module `sch_tbf`.
    pub(super) without_tbf: bool,
}

impl FakeKernel {
    /// So many frames wait for this adapter.
    pub fn set_queued(&self, adapter: u32, frames: u32) {
        self.world.lock().wires.queued.insert(adapter, frames);
    }

    /// So many more frames left this adapter, or came from this host end of a pair.
    pub fn add_sent(&self, link: u32, frames: u64) {
        *self.world.lock().wires.sent.entry(link).or_default() += frames;
    }

    /// From now on there is no module `sch_tbf`, or there is again.
    pub fn withhold_tbf(&self, withheld: bool) {
        self.world.lock().wires.without_tbf = withheld;
    }

    /// Puts a qdisc of somebody else's on a link inside a sandbox, or takes away whatever is there.
    pub fn set_qdisc(&self, sandbox: &Path, index: u32, kind: Option<&str>) {
        if let Some(link) = self.world.lock().links.get_mut(&(Some(sandbox.to_owned()), index)) {
            link.qdisc = kind.map(|kind| Qdisc { kind: kind.into(), pace: None, queued: 0, drops: 0 });
        }
    }
}
