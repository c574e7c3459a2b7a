//! What the loop remembers of the past: how long something has been so, how often it came back, what was
//! said already. Never a picture of the world.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

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

/// A leftover is removed when it has been one for this long.
const LEFTOVER_GRACE: Duration = Duration::from_secs(10);
/// A sandbox that is not there for this long is gone. Before Docker 28 it appears only some time after Join.
const SANDBOX_GRACE: Duration = Duration::from_secs(120);
/// The first pause after a failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// No pause is longer than this.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A fault that comes back within this time is the same fault again.
const RECURS_WITHIN: Duration = Duration::from_secs(60);
/// So often a recurring fault is healed at once; then somebody may want it so, and the pauses grow.
const AT_ONCE: u32 = 5;

/// What could not be read is read again so often before it waits for the next audit.
const RETRIES: u32 = 3;

/// The loop's memory.
#[derive(Debug, Default)]
pub struct Memory {
    inner: Mutex<Inner>,
    /// A person asked for one look: nothing is held back, and problems are not told again.
    asked_for: bool,
    /// How far a test's clock is ahead, so that nobody has to wait out the pauses.
    #[cfg(test)]
    pub(super) ahead: Mutex<Duration>,
}

#[derive(Debug, Default)]
struct Inner {
    /// When each leftover link, by index, was first seen.
    leftovers: BTreeMap<u32, Instant>,
    /// When each endpoint's sandbox was first seen missing.
    sandboxes: BTreeMap<EndpointId, Instant>,
    /// Faults that failed to heal or keep coming back.
    faults: BTreeMap<FaultKey, Fault>,
    /// Problems as they were told.
    problems: Problems,
    /// How many looks in a row could not read everything.
    partial: u32,
    /// Adapters as they were told of.
    adapters: Adapters,
    /// Those that this look has found new.
    arrivals: Arrivals,
}

/// A fault that was met before.
#[derive(Debug, Clone)]
struct Fault {
    /// To sum it up with when it is over.
    over: Event,
    /// How often it was healed, each time within [`RECURS_WITHIN`] of the last.
    healed: u32,
    /// How often healing failed since it last succeeded.
    failed: u32,
    /// When it was last there, healed or waiting.
    last: Instant,
    /// Not to be touched before.
    until: Instant,
}

impl Memory {
    /// The memory of one look that a person asked for.
    pub(super) fn asked_for() -> Self {
        Self { asked_for: true, ..Self::default() }
    }

    fn now(&self) -> Instant {
        #[cfg(test)]
        return Instant::now() + *self.ahead.lock();
        #[cfg(not(test))]
        Instant::now()
    }

    /// Takes steps out of the plan that are not to be carried out, or not yet. True where one waits for its time.
    pub(super) fn hold_back(&self, manager: &Manager, model: &Model, plan: &mut Plan) -> bool {
        if self.asked_for {
            return false;
        }
        let mut inner = self.inner.lock();
        let now = self.now();
        inner.keep_leftovers(&plan.steps, now);
        let mut pending = false;
        // Endpoints whose broken pair still stands: a new one would find its name taken.
        let mut broken = BTreeSet::new();
        let mut due = Vec::with_capacity(plan.steps.len());
        for step in std::mem::take(&mut plan.steps) {
            let network = step.network.as_ref().and_then(|id| model.network(id));
            let is_leftover = step.reason == Reason::Leftover;
            if !is_leftover && network.is_some_and(|network| !manager.heals(network)) {
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
        pending || inner.faults.values().any(|fault| fault.healed > AT_ONCE)
    }

    /// Takes in how the adapters are. Comes before the steps are held back: what is plugged in again is no fault
    /// that recurs.
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

    /// Says of each adapter that was plugged in what was done for it.
    pub(super) fn tell_arrivals(&self, events: &Events, model: &Model) {
        std::mem::take(&mut self.inner.lock().arrivals).tell(events, model);
    }

    /// Says what is wrong, once. True where a problem is gone and not known to be over yet.
    pub(super) fn tell(&self, events: &Events, model: &Model, problems: &[Problem]) -> bool {
        !self.asked_for && self.inner.lock().problems.tell(events, model, problems, self.now())
    }

    /// Whether something that could not be read is to be read again before the next audit. What stays unreadable is
    /// left to the audits, so that it does not cost a look each second.
    pub(super) fn retries_soon(&self, have: &Have) -> bool {
        let mut inner = self.inner.lock();
        inner.partial = if have.is_partial() { inner.partial.saturating_add(1) } else { 0 };
        (1..=RETRIES).contains(&inner.partial)
    }

    /// Endpoints whose sandbox has been missing for the whole grace period: Docker sent no Leave for them.
    ///
    /// One that could not be read is not missing.
    pub(super) fn gone_sandboxes(&self, model: &Model, have: &Have) -> Vec<EndpointId> {
        // Nobody looks for that of an endpoint whose network is unknown: it is on no bus.
        let is_missing =
            |sandbox: &Path| matches!(have.sandboxes.get(sandbox), None | Some(Sandbox::Missing));
        let now = self.now();
        let mut inner = self.inner.lock();
        let mut missing = BTreeMap::new();
        for endpoint in model.endpoints() {
            if endpoint.sandbox().is_some_and(is_missing) {
                let since = inner.sandboxes.get(&endpoint.id).copied().unwrap_or(now);
                missing.insert(endpoint.id.clone(), since);
            }
        }
        let gone = missing.iter().filter(|(_, since)| now.duration_since(**since) >= SANDBOX_GRACE);
        let gone = gone.map(|(id, _)| id.clone()).collect();
        inner.sandboxes = missing;
        gone
    }

    /// Takes in what became of a step, and says it. True where it was carried out.
    pub(super) fn account(&self, events: &Events, model: &Model, done: &StepResult<'_>) -> bool {
        let mut inner = self.inner.lock();
        let now = self.now();
        let step = done.step;
        let about = |kind| Event::of_step(kind, model, step);
        let first =
            || Fault { over: about(Kind::HealedForGood), healed: 0, failed: 0, last: now, until: now };
        let fault = inner.faults.entry(FaultKey::of(step)).or_insert_with(first);
        fault.last = now;
        match &done.result {
            Ok(()) => {
                fault.healed += 1;
                fault.failed = 0;
                let pause = pause(fault.healed.saturating_sub(AT_ONCE), SOON_AGAIN);
                fault.until = now + pause;
                let (times, healed) = (fault.healed, Event::healed(model, done));
                // An arrival tells its heals itself.
                match !inner.arrivals.take_in(&healed) && times <= AT_ONCE {
                    true => events.tell(healed),
                    false => events.count(&healed),
                }
                if times == AT_ONCE {
                    events.tell(Event { times: Some(times), ..about(Kind::KeepsComingBack) });
                }
            }
            Err(err) => {
                fault.failed += 1;
                fault.until = now + pause(fault.failed, FIRST_PAUSE);
                // Said at first and then ever more rarely: at 1, 2, 4, 8 failures in a row.
                let (times, err) = (Some(fault.failed), Some(err.to_string()));
                let failed = Event { times, err, ..about(Kind::HealFailed) };
                match fault.failed.is_power_of_two() {
                    true => events.tell(failed),
                    false => events.count(&failed),
                }
            }
        }
        done.result.is_ok()
    }
}

/// The first pause of a fault that keeps coming back.
const SOON_AGAIN: Duration = Duration::from_secs(1);

/// Nothing the zeroth time, then twice as long each time; with some jitter, so that two faults do not march in step.
fn pause(times: u32, first: Duration) -> Duration {
    let Some(doublings) = times.checked_sub(1) else { return Duration::ZERO };
    let pause = first.saturating_mul(1 << doublings.min(10)).min(PAUSE_MAX);
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    pause + pause / 100 * (nanos / 1000 % 20)
}

impl Inner {
    /// Remembers since when each leftover of this plan has been one, and forgets those that are none any more.
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

    /// Whether the fault that this step heals has to wait. It is there, waiting or not, so it is not over.
    fn fault_waits(&mut self, step: &Step, now: Instant) -> bool {
        let Some(fault) = self.faults.get_mut(&FaultKey::of(step)) else { return false };
        fault.last = now;
        now < fault.until
    }

    /// A fault that stayed away is over; one that came back often is summed up.
    fn forget_settled(&mut self, events: &Events, now: Instant) {
        let is_settled = |fault: &Fault| now.duration_since(fault.last) > RECURS_WITHIN;
        for fault in self.faults.values().filter(|fault| is_settled(fault) && fault.healed > AT_ONCE) {
            events.tell(Event { times: Some(fault.healed), ..fault.over.clone() });
        }
        self.faults.retain(|_, fault| !is_settled(fault));
    }
}

/// What makes two steps the same fault: what is wrong, with what.
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
