//! What the loop said of problems: each once, and once more when it is over.

use std::time::{Duration, Instant};

use crate::{
    events::{Event, Events, Kind},
    model::Model,
    plan::Problem,
};

/// A problem is over when it has stayed away for this long: what comes and goes with each frame is one problem.
const HOLD: Duration = Duration::from_secs(5);

/// Problems that were told, and when each was last there.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<(Problem, Instant)>);

impl Problems {
    /// Says what is new and what is over. True where a problem is gone and not known to be over yet.
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
            // That the adapter appeared, or that the network was deleted, says it too.
            match problem.awaits_adapter || !known {
                true => events.count(&over),
                false => events.tell(over),
            }
        }
        pending
    }
}
