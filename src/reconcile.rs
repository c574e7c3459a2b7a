//! The loop that keeps the world as it is wanted: events wake it, dumps decide, one plan for everything.
//!
//! Rules have no events, so an audit looks every `--audit-interval` even when nothing woke the loop. A
//! look costs in proportion to the host, so the pause after it does too: a storm of events cannot make
//! canhub eat a processor.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use crate::{
    apply::{Done, apply},
    error::Error,
    manager::Manager,
    model::Model,
    plan::{Action, LEFTOVER, Plan, Problem, Scope, Step, plan},
};

/// A leftover is removed when it has been one for this long.
const LEFTOVER_GRACE: Duration = Duration::from_secs(10);
/// A sandbox that is not there for this long is gone. Before Docker 28 it appears only some time after Join.
const SANDBOX_GRACE: Duration = Duration::from_secs(120);
/// A look is followed by a pause of this many times its own length.
const REST_FACTOR: u32 = 4;
/// What is wanted may change while the kernel is looked at; after this many looks, nothing may change meanwhile.
const LOOKS: usize = 3;
/// A step that keeps failing is tried again after a pause that doubles up to this.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// What the loop remembers from one look to the next. It is memory of the past only, never of the world.
#[derive(Debug, Default)]
pub struct Memory {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// When each leftover link, by index, was first seen.
    leftovers: BTreeMap<u32, Instant>,
    /// When each endpoint's sandbox was first seen missing.
    sandboxes: BTreeMap<String, Instant>,
    /// Steps that failed or keep coming back: when they may be tried again.
    backoff: BTreeMap<String, (Instant, Duration)>,
    /// Problems that were told already.
    told: Vec<Problem>,
}

/// What one look came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Steps that changed the world.
    pub healed: usize,
    /// Steps that failed and will be tried again.
    pub failed: usize,
    /// Something waits for a grace period or a pause to end, so a look is due before the audit.
    pub pending: bool,
}

/// Runs for ever: looks when woken and at every audit. `alive` is called after each look.
pub async fn run(manager: Arc<Manager>, audit_interval: Duration, alive: impl Fn()) {
    let memory = Arc::new(Memory::default());
    loop {
        let started = Instant::now();
        let look = {
            let (manager, memory) = (manager.clone(), memory.clone());
            tokio::task::spawn_blocking(move || manager.reconcile(&memory)).await
        };
        let mut next = audit_interval;
        match look {
            Ok(Ok(outcome)) => {
                alive();
                if outcome.failed > 0 || outcome.pending {
                    next = next.min(Duration::from_secs(1));
                }
            }
            Ok(Err(err)) => {
                warn!(%err, "the kernel could not be looked at; it will be tried again");
                next = next.min(Duration::from_secs(1));
            }
            Err(err) => error!(%err, "a look at the kernel panicked; this is a bug of canhub's"),
        }
        sleep(started.elapsed() * REST_FACTOR).await;
        // Either it was woken or the time is up; both mean: look.
        let _ = timeout(next, manager.woken()).await;
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
    pub fn reconcile(&self, memory: &Memory) -> Result<Outcome, Error> {
        for look in 1.. {
            let (want, generation) = {
                let model = self.model();
                (model.want(), model.generation())
            };
            let mut held = (look == LOOKS).then(|| self.model());
            let want = held.as_ref().map_or(want, |model| model.want());
            let have = self.look(&want, true)?;
            let mut plan = plan(&want, &have, Scope::Everything);

            let model = held.take().unwrap_or_else(|| self.model());
            if model.generation() != generation && look < LOOKS {
                continue;
            }
            let mut inner = memory.inner.lock();
            let pending = inner.hold_back(self, &model, &mut plan);
            inner.tell(&model, plan.problems.clone());
            let gone = inner.gone_sandboxes(&model, |sandbox| have.sandboxes.contains_key(sandbox));
            let mut outcome = Outcome { pending, ..Outcome::default() };
            apply(&*self.kernel, &plan.steps, |done| inner.account(&model, done, &mut outcome));
            drop((inner, model));
            for endpoint in gone {
                info!(endpoint = endpoint.short(), reason = "its sandbox is gone", "endpoint collected");
                self.delete_endpoint(&endpoint);
            }
            return Ok(outcome);
        }
        Ok(Outcome::default())
    }
}

impl Inner {
    /// Takes steps out of the plan that are not to be carried out, or not yet. True where one waits for its time.
    fn hold_back(&mut self, manager: &Manager, model: &Model, plan: &mut Plan) -> bool {
        let now = Instant::now();
        let mut pending = false;
        let mut leftovers = BTreeMap::new();
        plan.steps.retain(|step| {
            let network = step.network.as_ref().and_then(|id| model.network(id));
            if step.reason != LEFTOVER && network.is_some_and(|network| !manager.heals(network)) {
                return false;
            }
            if step.reason == LEFTOVER
                && let Action::Delete { index, .. } = step.action
            {
                let since = self.leftovers.get(&index).copied().unwrap_or(now);
                leftovers.insert(index, since);
                if now.duration_since(since) < LEFTOVER_GRACE {
                    pending = true;
                    return false;
                }
            }
            let waits = self.backoff.get(&key(step)).is_some_and(|(until, _)| now < *until);
            pending |= waits;
            !waits
        });
        self.leftovers = leftovers;
        pending
    }

    /// Says each problem once, and once more when it is over.
    fn tell(&mut self, model: &Model, problems: Vec<Problem>) {
        for problem in problems.iter().filter(|problem| !self.told.contains(problem)) {
            warn!(
                network = problem.network.short(),
                network_name = model.network_name(&problem.network),
                endpoint = problem.endpoint.as_ref().map(|id| id.short()),
                "{}",
                problem.text
            );
        }
        for problem in self.told.iter().filter(|problem| !problems.contains(problem)) {
            info!(network = problem.network.short(), reason = problem.text, "no longer a problem");
        }
        self.told = problems;
    }

    /// Endpoints whose sandbox has been missing for the whole grace period: Docker sent no Leave for them.
    fn gone_sandboxes(
        &mut self,
        model: &Model,
        there: impl Fn(&std::path::Path) -> bool,
    ) -> Vec<crate::names::EndpointId> {
        let now = Instant::now();
        let mut missing = BTreeMap::new();
        let mut gone = Vec::new();
        for endpoint in model.endpoints() {
            let Some(sandbox) = endpoint.sandbox().filter(|sandbox| !there(sandbox)) else { continue };
            let key = format!("{}{}", endpoint.id, sandbox.display());
            let since = self.sandboxes.get(&key).copied().unwrap_or(now);
            if now.duration_since(since) >= SANDBOX_GRACE {
                gone.push(endpoint.id.clone());
            }
            missing.insert(key, since);
        }
        self.sandboxes = missing;
        gone
    }

    fn account(&mut self, model: &Model, done: Done<'_>, outcome: &mut Outcome) {
        let (step, key) = (done.step, key(done.step));
        match &done.outcome {
            Ok(()) => {
                outcome.healed += 1;
                self.backoff.remove(&key);
                log_healed(model, &done);
            }
            Err(err) => {
                outcome.failed += 1;
                let pause =
                    self.backoff.get(&key).map_or(Duration::from_millis(100), |(_, pause)| *pause * 2);
                let pause = pause.min(BACKOFF_MAX);
                self.backoff.insert(key, (Instant::now() + pause, pause));
                warn!(
                    network = step.network.as_ref().map(|id| id.short()),
                    endpoint = step.endpoint.as_ref().map(|id| id.short()),
                    interface = step.action.interface(),
                    reason = step.reason,
                    %err,
                    "could not heal; it will be tried again"
                );
            }
        }
    }
}

/// What makes two steps the same fault: what is wrong, with what.
fn key(step: &Step) -> String {
    format!("{:?}{:?}{}{}", step.network, step.endpoint, step.reason, step.action.interface())
}

/// The one line by which `journalctl -g healed` tells the story.
pub(crate) fn log_healed(model: &Model, done: &Done<'_>) {
    let step = done.step;
    info!(
        network = step.network.as_ref().map(|id| id.short()),
        network_name = step.network.as_ref().map(|id| model.network_name(id)),
        endpoint = step.endpoint.as_ref().map(|id| id.short()),
        container = step.endpoint.as_ref().and_then(|id| model.container_name(id)),
        interface = step.action.interface(),
        reason = step.reason,
        did = %step.action,
        took_us = done.took.as_micros() as u64,
        "healed"
    );
}
