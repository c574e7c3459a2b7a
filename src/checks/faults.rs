//! Faults on purpose: said by health and doctor, and nothing that is wrong.

use super::{Finding, Group, Level};
use crate::status::FaultStatus;

/// A fault that lasts.
pub fn finding(one: &FaultStatus) -> Finding {
    Finding::pass(Group::Buses, "fault", one.reason.clone()).about(&one.network_name)
}

/// What was found about a bus, with its faults.
pub fn explained<'a>(found: Finding, faults: impl IntoIterator<Item = &'a FaultStatus>) -> Finding {
    match found.level {
        Level::Pass => {
            let sentence =
                faults.into_iter().fold(found.sentence, |all, one| format!("{all}; {}", one.reason));
            Finding { sentence, ..found }
        }
        _ => found,
    }
}
