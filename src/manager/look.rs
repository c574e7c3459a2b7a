//! Reads the kernel, and plans accordingly.
//!
//! Each sandbox and each adapter has its own result: if one cannot be read, it is a problem of its member or bus, and
//! all others are planned and healed.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tracing::debug;

use super::Manager;
use crate::{
    adapter::Adapter,
    checks::{Files, modules},
    error::{Error, Listed},
    kernel::{Identity, Inside, Kernel, KernelError, LinkCounters, LinkKind},
    network::Hub,
    plan::{Have, Plan, Rules, Sandbox, Scope, Want, plan},
};

/// How often to read the can-gw rules until two readings agree.
const RULE_READS: usize = 5;

/// If the kernel had no qdisc for pacing or shaping, it is tried again after this time: someone may have installed it.
const MODULE_PAUSE: Duration = Duration::from_secs(300);

impl Manager {
    /// Reads the host's links and, if needed, where its adapters are plugged in.
    ///
    /// # Errors
    /// If the links cannot be listed: nothing can be planned without them.
    pub(crate) fn look_at_host<'a>(&self, hubs: impl IntoIterator<Item = &'a Hub>) -> Result<Have, Error> {
        let lacks = |since: &Mutex<Option<Instant>>, module| {
            let is_known = since.lock().is_some_and(|since| since.elapsed() < MODULE_PAUSE);
            // Why, and what to do, is found out by those who tell it.
            is_known.then(|| format!("this kernel has no {module}"))
        };
        let mut have = Have {
            links: self.kernel.links().map_err(Error::kernel(Listed::Links))?,
            cannot_pace: lacks(&self.unpaced, "sch_tbf"),
            cannot_shape: lacks(&self.unshaped, "sch_netem"),
            ..Have::default()
        };
        if hubs.into_iter().any(|hub| matches!(hub, Hub::Adapter(Adapter::Known { .. }))) {
            let each = |(name, read): (String, Result<Identity, KernelError>)| {
                (name, read.map_err(|err| err.to_string()))
            };
            have.identities = match self.kernel.identities() {
                Ok(identities) => identities.into_iter().map(each).collect(),
                Err(err) => {
                    let hardware = have.links.iter().filter(|link| link.kind == LinkKind::Can);
                    hardware.map(|link| (link.name.clone(), Err(err.to_string()))).collect()
                }
            };
        }
        Ok(have)
    }

    /// Reads the host and all rules, and adds the rules' counters to the totals. `want` is the complete desired state.
    ///
    /// # Errors
    /// As [`look_at_host`](Self::look_at_host).
    pub(crate) fn look_at_rules(&self, want: &Want) -> Result<Have, Error> {
        let begun = Instant::now();
        let mut have = self.look_at_host(want.hubs())?;
        have.rules = read_rules(&*self.kernel);
        self.read_counters(&mut have);
        if let Rules::Read(_) = have.rules {
            self.frames.lock().feed(want, &have, begun..Instant::now());
        }
        Ok(have)
    }

    /// Fills in the counters of the host's links. Without them nothing is planned differently.
    fn read_counters(&self, have: &mut Have) {
        match self.kernel.counters() {
            Ok(counters) => {
                let counters: BTreeMap<u32, LinkCounters> = counters.into_iter().collect();
                for link in &mut have.links {
                    link.counters = counters.get(&link.index).copied();
                }
            }
            Err(err) => debug!(%err, "could not read the counters of the links"),
        }
    }

    /// Reads the host, all rules, and the sandboxes of the desired state. What is planned from it is shown to people.
    ///
    /// # Errors
    /// As [`look_at_host`](Self::look_at_host).
    pub(crate) fn look(&self, want: &Want) -> Result<Have, Error> {
        let mut have = self.look_at_rules(want)?;
        for (why, module) in [(&mut have.cannot_pace, "sch_tbf"), (&mut have.cannot_shape, "sch_netem")] {
            if let Some(why) = why {
                *why = lacking(&self.files, module);
            }
        }
        let begun = Instant::now();
        let members = want.buses.iter().flat_map(|bus| &bus.members);
        have.sandboxes = self.look_into(members.map(|member| member.sandbox.as_path()).collect());
        self.frames.lock().feed_sandboxes(want, &have, begun..Instant::now());
        Ok(have)
    }

    /// Reads these sandboxes.
    pub(super) fn look_into(&self, paths: BTreeSet<&Path>) -> BTreeMap<PathBuf, Sandbox> {
        let read = self.kernel.look_into(paths).into_iter();
        read.map(|(path, inside)| (path, sandbox(inside))).collect()
    }

    /// Plans. Steps that add or remove rules are kept only if two consecutive readings of the rules lead to them.
    ///
    /// can-gw's dump spans several datagrams, resumes by position, and does not report that it was interrupted
    /// (`cgw_dump_jobs` in `net/can/gw.c` never sets `NLM_F_DUMP_INTR`): a rule that is removed meanwhile hides another
    /// one, and one that is added duplicates another one. Acting on that would add a rule twice or delete a live one. A
    /// plan without such steps, which is what nearly every audit finds, needs no second reading.
    pub(crate) fn plan(&self, want: &Want, have: &mut Have, scope: Scope<'_>) -> Plan {
        let mut planned = plan(want, have, scope);
        for _ in 1..RULE_READS {
            if !planned.acts_on_rules() {
                return planned;
            }
            have.rules = read_rules(&*self.kernel);
            let again = plan(want, have, scope);
            if again.rule_steps().eq(planned.rule_steps()) {
                return again;
            }
            planned = again;
        }
        if planned.acts_on_rules() {
            have.rules = Rules::Unknown(format!("no two of {RULE_READS} readings agree"));
            planned = plan(want, have, scope);
        }
        planned
    }
}

/// Why the kernel refused what needs this module, and the way out.
fn lacking(files: &Files, module: &str) -> String {
    modules::missing(files, &[module]).unwrap_or_else(|| {
        format!("{module} was missing, and is there now: `canhub doctor --fix` uses it at once, canhub within 5 min")
    })
}

fn read_rules(kernel: &dyn Kernel) -> Rules {
    kernel.rules().map_or_else(|err| Rules::Unknown(err.to_string()), Rules::Read)
}

/// The state of a sandbox according to a reading.
pub(super) fn sandbox(read: Result<Option<Inside>, KernelError>) -> Sandbox {
    match read {
        Ok(Some(inside)) => Sandbox::Present(inside),
        Ok(None) => Sandbox::Missing,
        Err(err) => Sandbox::Unknown(err.to_string()),
    }
}
