//! What the loop remembers: since when something has been the case, how often it recurred, what has been reported.
//! Never a copy of the kernel's state.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tracing::debug;

use crate::{
    apply::StepResult,
    events::{Event, Events, Kind},
    manager::Manager,
    model::Model,
    names::{EndpointId, NetworkId},
    plan::{Action, Have, Plan, Problem, Reason, Sandbox, Step, Want},
};

use super::{
    adapters::{AdapterChange, Adapters, Arrivals, ChangeKind},
    problems::Problems,
};

/// How long a leftover must exist before it is removed.
const LEFTOVER_GRACE: Duration = Duration::from_secs(10);
/// A sandbox that is missing for this long is gone. Before Docker 28 it appears some time after Join.
const SANDBOX_GRACE: Duration = Duration::from_secs(120);
/// How long a container must be known to have ended before its endpoint is collected, if Docker does not delete it.
const DEAD_GRACE: Duration = Duration::from_secs(10);
/// The first pause after a failure; it doubles with each further failure.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The first pause after a step whose target changed after the kernel was read; it doubles each time.
const RACE_PAUSE: Duration = Duration::from_millis(1);
/// This many of them in a row are not a failure: the kernel may still be removing what the step replaces.
const RACES: u32 = 6;
/// The maximum pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A fault that recurs within this time counts as the same fault.
const RECURS_WITHIN: Duration = Duration::from_secs(60);
/// How often a recurring fault is healed immediately. After that it may be intentional, and the pauses grow.
const AT_ONCE: u32 = 5;

/// How often to retry what could not be read before waiting for the next audit.
const RETRIES: u32 = 3;

/// The loop's memory.
#[derive(Debug, Default)]
pub struct Memory {
    inner: Mutex<Inner>,
    /// For a pass on request: nothing is held back, and problems are not reported again.
    asked_for: bool,
    /// How far a test's clock is ahead, to skip pauses.
    #[cfg(test)]
    pub(super) ahead: Mutex<Duration>,
}

#[derive(Debug, Default)]
struct Inner {
    /// When each leftover link, by index, was first seen.
    leftovers: BTreeMap<u32, Instant>,
    /// When each endpoint's sandbox was first found missing.
    sandboxes: BTreeMap<EndpointId, Instant>,
    /// Faults that could not be healed, or that recur.
    faults: BTreeMap<FaultKey, Fault>,
    /// When the first fault that the last pass left unhealed may be healed.
    next_due: Option<Instant>,
    /// Problems that have been reported.
    problems: Problems,
    /// Consecutive passes that could not read everything.
    partial: u32,
    /// Adapters as last reported.
    adapters: Adapters,
    /// Adapters that appeared in this pass.
    arrivals: Arrivals,
}

/// A known fault.
#[derive(Debug, Clone)]
struct Fault {
    /// The summary event for when it is over.
    over: Event,
    /// How often it was healed, each time within [`RECURS_WITHIN`] of the last.
    healed: u32,
    /// How often healing has failed since it last succeeded.
    failed: u32,
    /// How often the target had changed after the kernel was read, since healing last succeeded.
    raced: u32,
    /// When it was last present, healed or waiting.
    last: Instant,
    /// Not to be healed before this time.
    until: Instant,
}

impl Fault {
    /// Whether it was reported to keep coming back, so that its end is reported too.
    fn keeps_coming_back(&self) -> bool {
        self.healed >= AT_ONCE
    }
}

impl Memory {
    /// The memory for a pass on request.
    pub(super) fn asked_for() -> Self {
        Self { asked_for: true, ..Self::default() }
    }

    fn now(&self) -> Instant {
        #[cfg(test)]
        return Instant::now() + *self.ahead.lock();
        #[cfg(not(test))]
        Instant::now()
    }

    /// Removes steps from the plan that must not be carried out, or not yet. Returns whether one is waiting.
    pub(super) fn hold_back(&self, manager: &Manager, model: &Model, plan: &mut Plan) -> bool {
        if self.asked_for {
            return false;
        }
        let mut inner = self.inner.lock();
        let now = self.now();
        inner.next_due = None;
        inner.keep_leftovers(&plan.steps, now);
        let mut pending = false;
        // Endpoints whose broken pair still exists: the name of a new one would be taken.
        let mut broken = BTreeSet::new();
        let mut due = Vec::with_capacity(plan.steps.len());
        for step in std::mem::take(&mut plan.steps) {
            let network = step.network.as_ref().and_then(|id| model.network(id));
            let is_leftover = step.reason == Reason::Leftover;
            let is_healing = !is_leftover && !model.finishes_join(&step);
            if is_healing && network.is_some_and(|network| !manager.heals(network)) {
                continue;
            }
            let waits = match &step.action {
                Action::Delete { index, .. } if is_leftover => inner.is_young_leftover(*index, now),
                Action::CreatePair { .. } if broken.contains(&step.endpoint) => true,
                _ => inner.fault_waits(&step, now),
            };
            if waits && !is_leftover && matches!(step.action, Action::Delete { .. }) {
                broken.insert(step.endpoint.clone());
            }
            pending |= waits;
            if !waits {
                due.push(step);
            }
        }
        plan.steps = due;
        inner.forget_settled(manager.events(), now);
        pending || inner.faults.values().any(Fault::keeps_coming_back)
    }

    /// Processes the state of the adapters. Runs before steps are held back: an adapter that is plugged in again is not
    /// a recurring fault.
    pub(super) fn look_at_adapters(&self, events: &Events, model: &Model, want: &Want, have: &Have) {
        if self.asked_for {
            return;
        }
        let mut inner = self.inner.lock();
        let now = self.now();
        for AdapterChange { network, interface, kind } in inner.adapters.look(want, have, now) {
            let about = |kind| Event {
                interface: Some(interface.clone()),
                ..Event::of_network(kind, model, &network)
            };
            match kind {
                ChangeKind::Vanished => events.tell(about(Kind::AdapterVanished)),
                ChangeKind::BusOff(times) => events.tell(Event { times: Some(times), ..about(Kind::BusOff) }),
                ChangeKind::Appeared => {
                    inner.faults.retain(|_, fault| {
                        fault.over.network.as_ref() != Some(&network) || fault.over.endpoint.is_some()
                    });
                    inner.arrivals.add(network, interface, now);
                }
            }
        }
    }

    /// Reports each adapter that appeared, with its repairs.
    pub(super) fn tell_arrivals(&self, events: &Events, model: &Model) {
        std::mem::take(&mut self.inner.lock().arrivals).tell(events, model);
    }

    /// Reports new problems. Returns whether a problem is gone but not yet considered over.
    pub(super) fn tell(&self, events: &Events, model: &Model, problems: &[Problem]) -> bool {
        !self.asked_for && self.inner.lock().problems.tell(events, model, problems, self.now())
    }

    /// How soon a fault that the last pass left unhealed may be healed; `None`: it left none.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.inner.lock().next_due.map(|due| due.saturating_duration_since(self.now()))
    }

    /// Whether something that could not be read should be retried before the next audit. What stays unreadable is left
    /// to the audits, so that it does not cost a pass every second.
    pub(super) fn retries_soon(&self, have: &Have) -> bool {
        let mut inner = self.inner.lock();
        inner.partial = if have.is_partial() { inner.partial.saturating_add(1) } else { 0 };
        (1..=RETRIES).contains(&inner.partial)
    }

    /// Endpoints whose container is known to have ended, or whose sandbox has been missing, for the whole grace period:
    /// Docker sent no Leave for them. And whether the grace period of a dead one is still running.
    ///
    /// A sandbox that could not be read is not missing. For an attachment nobody sends a Leave, so it ends at once; a
    /// missing path alone does not end it, because its namespace can outlive the path.
    pub(super) fn gone_sandboxes(&self, model: &Model, have: &Have) -> (Vec<EndpointId>, bool) {
        // Nobody reads the sandbox of an endpoint whose network is unknown: it is on no bus.
        let is_missing =
            |sandbox: &Path| matches!(have.sandboxes.get(sandbox), None | Some(Sandbox::Missing));
        let now = self.now();
        let mut inner = self.inner.lock();
        let mut missing = BTreeMap::new();
        for endpoint in model.endpoints() {
            let can_tell = endpoint.attached.is_some() && endpoint.namespace.is_some();
            let is_gone = || !can_tell && endpoint.sandbox().is_some_and(is_missing);
            if model.is_dead(&endpoint.id) || is_gone() {
                let since = inner.sandboxes.get(&endpoint.id).copied().unwrap_or(now);
                missing.insert(endpoint.id.clone(), since);
            }
        }
        let grace = |id: &EndpointId| match model.is_dead(id) {
            true if id.is_attached() => Duration::ZERO,
            true => DEAD_GRACE,
            false => SANDBOX_GRACE,
        };
        let is_gone = |(id, since): &(&EndpointId, &Instant)| now.duration_since(**since) >= grace(id);
        let (gone, waiting): (Vec<_>, Vec<_>) = missing.iter().partition(is_gone);
        let dying = waiting.iter().any(|(id, _)| model.is_dead(id));
        let gone = gone.into_iter().map(|(id, _)| id.clone()).collect();
        inner.sandboxes = missing;
        (gone, dying)
    }

    /// Records and reports the result of a step. Returns whether it succeeded.
    pub(super) fn account(&self, events: &Events, model: &Model, done: &StepResult<'_>) -> bool {
        let mut inner = self.inner.lock();
        let now = self.now();
        let step = done.step;
        let about = |kind| Event::of_step(kind, model, step);
        let first = || Fault {
            over: about(Kind::HealedForGood),
            healed: 0,
            failed: 0,
            raced: 0,
            last: now,
            until: now,
        };
        let fault = inner.faults.entry(FaultKey::of(step)).or_insert_with(first);
        fault.last = now;
        match &done.result {
            Ok(()) => {
                fault.healed += 1;
                (fault.failed, fault.raced) = (0, 0);
                let pause = pause(fault.healed.saturating_sub(AT_ONCE), SOON_AGAIN);
                fault.until = now + pause;
                let (times, healed) = (fault.healed, Event::healed(model, done));
                // An arrival reports its own heals.
                match !inner.arrivals.take_in(&healed) && times <= AT_ONCE {
                    true => events.tell(healed),
                    false => events.count(&healed),
                }
                if times == AT_ONCE {
                    events.tell(Event { times: Some(times), ..about(Kind::KeepsComingBack) });
                }
            }
            Err(err) if err.is_race() && fault.raced < RACES => {
                fault.raced += 1;
                fault.until = now + pause(fault.raced, RACE_PAUSE);
                let until = fault.until;
                inner.is_due(until);
                debug!(%err, interface = step.action.interface(), "the link changed after it was read; reading it again");
            }
            Err(err) => {
                fault.failed += 1;
                fault.until = now + pause(fault.failed, FIRST_PAUSE);
                let (failures, until) = (fault.failed, fault.until);
                inner.is_due(until);
                // Reported at first and then less and less often: at 1, 2, 4, 8 consecutive failures.
                let (times, err) = (Some(failures), Some(err.to_string()));
                let failed = Event { times, err, ..about(Kind::HealFailed) };
                match failures.is_power_of_two() {
                    true => events.tell(failed),
                    false => events.count(&failed),
                }
            }
        }
        done.result.is_ok()
    }
}

/// The first pause for a recurring fault.
const SOON_AGAIN: Duration = Duration::from_secs(1);

/// Zero for the zeroth time, then doubling; with some jitter, so that two faults do not stay in step.
fn pause(times: u32, first: Duration) -> Duration {
    let Some(doublings) = times.checked_sub(1) else { return Duration::ZERO };
    let pause = first.saturating_mul(1 << doublings.min(10)).min(PAUSE_MAX);
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    pause + pause / 100 * (nanos / 1000 % 20)
}

impl Inner {
    /// Updates since when each leftover of this plan has existed.
    fn keep_leftovers(&mut self, steps: &[Step], now: Instant) {
        let mut leftovers = BTreeMap::new();
        for step in steps.iter().filter(|step| step.reason == Reason::Leftover) {
            if let Action::Delete { index, .. } = step.action {
                leftovers.insert(index, self.leftovers.get(&index).copied().unwrap_or(now));
            }
        }
        self.leftovers = leftovers;
    }

    fn is_young_leftover(&self, index: u32, now: Instant) -> bool {
        self.leftovers.get(&index).is_some_and(|since| now.duration_since(*since) < LEFTOVER_GRACE)
    }

    /// Whether the fault that this step heals must wait. It is present either way, so it is not over.
    fn fault_waits(&mut self, step: &Step, now: Instant) -> bool {
        let Some(fault) = self.faults.get_mut(&FaultKey::of(step)) else { return false };
        fault.last = now;
        let (until, waits) = (fault.until, now < fault.until);
        if waits {
            self.is_due(until);
        }
        waits
    }

    fn is_due(&mut self, at: Instant) {
        self.next_due = Some(self.next_due.map_or(at, |due| due.min(at)));
    }

    /// A fault that has stayed away is over; a recurring one gets a summary.
    fn forget_settled(&mut self, events: &Events, now: Instant) {
        let is_settled = |fault: &Fault| now.duration_since(fault.last) > RECURS_WITHIN;
        for fault in self.faults.values().filter(|fault| is_settled(fault) && fault.keeps_coming_back()) {
            events.tell(Event { times: Some(fault.healed), ..fault.over.clone() });
        }
        self.faults.retain(|_, fault| !is_settled(fault));
    }
}

/// The identity of a fault: the reason and the object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct FaultKey {
    network: Option<NetworkId>,
    endpoint: Option<EndpointId>,
    reason: Reason,
    interface: String,
}

impl FaultKey {
    fn of(step: &Step) -> Self {
        Self {
            network: step.network.clone(),
            endpoint: step.endpoint.clone(),
            reason: step.reason,
            interface: step.action.interface().to_owned(),
        }
    }
}
