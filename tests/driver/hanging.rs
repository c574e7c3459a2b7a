//! A kernel that can be made to hang.

#![allow(dead_code, reason = "tests/admin uses more of it")]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use canhub::{
    kernel::{
        ControllerChange, Identity, Kernel, Link, LinkChange, PairSpec, Result, Rule, RuleStatus,
        fake::FakeKernel,
    },
    names::IfName,
};
use parking_lot::{Condvar, Mutex};

use super::rig::Rig;

/// Lists links only while it is not held up.
pub struct Hanging {
    kernel: Arc<FakeKernel>,
    hangs: Mutex<bool>,
    freed: Condvar,
    waiting: AtomicUsize,
}

impl Hanging {
    /// Around the kernel in memory.
    pub fn around(kernel: Arc<FakeKernel>) -> Arc<Self> {
        let (hangs, freed, waiting) = (Mutex::new(false), Condvar::new(), AtomicUsize::new(0));
        Arc::new(Self { kernel, hangs, freed, waiting })
    }

    /// How many calls wait now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Whether calls wait from now on.
    pub fn set(&self, hangs: bool) {
        *self.hangs.lock() = hangs;
        self.freed.notify_all();
    }
}

impl Kernel for Hanging {
    fn links(&self) -> Result<Vec<Link>> {
        let mut hangs = self.hangs.lock();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while *hangs {
            self.freed.wait(&mut hangs);
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        drop(hangs);
        self.kernel.links()
    }

    fn ensure_gateway(&self) -> Result<()> {
        self.kernel.ensure_gateway()
    }

    fn rules(&self) -> Result<Vec<RuleStatus>> {
        self.kernel.rules()
    }

    fn identities(&self) -> Result<Vec<(String, Identity)>> {
        self.kernel.identities()
    }

    fn configure(&self, index: u32, change: &ControllerChange, up: bool) -> Result<()> {
        self.kernel.configure(index, change, up)
    }

    fn sandbox_exists(&self, sandbox: &Path) -> Result<bool> {
        self.kernel.sandbox_exists(sandbox)
    }

    fn sandbox_links(&self, sandbox: &Path) -> Result<Option<Vec<Link>>> {
        self.kernel.sandbox_links(sandbox)
    }

    fn create_vcan(&self, name: &IfName, mtu: u32, alias: &str) -> Result<u32> {
        self.kernel.create_vcan(name, mtu, alias)
    }

    fn create_pair(&self, pair: &PairSpec<'_>) -> Result<u32> {
        self.kernel.create_pair(pair)
    }

    fn change_link(&self, sandbox: Option<&Path>, index: u32, change: &LinkChange) -> Result<()> {
        self.kernel.change_link(sandbox, index, change)
    }

    fn delete_link(&self, sandbox: Option<&Path>, index: u32) -> Result<()> {
        self.kernel.delete_link(sandbox, index)
    }

    fn add_rules(&self, rules: &[Rule]) -> Result<()> {
        self.kernel.add_rules(rules)
    }

    fn delete_rules(&self, rules: &[Rule]) -> Result<()> {
        self.kernel.delete_rules(rules)
    }
}

/// A rig whose kernel can be made to hang, and the switch.
pub fn rig(limit: Duration) -> (Rig, Arc<Hanging>) {
    let mut switch = None;
    let rig = Rig::limited(limit, |kernel| {
        let hanging = Hanging::around(kernel);
        switch = Some(hanging.clone());
        hanging
    });
    (rig, switch.unwrap())
}
