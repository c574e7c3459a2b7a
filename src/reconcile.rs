//! The loop that keeps the world as it is wanted: events wake it, dumps decide, one plan for everything.
//!
//! Rules have no events, so an audit looks every `--audit-interval` even when nothing woke the loop. A
//! look costs in proportion to the host, so the pause after it does too: a storm of events cannot make
//! canhub eat a processor.

mod adapters;
mod memory;
mod problems;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::time::{sleep, timeout};
use tracing::{error, warn};

pub use memory::Memory;

use crate::{
    apply::{Repair, StepResult},
    clock::rfc3339,
    error::Error,
    manager::{Handle, Manager},
    model::Model,
    plan::Scope,
    status::StartupValidation,
};

/// A look is followed by a pause of this many times its own length.
const REST_FACTOR: u32 = 4;
/// What is wanted may change while the kernel is looked at; after this many looks, nothing may change meanwhile.
const LOOKS: usize = 3;
/// How soon to look again when something waits for its time.
const SOON: Duration = Duration::from_secs(1);

/// What one look came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LookResult {
    /// Steps that changed the world.
    pub healed: usize,
    /// Steps that failed and will be tried again.
    pub failed: usize,
    /// Something waits for a grace period or a pause to end, so a look is due before the audit.
    pub pending: bool,
}

/// Runs for ever: looks when woken and at every audit. `alive` is called after each look that succeeded.
pub async fn run(manager: Handle, audit_interval: Duration, alive: impl Fn()) {
    let memory = Arc::new(Memory::default());
    loop {
        let started = Instant::now();
        let next = round(&manager, &memory, audit_interval, &alive).await;
        sleep(started.elapsed() * REST_FACTOR).await;
        // Either it was woken or the time is up; both mean: look.
        let _ = timeout(next, manager.signals().look_wanted()).await;
        sleep(manager.signals().settles_in()).await;
    }
}

/// Looks once and heals. Returns how soon to look again if nothing wakes the loop.
///
/// A look that failed as a whole is no sign of life: `alive` feeds the watchdog, and a new process may succeed.
async fn round(
    manager: &Handle,
    memory: &Arc<Memory>,
    audit_interval: Duration,
    alive: &impl Fn(),
) -> Duration {
    let look = {
        let memory = memory.clone();
        manager.run(move |manager| manager.reconcile(&memory)).await
    };
    match look {
        Ok(Ok(outcome)) => {
            alive();
            if outcome.failed > 0 || outcome.pending { audit_interval.min(SOON) } else { audit_interval }
        }
        Ok(Err(err)) => {
            warn!(%err, "could not read kernel state; retrying");
            audit_interval.min(SOON)
        }
        Err(err) => {
            error!(%err, "the reconcile loop panicked; this is a bug in canhub");
            audit_interval
        }
    }
}

impl Manager {
    /// Looks at everything once, and carries out what is missing.
    ///
    /// The kernel is read without the lock, so that Joins do not wait for a look; steps are taken under it,
    /// and only if nothing else was wanted meanwhile.
    ///
    /// # Errors
    /// When the kernel cannot be read.
    pub fn reconcile(&self, memory: &Memory) -> Result<LookResult, Error> {
        self.look_and_repair(memory, |_, _| {})
    }

    /// Looks at everything once because a person asked for it, and carries out all that is missing: also where
    /// healing is off, and without waiting for a grace period or a pause to end.
    ///
    /// # Errors
    /// When the kernel cannot be read.
    pub fn heal(&self) -> Result<Vec<Repair>, Error> {
        let mut repairs = self.repair_records();
        self.look_and_repair(&Memory::asked_for(), |model, done| repairs.push(Repair::new(model, done)))?;
        Ok(repairs)
    }

    fn look_and_repair(
        &self,
        memory: &Memory,
        mut also: impl FnMut(&Model, &StepResult<'_>),
    ) -> Result<LookResult, Error> {
        for look in 1.. {
            let (want, generation) = {
                let model = self.model();
                (model.want(), model.generation())
            };
            let mut held = (look == LOOKS).then(|| self.model());
            let want = held.as_ref().map_or(want, |model| model.want());
            let mut have = self.look(&want)?;
            let mut plan = self.plan(&want, &mut have, Scope::Everything);

            let mut model = held.take().unwrap_or_else(|| self.model());
            if model.generation() != generation && look < LOOKS {
                continue;
            }
            for member in want.buses.iter().flat_map(|bus| &bus.members) {
                if member.awaited && member.has_arrived(&have) {
                    model.arrived(&member.endpoint);
                }
            }
            memory.look_at_adapters(self.events(), &model, &want, &have);
            let held_back = memory.hold_back(self, &model, &mut plan);
            let unsettled = memory.tell(self.events(), &model, &plan.problems);
            let retry = memory.retries_soon(&have);
            let gone = memory.gone_sandboxes(&model, &have);
            self.remember_found(&mut model, &have, &plan.steps);
            let mut outcome =
                LookResult { pending: held_back || unsettled || retry, ..LookResult::default() };
            self.carry_out(&mut model, &plan.steps, |model, done| {
                also(model, &done);
                match memory.account(self.events(), model, &done) {
                    true => outcome.healed += 1,
                    false => outcome.failed += 1,
                }
            });
            memory.tell_arrivals(self.events(), &model);
            drop(model);
            for endpoint in gone {
                self.collect_endpoint(&endpoint, "its sandbox no longer exists");
            }
            self.audited(|| StartupValidation {
                finished: rfc3339(SystemTime::now()),
                buses: want.buses.len(),
                healed: outcome.healed,
                failed: outcome.failed,
                problems: plan.problems.len(),
            });
            return Ok(outcome);
        }
        Ok(LookResult::default())
    }
}
