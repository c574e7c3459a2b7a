//! The loop that keeps everything in the desired state: events wake it, dumps decide, one plan for everything.
//!
//! Rules have no events, so an audit runs every `--audit-interval` even without events. The cost of a pass grows with
//! the host, so passes get a share of a CPU (`pace.rs`): a storm of events cannot make canhub use up a CPU, and the
//! first faults after a quiet time are healed immediately.

mod adapters;
mod memory;
mod pace;
mod problems;
mod shares;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::time::{sleep, timeout};
use tracing::{error, warn};

pub use memory::Memory;
use pace::Pace;
pub use shares::share_wires;

use crate::{
    apply::{Repair, StepResult},
    clock::rfc3339,
    error::Error,
    manager::{Handle, Manager, Signals},
    model::Model,
    plan::{Reason, Scope, Step},
    status::StartupValidation,
    system::{self, cpu_time},
};

/// While containers start or stop one after another, no pass runs for at most this long.
const SETTLE_MAX: Duration = Duration::from_secs(2);
/// The desired state may change while the kernel is being read. In this attempt it may not, because the lock is held.
const LOOKS: usize = 3;
/// How soon to run again if something is waiting.
const SOON: Duration = Duration::from_secs(1);

/// The result of one pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LookResult {
    /// Steps that changed something.
    pub healed: usize,
    /// Steps that failed and will be retried.
    pub failed: usize,
    /// Whether something waits for a grace period or a pause to end, so that a pass is due before the next audit.
    pub pending: bool,
}

/// Runs forever, on each signal and at every audit. `alive` is called after each successful pass.
///
/// Once nothing has happened for an audit interval, what containers that came and went had needed is given back.
pub async fn run(manager: Handle, audit_interval: Duration, alive: impl Fn()) {
    let memory = Arc::new(Memory::default());
    let mut pace = Pace::default();
    let (mut is_quiet, mut has_grown) = (false, true);
    loop {
        let (started, cpu) = (Instant::now(), cpu_time());
        let next = round(&manager, &memory, audit_interval, &alive).await;
        sleep(pace.rest_after(started..Instant::now(), cpu_time().saturating_sub(cpu))).await;
        if is_quiet && has_grown {
            system::release_memory();
        }
        has_grown = !is_quiet;
        // Either it was woken or the time is up; both mean to run.
        is_quiet = timeout(next, manager.signals().look_wanted()).await.is_err() && next == audit_interval;
        settle(manager.signals()).await;
    }
}

/// Each call from Docker may delay the pass further.
async fn settle(signals: &Signals) {
    let until = Instant::now() + SETTLE_MAX;
    loop {
        let left = signals.settles_in().min(until.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return;
        }
        sleep(left).await;
    }
}

/// One pass. Returns how soon to run again if nothing wakes the loop.
///
/// A pass that failed completely is not a sign of life: `alive` feeds the watchdog, and a new process may succeed.
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
            match outcome.failed > 0 || outcome.pending {
                true => audit_interval.min(memory.next_due().map_or(SOON, |due| due.min(SOON))),
                false => audit_interval,
            }
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
    /// One pass: reads everything and repairs what is missing.
    ///
    /// The kernel is read without the lock, so that Joins do not wait for it; steps are carried out under the lock, and
    /// only if the desired state has not changed meanwhile.
    ///
    /// # Errors
    /// If the kernel cannot be read.
    pub fn reconcile(&self, memory: &Memory) -> Result<LookResult, Error> {
        self.look_and_repair(memory, |_, _| {})
    }

    /// One pass on request: repairs everything that is missing, including networks with healing off, without waiting
    /// for a grace period or a pause to end.
    ///
    /// # Errors
    /// If the kernel cannot be read.
    pub fn heal(&self) -> Result<Vec<Repair>, Error> {
        self.pace_again();
        let mut repairs = self.repair_records();
        self.look_and_repair(&Memory::asked_for(), |model, done| repairs.push(Repair::new(model, done)))?;
        Ok(repairs)
    }

    fn look_and_repair(
        &self,
        memory: &Memory,
        mut also: impl FnMut(&Model, &StepResult<'_>),
    ) -> Result<LookResult, Error> {
        self.end_faults();
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
            self.note_namespaces(&mut model, &want, &have);
            self.note_spans(&model, &want, &have);
            memory.look_at_adapters(self.events(), &model, &want, &have);
            self.leave_shares(model.shares_version(), &want, &mut plan);
            let mut unfinished: Vec<Step> =
                plan.steps.iter().filter(|step| model.finishes_join(step)).cloned().collect();
            let held_back = memory.hold_back(self, &model, &mut plan);
            let unsettled = memory.tell(self.events(), &model, &plan.problems);
            let retry = memory.retries_soon(&have);
            let (gone, dying) = memory.gone_sandboxes(&model, &have);
            self.remember_found(&mut model, &have, &plan.steps);
            let mut outcome =
                LookResult { pending: held_back || unsettled || retry || dying, ..LookResult::default() };
            self.carry_out(&mut model, &plan.steps, |model, done| {
                if done.result.is_ok() {
                    unfinished.retain(|step| step != done.step);
                }
                if done.step.reason == Reason::EndArrived && done.result.is_ok() {
                    return;
                }
                // The next pass reports it as a problem, with a message of its own.
                if done.step.action.is_about_qdiscs() && done.result.as_ref().is_err_and(Error::lacks_module)
                {
                    outcome.pending = true;
                    return;
                }
                also(model, &done);
                match memory.account(self.events(), model, &done) {
                    true => outcome.healed += 1,
                    false => outcome.failed += 1,
                }
            });
            for member in want.buses.iter().flat_map(|bus| &bus.members) {
                let is_finished =
                    || unfinished.iter().all(|step| step.endpoint.as_ref() != Some(&member.endpoint));
                if member.awaited && member.has_arrived(&have) && is_finished() {
                    model.arrived(&member.endpoint);
                }
            }
            memory.tell_arrivals(self.events(), &model);
            self.remove_all_unused(&mut model);
            drop(model);
            self.tell_losses();
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
