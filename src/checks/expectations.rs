//! Frames that should be on the buses: the same words in health and doctor.

use super::{Finding, Group};
use crate::status::{ExpectationState, ExpectationStatus};

/// The name of the check.
const CHECK: &str = "expectation";

/// An expectation, met or not.
pub fn finding(one: &ExpectationStatus) -> Finding {
    let reason = one.reason.clone();
    let found = match one.state {
        ExpectationState::Up => Finding::pass(Group::Buses, CHECK, reason),
        ExpectationState::Down => Finding::error(Group::Buses, CHECK, reason).hint(hint(one)),
        ExpectationState::Unknown => {
            Finding::warning(Group::Buses, CHECK, reason).hint("try again in a moment")
        }
        ExpectationState::NoBus => {
            let hint = "create the network, or `canhub expect rm` what is not expected any more";
            Finding::warning(Group::Buses, CHECK, reason).hint(hint)
        }
    };
    found.about(one.name())
}

fn hint(one: &ExpectationStatus) -> String {
    match &one.from {
        Some(from) => format!("see whether {from} runs and what it logs: `docker logs {from}`"),
        None => format!("`canhub watch {}` shows who sends what", one.bus),
    }
}
