//! Failures of the kernel in memory: sandboxes and adapters that cannot be read, torn dumps.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use nix::errno::Errno;

use super::FakeKernel;
use crate::kernel::{Identity, Result, RuleStatus};

#[derive(Debug, Default)]
pub(super) struct Unreadable {
    sandboxes: BTreeMap<PathBuf, Errno>,
    /// By the index of the interface.
    adapters: BTreeSet<u32>,
    /// Number of rule dumps still to be torn.
    torn: usize,
}

impl FakeKernel {
    /// From now on this sandbox cannot be read, although it exists; `None`: it can again.
    pub fn break_sandbox(&self, path: &Path, errno: Option<i32>) {
        let sandboxes = &mut self.world.lock().unreadable.sandboxes;
        sandboxes.remove(path);
        sandboxes.extend(errno.map(|errno| (path.to_owned(), Errno::from_raw(errno))));
    }

    /// From now on the identity of this adapter cannot be read, or can again.
    pub fn break_identity(&self, index: u32, broken: bool) {
        let adapters = &mut self.world.lock().unreadable.adapters;
        adapters.remove(&index);
        adapters.extend(broken.then_some(index));
    }

    /// Tears the next dumps of the rules, as another program does that adds and removes rules meanwhile: each dump
    /// lists one rule twice and omits another, without any indication.
    pub fn tear_dumps(&self, dumps: usize) {
        self.world.lock().unreadable.torn = dumps;
    }
}

impl Unreadable {
    pub(super) fn check(&self, sandbox: &Path) -> Result<()> {
        self.sandboxes.get(sandbox).map_or(Ok(()), |errno| Err((*errno).into()))
    }

    pub(super) fn read(&self, index: u32, identity: &Identity) -> Result<Identity> {
        if self.adapters.contains(&index) { Err(Errno::EIO.into()) } else { Ok(identity.clone()) }
    }

    pub(super) fn tear(&mut self, mut dump: Vec<RuleStatus>) -> Vec<RuleStatus> {
        if let (Some(torn), false) = (self.torn.checked_sub(1), dump.is_empty()) {
            self.torn = torn;
            let (twice, hidden) = (torn % dump.len(), (torn + 1) % dump.len());
            dump[hidden] = dump[twice].clone();
        }
        dump
    }
}
