//! Splits a survey of all buses into components.

use std::time::{Duration, SystemTime};

use super::board::{Board, Change, CheckResult, Key};
use crate::{
    checks::{self, Files, Finding, Group, Level},
    status::Status,
};

/// A missing kernel module. Only checked if a bus lacks something, which that would explain.
pub(super) fn lacking(status: &Status, modules: &Files) -> Option<Finding> {
    status.buses.iter().find(|bus| !bus.steps.is_empty())?;
    let found = checks::modules::look(modules, checks::buses::forwards(status));
    found.into_iter().find(|finding| finding.level == Level::Error)
}

/// Records the kernel, each bus, adapter, span and other host of a survey.
pub(super) fn take_in(
    board: &mut Board,
    status: &Status,
    lacking: Option<Finding>,
    took: Duration,
    now: SystemTime,
    changes: &mut Vec<Change>,
) {
    let kernel = match (lacking, status.ready) {
        (Some(lacking), _) => CheckResult::Found(lacking),
        (None, true) => {
            let sentence = "interfaces and can-gw rules can be read; all buses were checked";
            CheckResult::Found(Finding::pass(Group::System, "kernel", sentence))
        }
        (None, false) => CheckResult::TooEarly("the first check of all buses is still running".to_owned()),
    };
    let mut outcomes = vec![(Key::Kernel, "kernel".to_owned(), kernel)];
    for bus in &status.buses {
        let of_bus = status.faults.iter().filter(|fault| fault.network == bus.network);
        let found = CheckResult::Found(checks::faults::explained(checks::bus(bus), of_bus));
        outcomes.push((Key::Bus(bus.network.clone()), format!("bus:{}", bus.network_name), found));
        if let Some(found) = checks::adapter(bus) {
            let name = format!("adapter:{}", bus.hub);
            outcomes.push((Key::Adapter(bus.network.clone()), name, CheckResult::Found(found)));
        }
        if let (Some(own), Some(span)) = (&status.span, &bus.span) {
            let found = match own.since {
                Some(_) => CheckResult::Found(checks::span::span(own, bus, span)),
                None => CheckResult::TooEarly("canhub has not tried to reach canhub-span yet".to_owned()),
            };
            outcomes.push((Key::Span(bus.network.clone()), format!("span:{}", span.name), found));
        }
    }
    for (host, found) in checks::span::hosts(status) {
        outcomes.push((Key::Host(host.clone()), format!("host:{host}"), CheckResult::Found(found)));
    }
    distinguish(&mut outcomes);
    let missing: Vec<String> = board
        .policy()
        .required_by_name()
        .filter(|wanted| !outcomes.iter().any(|(_, name, _)| name == wanted) && !board.expects(wanted))
        .map(str::to_owned)
        .collect();
    for name in missing {
        let why = match name.split_once(':') {
            Some(("adapter", adapter)) => {
                format!("the health policy requires adapter {adapter}, which no network uses")
            }
            Some(("span", span)) => format!("the health policy requires span {span}, which no network has"),
            Some(("host", host)) => format!("the health policy requires host {host}, which is not known"),
            Some(("expect", _)) => {
                format!("the health policy requires {name}, which nobody expects")
            }
            _ => format!("the health policy requires {name}, and no such network exists"),
        };
        let hint = match name.split_once(':') {
            Some(("expect", _)) => "`canhub expect add`, or correct /etc/canhub/health.toml",
            Some(("host", _)) => "`canhub-span join` on that host, or correct /etc/canhub/health.toml",
            _ => "create the network, or correct /etc/canhub/health.toml",
        };
        let finding = Finding::error(Group::Buses, "bus", why).hint(hint);
        outcomes.push((Key::Missing(name.clone()), name, CheckResult::Found(finding)));
    }
    board.retain(|key| outcomes.iter().any(|(met, ..)| met == key));
    for (key, name, outcome) in outcomes {
        changes.extend(board.record(key, &name, outcome, Some(took), now));
    }
}

/// Two networks of the same name, which Docker allows, are told apart by their IDs.
fn distinguish(outcomes: &mut [(Key, String, CheckResult)]) {
    for at in 0..outcomes.len() {
        let (before, rest) = outcomes.split_at_mut(at);
        let Some((key, name, _)) = rest.first_mut() else { return };
        if let Key::Bus(id) | Key::Adapter(id) | Key::Span(id) = key
            && before.iter().any(|(_, known, _)| known == name)
        {
            name.push('@');
            name.push_str(id.short());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_networks_of_the_same_name_are_told_apart() {
        let bus = |id: &str, name: &str| {
            let key = Key::Bus(id.repeat(32).try_into().unwrap());
            (key, name.to_owned(), CheckResult::TooEarly(String::new()))
        };
        let mut outcomes = [bus("a1", "bus:body"), bus("b2", "bus:body"), bus("c3", "bus:seat")];
        distinguish(&mut outcomes);
        let names = outcomes.map(|(_, name, _)| name);
        assert_eq!(names, ["bus:body", "bus:body@b2b2b2b2b2b2", "bus:seat"]);
    }
}
