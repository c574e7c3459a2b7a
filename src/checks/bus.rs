//! The state of a bus and its adapter as found by a survey: the same verdict for doctor and health.

use super::{Finding, Group, Level, Remedy, losses};
use crate::{
    attachment::MemberKind,
    network::Ownership,
    status::{BusStatus, MemberStatus},
};

/// The check for a missing adapter. A bus may wait for it, unless the health policy requires the adapter.
pub const ADAPTER_AWAY: &str = "adapter-away";

/// The verdict on a bus: its first problem, or that it is healthy.
pub fn bus(bus: &BusStatus) -> Finding {
    let first = missing(bus).or_else(|| problems(bus).into_iter().next());
    first.unwrap_or_else(|| match bus.adapter_problems.first() {
        Some(problem) if bus.blocked => about_bus(bus, Level::Error, problem.clone()),
        Some(problem) => about_bus(bus, Level::Warning, problem.clone()),
        None => losses::losing(bus).unwrap_or_else(|| sound(bus)),
    })
}

/// What canhub could repair but has not.
pub fn missing(bus: &BusStatus) -> Option<Finding> {
    // A leftover affects no member, and has a finding of its own.
    let steps: Vec<&String> = bus.steps.iter().filter(|step| !bus.leftovers.contains(step)).collect();
    if steps.is_empty() {
        return None;
    }
    let heals = match bus.heal {
        true => "",
        false => "; healing is off for this network",
    };
    let sentence = format!("bus {} needs repair: {}{heals}", bus.network_name, listed(&steps));
    Some(about_bus(bus, Level::Error, sentence).by("canhub doctor --fix").by_doctor(Remedy::Heal))
}

/// Problems that canhub cannot fix and that are not the adapter's. The plan's sentences are complete.
pub fn problems(bus: &BusStatus) -> Vec<Finding> {
    let own = bus.problems.iter().filter(|problem| !bus.adapter_problems.contains(problem));
    let finding = |problem: &String| {
        let finding = about_bus(bus, Level::Error, problem.clone());
        match bus.fixes.get(problem) {
            Some(fix) => finding.by(fix),
            None => finding.hint(format!("`ip -details link show {}` shows the interface", bus.hub)),
        }
    };
    own.map(finding).collect()
}

/// The state of the adapter of a bus; `None` if it has none.
pub fn adapter(bus: &BusStatus) -> Option<Finding> {
    if bus.owner != Ownership::Adapter {
        return None;
    }
    let problem = bus.adapter_problems.first().cloned();
    let fix = problem.as_ref().and_then(|problem| bus.fixes.get(problem)).cloned();
    let found = |check: &str, level, sentence| {
        let finding = Finding { level, ..Finding::pass(Group::Buses, check, sentence).about(&bus.hub) };
        Some(Finding { fix: fix.clone(), ..finding })
    };
    if bus.waiting {
        let level = if bus.blocked { Level::Error } else { Level::Warning };
        let waiting = || format!("adapter {} not found", bus.hub);
        let lost = match bus.traffic.lost_in.away {
            0 => String::new(),
            lost => format!("; {lost} frames for its wire were lost so far"),
        };
        return found(ADAPTER_AWAY, level, problem.unwrap_or_else(waiting) + &lost);
    }
    let interface = bus.interface();
    let state = bus.adapter.as_ref().map_or("up", |adapter| adapter.state.as_str());
    let counted = match bus.adapter.as_ref().map(|adapter| (adapter.tx_errors, adapter.rx_errors)) {
        Some((Some(tx), Some(rx))) => format!(" (error counters: transmit {tx}, receive {rx})"),
        _ => String::new(),
    };
    match (problem, state) {
        // It still works, badly.
        (Some(problem), "error-passive") => found("adapter", Level::Warning, problem + &counted),
        (Some(problem), _) => found("adapter", Level::Error, problem + &counted),
        (None, "error-warning") => {
            let sentence = format!(
                "adapter {interface} is error-warning: an error counter is at 96 or more{counted}; check the bitrate, the termination (120 ohms at both ends), and that another node is on the wire to acknowledge frames (`ip -details -statistics link show {interface}`)"
            );
            found("adapter", Level::Warning, sentence)
        }
        (None, "sleeping" | "stopped") => {
            let fix = format!("ip link set {interface} up");
            let sentence = format!(
                "adapter {interface} is {state}, so its frames do not reach the bus: bring it up with `{fix}`"
            );
            found("adapter", Level::Error, sentence).map(|finding| finding.by(fix))
        }
        (None, state) => {
            let history = match bus.adapter.as_ref().map_or(0, |adapter| adapter.bus_offs) {
                0 => String::new(),
                times => format!("; it went bus-off {times} times"),
            };
            found(
                "adapter",
                Level::Pass,
                format!("adapter {interface} is present and {state}{counted}{history}"),
            )
        }
    }
}

/// A healthy bus and its members.
pub fn sound(bus: &BusStatus) -> Finding {
    let joined: Vec<&MemberStatus> = bus.joined().collect();
    let members = members(&joined).unwrap_or_else(|| match bus.network.is_made() {
        true => "no members".to_owned(),
        false => "no containers".to_owned(),
    });
    let silent: Vec<&str> = joined
        .iter()
        .filter(|member| member.traffic.frames_out.handled == 0)
        .map(|member| called(member))
        .collect();
    let silent = match silent[..] {
        [] => String::new(),
        ref all if all.len() == joined.len() && all.len() > 1 => {
            "; none of them has sent a frame yet".to_owned()
        }
        ref some if some.len() <= 3 => format!("; no frames yet from {}", some.join(", ")),
        ref many => format!("; no frames yet from {} of them", many.len()),
    };
    let hub = match bus.owner {
        Ownership::Adapter => format!("adapter {}", bus.hub),
        Ownership::Owned | Ownership::Shared => format!("hub {}", bus.hub),
    };
    let shaped = |member: &&MemberStatus| Some(format!("{} has {}", called(member), member.shapes.words()?));
    let shaped: Vec<String> = joined.iter().filter_map(shaped).collect();
    let shaped = match shaped.len() {
        0 => String::new(),
        1..=3 => format!("; {} on purpose", shaped.join(", ")),
        many => format!("; the frames of {many} of them are shaped on purpose, see `canhub status`"),
    };
    let heal = if bus.heal { "" } else { "; healing is off" };
    let sentence = format!("bus {} is healthy: {hub}, {members}{silent}{shaped}{heal}", bus.network_name);
    about_bus(bus, Level::Pass, sentence)
}

/// `2 containers, 1 namespace`.
fn members(joined: &[&MemberStatus]) -> Option<String> {
    let counted =
        MemberKind::ALL.map(|kind| (kind.noun(), joined.iter().filter(|one| one.kind == kind).count()));
    let words = counted.into_iter().filter(|(_, count)| *count > 0).map(|(noun, count)| match count {
        1 => format!("1 {noun}"),
        several => format!("{several} {noun}s"),
    });
    let words: Vec<String> = words.collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// The display name of a member.
pub(super) fn called(member: &MemberStatus) -> &str {
    member.container.as_deref().unwrap_or_else(|| member.endpoint.short())
}

fn about_bus(bus: &BusStatus, level: Level, sentence: String) -> Finding {
    Finding { level, ..Finding::pass(Group::Buses, "bus", sentence).about(&bus.network_name) }
}

/// At most three; more would not help.
fn listed(steps: &[&String]) -> String {
    let first: Vec<&str> = steps.iter().take(3).map(|step| step.as_str()).collect();
    match steps.len().saturating_sub(first.len()) {
        0 => first.join(", "),
        more => format!("{}, and {more} more", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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
            leftovers: vec![],
            problems: vec![],
            waiting: false,
            adapter_problems: vec![],
            fixes: BTreeMap::new(),
            blocked: false,
            losses: Vec::new(),
            rules: 0,
            heals: 0,
            traffic: Traffic::default(),
            members: vec![],
            span: None,
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
    fn each_adapter_state_has_its_level_and_sentence() {
        for (bus, level, words) in [
            (on_adapter("error-active"), Level::Pass, "is present and error-active"),
            (on_adapter("error-warning"), Level::Warning, "120 ohms"),
            (
                with_problem("error-passive", "nearly all fail"),
                Level::Warning,
                "nearly all fail (error counters: transmit 97",
            ),
            (with_problem("bus-off", "it left the bus"), Level::Error, "it left the bus"),
            (with_problem("stopped", "adapter can0 is down"), Level::Error, "adapter can0 is down"),
            (on_adapter("sleeping"), Level::Error, "ip link set can0 up"),
        ] {
            let found = adapter(&bus).unwrap();
            assert_eq!(found.level, level, "{found:?}");
            assert!(found.sentence.contains(words), "{found:?}");
            let command =
                found.sentence.split('`').nth(1).filter(|command| command.starts_with("ip link set"));
            assert_eq!(found.fix.as_deref(), command, "{found:?}");
            assert_eq!((found.check.as_str(), found.subject.as_deref()), ("adapter", Some("usb:1d50:606f")));
        }
        assert_eq!(adapter(&BusStatus { owner: Ownership::Owned, ..on_adapter("bus-off") }), None);
    }

    #[test]
    fn a_bus_without_its_adapter_is_a_warning_and_a_blocked_one_an_error() {
        let waiting = BusStatus { waiting: true, adapter: None, ..with_problem("", "waiting for it") };
        assert_eq!(bus(&waiting).level, Level::Warning);
        let found = adapter(&waiting).unwrap();
        assert_eq!((found.check.as_str(), found.level), (ADAPTER_AWAY, Level::Warning));
        assert_eq!(bus(&BusStatus { blocked: true, ..waiting }).level, Level::Error);
        assert_eq!(bus(&with_problem("bus-off", "it left the bus")).level, Level::Warning);
        let of_a_member = BusStatus { problems: vec!["can0 is taken".into()], ..on_adapter("error-active") };
        assert_eq!(bus(&of_a_member).level, Level::Error);
        assert_eq!(adapter(&of_a_member).unwrap().level, Level::Pass, "it is not the adapter's fault");
    }

    #[test]
    fn missing_parts_are_listed_with_the_fix() {
        let steps =
            ["the hub was missing (vcan-body)", "b", "c", "d", "not wanted"].map(str::to_owned).to_vec();
        let leftovers = vec!["not wanted".to_owned()];
        let missing = BusStatus { owner: Ownership::Owned, steps, leftovers, ..on_adapter("") };
        let found = bus(&missing);
        assert_eq!(
            found.sentence,
            "bus wire needs repair: the hub was missing (vcan-body), b, c, and 1 more"
        );
        assert_eq!(
            (found.level, found.remedy, found.fix.as_deref()),
            (Level::Error, Some(Remedy::Heal), Some("canhub doctor --fix"))
        );
        assert!(bus(&BusStatus { heal: false, ..missing }).sentence.contains("healing is off"));
        assert_eq!(bus(&on_adapter("error-active")).level, Level::Pass);
    }
}
