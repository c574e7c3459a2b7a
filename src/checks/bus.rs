//! A bus and its adapter, as a survey found them.

use super::{Finding, Group, Level, buses::SOME_FAIL, command_in};
use crate::{network::Ownership, status::BusStatus};

/// The check of an adapter that is not there: a bus that waits for it is as it should be, unless its owner says
/// that it has to be there.
pub const ADAPTER_AWAY: &str = "adapter-away";

fn finding(check: &str, subject: &str, level: Level, sentence: String) -> Finding {
    Finding { level, ..Finding::pass(Group::Buses, check, sentence).about(subject) }
}

/// The plan's sentences have the command that mends in them.
fn with_command(finding: Finding) -> Finding {
    match command_in(&finding.sentence).map(str::to_owned) {
        Some(command) => finding.by(command),
        None => finding,
    }
}

/// Whether a bus is as it is wanted.
pub fn bus(bus: &BusStatus) -> Finding {
    let finding = |level, sentence| finding("bus", &bus.network_name, level, sentence);
    let own: Vec<&String> =
        bus.problems.iter().filter(|problem| !bus.adapter_problems.contains(problem)).collect();
    if let Some(step) = bus.steps.first() {
        let more = match bus.steps.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more of the kind"),
        };
        let heals = match bus.heal {
            true => "canhub mends it, and what it met is in `journalctl -u canhub`",
            false => "healing is off, so it stays so until somebody asks for it",
        };
        let sentence = format!("{step}{more}; {heals}");
        return finding(Level::Error, sentence).by("canhub doctor --fix").by_doctor();
    }
    match (own.first(), bus.adapter_problems.first()) {
        (Some(problem), _) => with_command(finding(Level::Error, (*problem).clone())),
        (None, Some(problem)) if bus.blocked => finding(Level::Error, problem.clone()),
        (None, Some(problem)) => finding(Level::Warning, problem.clone()),
        (None, None) => {
            let joined = bus.members.iter().filter(|member| member.stage.sandbox().is_some()).count();
            let containers = match joined {
                0 => "no container is on it".to_owned(),
                1 => "one container is on it".to_owned(),
                many => format!("{many} containers hear each other"),
            };
            finding(Level::Pass, format!("the bus is as it was asked for; {containers}"))
        }
    }
}

/// How the adapter of a bus does; `None`: the bus has none.
pub fn adapter(bus: &BusStatus) -> Option<Finding> {
    if bus.owner != Ownership::Adapter {
        return None;
    }
    let found = |check, level, sentence| Some(finding(check, &bus.hub, level, sentence));
    let problem = bus.adapter_problems.first().cloned();
    if bus.waiting {
        let waiting = || format!("adapter {} is not there", bus.hub);
        return found(ADAPTER_AWAY, Level::Warning, problem.unwrap_or_else(waiting));
    }
    let state = bus.adapter.as_ref().map_or("up", |adapter| adapter.state.as_str());
    let counted = match bus.adapter.as_ref().map(|adapter| (adapter.tx_errors, adapter.rx_errors)) {
        Some((Some(tx), Some(rx))) => format!(" (error counters: transmit {tx}, receive {rx})"),
        _ => String::new(),
    };
    match (problem, state) {
        // It still talks, badly.
        (Some(problem), "error-passive") => found("adapter", Level::Warning, problem + &counted),
        (Some(problem), _) => found("adapter", Level::Error, problem + &counted).map(with_command),
        (None, "error-warning") => {
            let sentence = format!("adapter {} is error-warning{counted}: {SOME_FAIL}", bus.hub);
            found("adapter", Level::Warning, sentence)
        }
        (None, "sleeping" | "stopped") => {
            let sentence = format!(
                "adapter {} is {state}, so its frames do not reach the bus: bring it up with `ip link set {} up`",
                bus.hub,
                bus.adapter.as_ref().map_or(bus.hub.as_str(), |adapter| adapter.interface.as_str()),
            );
            found("adapter", Level::Error, sentence).map(with_command)
        }
        (None, state) => found("adapter", Level::Pass, format!("adapter {} is there and {state}", bus.hub)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{AdapterStatus, Traffic};

    fn on_adapter(state: &str) -> BusStatus {
        BusStatus {
            network: "a1".repeat(32).try_into().unwrap(),
            network_name: "wire".into(),
            hub: "usb:1d50:606f".into(),
            adapter: Some(AdapterStatus {
                interface: "can0".into(),
                state: state.into(),
                bitrate: Some(500_000),
                tx_errors: Some(97),
                rx_errors: Some(0),
                bus_offs: 0,
                restarts: 0,
            }),
            owner: Ownership::Adapter,
            frames: "fd".into(),
            heal: true,
            steps: vec![],
            problems: vec![],
            waiting: false,
            adapter_problems: vec![],
            blocked: false,
            heals: 0,
            traffic: Traffic::default(),
            members: vec![],
        }
    }

    fn with_problem(state: &str, text: &str) -> BusStatus {
        BusStatus {
            problems: vec![text.to_owned()],
            adapter_problems: vec![text.to_owned()],
            ..on_adapter(state)
        }
    }

    #[test]
    fn each_state_of_a_wire_has_its_level_and_words() {
        for (bus, level, words) in [
            (on_adapter("error-active"), Level::Pass, "is there and error-active"),
            (on_adapter("error-warning"), Level::Warning, "120 ohms"),
            (
                with_problem("error-passive", "nearly all fail"),
                Level::Warning,
                "nearly all fail (error counters: transmit 97",
            ),
            (with_problem("bus-off", "it left the wire"), Level::Error, "it left the wire"),
            (with_problem("stopped", "adapter can0 is down"), Level::Error, "adapter can0 is down"),
            (on_adapter("sleeping"), Level::Error, "ip link set can0 up"),
        ] {
            let found = adapter(&bus).unwrap();
            assert_eq!(found.level, level, "{found:?}");
            assert!(found.sentence.contains(words), "{found:?}");
            let command = found.sentence.contains('`').then_some("ip link set can0 up");
            assert_eq!(found.fix.as_deref(), command, "{found:?}");
            assert_eq!((found.check.as_str(), found.subject.as_deref()), ("adapter", Some("usb:1d50:606f")));
        }
        assert_eq!(adapter(&BusStatus { owner: Ownership::Owned, ..on_adapter("bus-off") }), None);
    }

    #[test]
    fn a_bus_without_its_adapter_works_with_less_and_one_that_lets_nobody_on_does_not() {
        let waiting = BusStatus { waiting: true, adapter: None, ..with_problem("", "waiting for it") };
        assert_eq!(bus(&waiting).level, Level::Warning);
        let found = adapter(&waiting).unwrap();
        assert_eq!((found.check.as_str(), found.level), (ADAPTER_AWAY, Level::Warning));
        assert_eq!(bus(&BusStatus { blocked: true, ..waiting }).level, Level::Error);
        assert_eq!(bus(&with_problem("bus-off", "it left the wire")).level, Level::Warning);
        let of_a_member = BusStatus { problems: vec!["can0 is taken".into()], ..on_adapter("error-active") };
        assert_eq!(bus(&of_a_member).level, Level::Error);
        assert_eq!(adapter(&of_a_member).unwrap().level, Level::Pass, "it is not the adapter's fault");
    }

    #[test]
    fn what_is_missing_is_told_with_who_mends_it() {
        let steps = vec!["the hub was missing (vcan-body)".to_owned(), "rules were missing (ch1)".to_owned()];
        let missing = BusStatus { owner: Ownership::Owned, steps, ..on_adapter("") };
        let found = bus(&missing);
        assert!(found.sentence.starts_with("the hub was missing (vcan-body) and 1 more"), "{found:?}");
        assert_eq!((found.level, found.fix.as_deref()), (Level::Error, Some("canhub doctor --fix")));
        assert!(bus(&BusStatus { heal: false, ..missing }).sentence.contains("healing is off"));
        assert_eq!(bus(&on_adapter("error-active")).level, Level::Pass);
    }
}
