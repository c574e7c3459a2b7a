//! A kernel whose calls can be made to hang.

#![allow(dead_code, reason = "tests/admin uses more of it")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use canhub::{
    kernel::{
        ControllerChange, Gauge, Identity, Inside, Kernel, Link, LinkChange, LinkCounters, Namespace, Netem,
        Pace, PairIndices, PairSpec, Result, Rule, RuleStatus, Sender, fake::FakeKernel,
    },
    names::IfName,
};
use parking_lot::{Condvar, Mutex};

use super::rig::Rig;

/// Which calls hang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    None,
    /// Link dumps, before reading.
    Links,
    /// Rule dumps, after reading, so that the result is outdated when it arrives.
    Rules,
}

/// Proceeds unless held.
pub struct Hanging {
    kernel: Arc<FakeKernel>,
    held: Mutex<Held>,
    freed: Condvar,
    waiting: AtomicUsize,
}

impl Hanging {
    /// Wraps the kernel in memory.
    pub fn around(kernel: Arc<FakeKernel>) -> Arc<Self> {
        let (held, freed, waiting) = (Mutex::new(Held::None), Condvar::new(), AtomicUsize::new(0));
        Arc::new(Self { kernel, held, freed, waiting })
    }

    /// Number of calls that hang now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Waits until this many calls hang.
    #[track_caller]
    pub fn until_waiting(&self, calls: usize) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.waiting() < calls {
            assert!(Instant::now() < deadline, "only {} of {calls} calls wait", self.waiting());
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Sets whether link dumps hang.
    pub fn set(&self, hangs: bool) {
        self.hold(if hangs { Held::Links } else { Held::None });
    }

    /// Sets which calls hang.
    pub fn hold(&self, held: Held) {
        *self.held.lock() = held;
        self.freed.notify_all();
    }

    fn wait_if(&self, call: Held) {
        let mut held = self.held.lock();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while *held == call {
            self.freed.wait(&mut held);
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Kernel for Hanging {
    fn links(&self) -> Result<Vec<Link>> {
        self.wait_if(Held::Links);
        self.kernel.links()
    }

    fn ensure_gateway(&self) -> Result<()> {
        self.kernel.ensure_gateway()
    }

    fn ensure_pairs(&self) -> Result<()> {
        self.kernel.ensure_pairs()
    }

    fn counters(&self) -> Result<Vec<(u32, LinkCounters)>> {
        self.kernel.counters()
    }

    fn rules(&self) -> Result<Vec<RuleStatus>> {
        let rules = self.kernel.rules();
        self.wait_if(Held::Rules);
        rules
    }

    fn namespace(&self, sandbox: &Path) -> Result<Option<Namespace>> {
        self.kernel.namespace(sandbox)
    }

    fn identities(&self) -> Result<Vec<(String, Result<Identity>)>> {
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

    fn look_into(&self, sandboxes: BTreeSet<&Path>) -> BTreeMap<PathBuf, Result<Option<Inside>>> {
        self.kernel.look_into(sandboxes)
    }

    fn create_vcan(&self, name: &IfName, mtu: u32, alias: &str) -> Result<u32> {
        self.kernel.create_vcan(name, mtu, alias)
    }

    fn create_pair(&self, pair: &PairSpec<'_>) -> Result<PairIndices> {
        self.kernel.create_pair(pair)
    }

    fn change_link(&self, sandbox: Option<&Path>, index: u32, change: &LinkChange) -> Result<()> {
        self.kernel.change_link(sandbox, index, change)
    }

    fn pace(&self, sandbox: &Path, index: u32, pace: Option<Pace>) -> Result<()> {
        self.kernel.pace(sandbox, index, pace)
    }

    fn netem(&self, sandbox: &Path, index: u32, netem: Option<Netem>) -> Result<()> {
        self.kernel.netem(sandbox, index, netem)
    }

    fn ensure_netem(&self) -> Result<()> {
        self.kernel.ensure_netem()
    }

    fn gauge(&self, adapter: u32, ends: &[u32]) -> Result<Gauge> {
        self.kernel.gauge(adapter, ends)
    }

    fn sender(&self, sandbox: Option<&Path>, index: u32, looped: bool) -> Result<Box<dyn Sender>> {
        self.kernel.sender(sandbox, index, looped)
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
