//! Expectations as components of health. Their judge has decided, so they count at once.

use super::{
    Health,
    board::{CheckResult, Key},
};
use crate::{
    checks::expectations::finding,
    events::Events,
    status::{ExpectationState, ExpectationStatus},
};

impl Health {
    /// Records what is known of all expectations, and reports the changes.
    pub fn take_in_expectations(&self, events: &Events, all: &[ExpectationStatus]) {
        self.record(events, |board, now, changes| {
            board.retain_expectations(|name| all.iter().any(|one| one.component == name));
            for one in all {
                let key = Key::Expectation(one.component.clone());
                changes.extend(board.record(key, &one.component, outcome(one), None, now));
            }
        });
    }
}

fn outcome(one: &ExpectationStatus) -> CheckResult {
    match one.state {
        ExpectationState::Unknown => CheckResult::TooEarly(one.reason.clone()),
        ExpectationState::NoBus => CheckResult::Unwatched(one.reason.clone()),
        ExpectationState::Up | ExpectationState::Down => CheckResult::Found(finding(one)),
    }
}
