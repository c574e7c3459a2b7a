//! Expectations as components of health. Their judge has decided, so they count at once.

use std::collections::BTreeSet;

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
    /// Records what is known of all expectations, and reports the changes. Others do not exist any more.
    pub fn take_in_expectations(&self, events: &Events, all: &[ExpectationStatus]) {
        let names: BTreeSet<&str> = all.iter().map(|one| one.component.as_str()).collect();
        self.record(events, |board, _, _| board.retain_expectations(|name| names.contains(name)));
        self.take_in_changed(events, all);
    }

    /// Records what is known of some expectations, and reports the changes.
    pub(crate) fn take_in_changed(&self, events: &Events, some: &[ExpectationStatus]) {
        self.record(events, |board, now, changes| {
            for one in some {
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
