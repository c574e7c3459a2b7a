//! The problems that the loop has reported: once when they appear, and once when they are over.

use std::time::{Duration, Instant};

use crate::{
    events::{Event, Events, Kind},
    model::Model,
    plan::Problem,
};

/// A problem is over once it has been gone for this long: one that comes and goes with each frame is a single problem.
const HOLD: Duration = Duration::from_secs(5);

/// Reported problems, and when each was last present.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<(Problem, Instant)>);

impl Problems {
    /// Reports new problems and those that are over. Returns whether one is gone but not yet considered over.
    pub(super) fn tell(
        &mut self,
        events: &Events,
        model: &Model,
        problems: &[Problem],
        now: Instant,
    ) -> bool {
        let told = std::mem::take(&mut self.0);
        for problem in problems {
            if !told.iter().any(|(told, _)| told == problem) {
                events.tell(Event::of_problem(Kind::Problem, model, problem));
            }
            self.0.push((problem.clone(), now));
        }
        let mut pending = false;
        for (problem, last) in told.into_iter().filter(|(problem, _)| !problems.contains(problem)) {
            let known = model.network(&problem.network).is_some();
            if known && !problem.awaits_adapter && now.duration_since(last) < HOLD {
                pending = true;
                self.0.push((problem, last));
                continue;
            }
            let over = Event::of_problem(Kind::ProblemOver, model, &problem);
            // The event that the adapter appeared or the network was deleted implies it.
            match problem.awaits_adapter || !known {
                true => events.count(&over),
                false => events.tell(over),
            }
        }
        pending
    }
}
