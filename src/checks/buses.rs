//! Each bus: is it as it is wanted, how is its adapter, does anybody lose frames.
//!
//! Two pictures of the same buses, a moment apart: what Docker is just doing looks like a fault in one of
//! them only, and counters tell something only where they grow.

use super::{Finding, Group, Level, command_in};
use crate::{
    network::Ownership,
    plan::LEFTOVER,
    status::{AdapterStatus, BusStatus, MemberStatus, Status},
};

const GROUP: Group = Group::Buses;
/// What repairs a bus.
const DOCTOR: &str = "canhub doctor --fix";
/// What error-warning means to somebody who has not met it before.
pub(super) const SOME_FAIL: &str = "some of its frames fail; look for another bitrate than the others on the wire, missing termination (120 ohms at both ends) or bad wires";

/// Looks at all buses. Where there is only one picture, `now` is `before`.
pub fn look(before: &Status, now: &Status) -> Vec<Finding> {
    if now.buses.is_empty() {
        let sentence =
            "there is no bus yet; make one with `docker network create -d canhub --ipam-driver null mybus`";
        return vec![Finding::pass(GROUP, "bus", sentence)];
    }
    now.buses
        .iter()
        .flat_map(|bus| {
            let earlier = before.buses.iter().find(|earlier| earlier.network == bus.network).unwrap_or(bus);
            of_bus(earlier, bus)
        })
        .collect()
}

/// Whether containers are on any bus, so that can-gw has to be there.
pub fn forwards(status: &Status) -> bool {
    let joined = |bus: &BusStatus| bus.members.iter().any(|member| member.stage.sandbox().is_some());
    status.buses.iter().any(joined)
}

/// All about one bus.
pub fn of_bus(before: &BusStatus, now: &BusStatus) -> Vec<Finding> {
    let name = &now.network_name;
    let mut findings: Vec<Finding> = Vec::new();
    // One that came or went meanwhile is somebody at work. A leftover harms nobody, and is told as one.
    let stays = |step: &&String| before.steps.contains(step) && !step.starts_with(LEFTOVER);
    let steps: Vec<&String> = now.steps.iter().filter(stays).collect();
    if !steps.is_empty() {
        let off = if now.heal { "" } else { "; healing is off for it" };
        let sentence = format!("bus {name} is not as it should be: {}{off}", listed(&steps));
        findings.push(Finding::error(GROUP, "bus", sentence).by(DOCTOR).by_doctor());
    }
    findings.extend(now.problems.iter().map(|problem| of_problem(now, problem)));
    findings.extend(now.members.iter().filter_map(|member| losing(name, before, member)));
    if let Some(adapter) = &now.adapter {
        findings.extend(of_adapter(name, adapter, &now.problems));
    }
    if findings.iter().all(|finding| finding.level == Level::Pass) {
        findings.insert(0, Finding::pass(GROUP, "bus", sound(now)));
    }
    findings.into_iter().map(|finding| finding.about(name)).collect()
}

/// At most three of them; more help nobody.
fn listed(steps: &[&String]) -> String {
    let first: Vec<&str> = steps.iter().take(3).map(|step| step.as_str()).collect();
    match steps.len().saturating_sub(first.len()) {
        0 => first.join(", "),
        more => format!("{}, and {more} more", first.join(", ")),
    }
}

/// What only somebody else can mend. The plan's own sentence says it all, its command included.
fn of_problem(bus: &BusStatus, problem: &str) -> Finding {
    let waits = problem.starts_with("waiting for ");
    let limps = problem.contains(" is error-passive");
    let check = if waits || problem.starts_with("adapter ") { "adapter" } else { "bus" };
    let sentence = format!("bus {}: {problem}", bus.network_name);
    let finding = match waits || limps {
        true => Finding::warning(GROUP, check, sentence),
        false => Finding::error(GROUP, check, sentence),
    };
    match command_in(problem) {
        Some(command) => finding.by(command),
        None => finding.by(format!("ip -details link show {}    # whose is it?", bus.hub)),
    }
}

/// A controller that nothing was said about yet.
fn of_adapter(bus: &str, adapter: &AdapterStatus, problems: &[String]) -> Option<Finding> {
    let AdapterStatus { interface, state, tx_errors, rx_errors, .. } = adapter;
    if problems.iter().any(|problem| problem.contains(state.as_str()) || problem.contains("is down")) {
        return None;
    }
    let counters = match (tx_errors, rx_errors) {
        (Some(tx), Some(rx)) => format!(" (error counters: sending {tx}, receiving {rx})"),
        _ => String::new(),
    };
    let check = "adapter";
    let warning = |what: &str| {
        let sentence = format!("bus {bus}: adapter {interface} is {state}{counters}: {what}");
        Some(
            Finding::warning(GROUP, check, sentence)
                .by(format!("ip -details -statistics link show {interface}")),
        )
    };
    match state.as_str() {
        "error-warning" => warning(
            SOME_FAIL,
        ),
        "error-passive" => warning("nearly all of its frames fail; look at its bitrate, at termination and wires"),
        "bus-off" => Some(
            Finding::error(
                GROUP,
                check,
                format!("bus {bus}: adapter {interface} is bus-off{counters}: it met so many errors that it left the wire"),
            )
            .by(format!("ip link set {interface} down && ip link set {interface} up")),
        ),
        "error-active" => {
            let history = match adapter.bus_offs {
                0 => String::new(),
                times => format!("; it was bus-off {times} times since it was plugged in"),
            };
            Some(Finding::pass(GROUP, check, format!("bus {bus}: adapter {interface} is well{counters}{history}")))
        }
        "stopped" | "sleeping" => warning("no frame passes it"),
        _ => None,
    }
}

/// Frames to one member are being lost.
fn losing(bus: &str, before: &BusStatus, now: &MemberStatus) -> Option<Finding> {
    let earlier = before.members.iter().find(|earlier| earlier.endpoint == now.endpoint)?;
    let lost = now.traffic.frames_in.dropped.saturating_sub(earlier.traffic.frames_in.dropped);
    if lost == 0 {
        return None;
    }
    let who = called(now);
    let sentence = format!(
        "bus {bus}: {lost} frames to {who} were lost within the last moment: its interface {} is down or does not take them",
        now.interface
    );
    let fix = match &now.container {
        Some(container) => format!("docker exec {container} ip -statistics link show {}", now.interface),
        None => "cangw -L    # the rules whose `dropped` grows".to_owned(),
    };
    Some(Finding::warning(GROUP, "dropped-frames", sentence).by(fix))
}

/// What people call a member.
fn called(member: &MemberStatus) -> &str {
    member.container.as_deref().unwrap_or_else(|| member.endpoint.short())
}

fn sound(bus: &BusStatus) -> String {
    let joined: Vec<&MemberStatus> =
        bus.members.iter().filter(|member| member.stage.sandbox().is_some()).collect();
    let containers = match joined.len() {
        0 => "no container on it".to_owned(),
        1 => "1 container".to_owned(),
        several => format!("{several} containers"),
    };
    let silent: Vec<&str> = joined
        .iter()
        .filter(|member| member.traffic.frames_out.handled == 0)
        .map(|member| called(member))
        .collect();
    let silent = match silent[..] {
        [] => String::new(),
        ref all if all.len() == joined.len() && all.len() > 1 => "; none has sent a frame yet".to_owned(),
        ref some if some.len() <= 3 => format!("; no frame yet from {}", some.join(", ")),
        ref many => format!("; no frame yet from {} of them", many.len()),
    };
    let hub = match bus.owner {
        Ownership::Adapter => format!("adapter {}", bus.hub),
        Ownership::Owned | Ownership::Shared => format!("hub {}", bus.hub),
    };
    let heal = if bus.heal { "" } else { "; healing is off for it" };
    format!("bus {} is as it should be: {hub}, {containers}{silent}{heal}", bus.network_name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn bus(change: Value) -> BusStatus {
        let count = json!({"handled": 5, "dropped": 0});
        let mut bus = json!({
            "network": "a1".repeat(32), "network_name": "garage", "hub": "vcan7", "adapter": null, "owner": "owned",
            "frames": "fd", "heal": true, "steps": [], "problems": [], "heals": 0,
            "frames_in": count, "frames_out": count,
            "members": [{
                "endpoint": "b2".repeat(32), "container": "ecu1", "interface": "can0", "stage": "joined",
                "sandbox": "/x", "heals": 0, "frames_in": count, "frames_out": count,
            }],
        });
        for (key, value) in change.as_object().unwrap() {
            bus[key] = value.clone();
        }
        serde_json::from_value(bus).unwrap()
    }

    fn adapter(state: &str) -> Value {
        json!({"adapter": {
            "interface": "can0", "state": state, "bitrate": 500_000, "tx_errors": 128, "rx_errors": 3, "bus_offs": 0,
            "restarts": 0,
        }, "owner": "adapter", "hub": "can0"})
    }

    #[track_caller]
    fn one(bus: &BusStatus) -> Finding {
        let findings = of_bus(bus, bus);
        let [finding] = &findings[..] else { panic!("{findings:#?}") };
        finding.clone()
    }

    #[test]
    fn a_sound_bus_passes_and_says_who_was_never_heard() {
        let sound = one(&bus(json!({})));
        assert_eq!((sound.level, sound.subject.as_deref()), (Level::Pass, Some("garage")));
        assert_eq!(sound.sentence, "bus garage is as it should be: hub vcan7, 1 container");
        let mut silent = bus(json!({}));
        silent.members[0].traffic.frames_out.handled = 0;
        let silent = one(&silent);
        assert!(
            silent.level == Level::Pass && silent.sentence.ends_with("no frame yet from ecu1"),
            "{silent:?}"
        );
    }

    #[test]
    fn only_what_is_missing_twice_is_missing() {
        let broken = bus(json!({"steps": ["the hub was missing (vcan7)"], "heal": false}));
        assert_eq!(of_bus(&bus(json!({})), &broken)[0].level, Level::Pass, "somebody is at work");
        let finding = one(&broken);
        assert_eq!((finding.level, finding.fixable), (Level::Error, true));
        assert!(
            finding.sentence.contains("the hub was missing (vcan7); healing is off"),
            "{}",
            finding.sentence
        );
        let many = bus(json!({"steps": ["a", "b", "c", "d", "e"]}));
        assert!(one(&many).sentence.ends_with("a, b, c, and 2 more"));
    }

    #[test]
    fn problems_keep_their_words_and_their_command() {
        let waiting = bus(json!({"problems": [
            "waiting for adapter can0: it is not there; it joins when it is plugged in (`ip -br link` lists what there is)"
        ]}));
        let waiting = one(&waiting);
        assert_eq!((waiting.level, waiting.fix.as_deref()), (Level::Warning, Some("ip -br link")));
        let down =
            one(&bus(json!({"problems": ["adapter can0 is down: bring it up with `ip link set can0 up`"]})));
        assert_eq!((down.level, down.fix.as_deref()), (Level::Error, Some("ip link set can0 up")));
        let taken = "an interface vcan7 exists that canhub did not make: use it with adapter=vcan7";
        let taken = one(&bus(json!({"problems": [taken]})));
        assert!(taken.fix.as_ref().is_some_and(|fix| fix.contains("show vcan7")), "{taken:?}");
        assert_eq!((taken.check.as_str(), taken.level), ("bus", Level::Error));
    }

    #[test]
    fn each_state_of_a_controller_has_words_for_a_newcomer() {
        for (state, level, words) in [
            ("error-warning", Level::Warning, "termination"),
            ("error-passive", Level::Warning, "nearly all"),
            ("bus-off", Level::Error, "left the wire"),
            ("stopped", Level::Warning, "no frame passes"),
        ] {
            let finding = one(&bus(adapter(state)));
            assert!(finding.level == level && finding.sentence.contains(words), "{state}: {finding:?}");
            assert!(finding.fix.is_some());
        }
        let both = of_bus(&bus(adapter("error-active")), &bus(adapter("error-active")));
        assert!(both.len() == 2 && both.iter().all(|finding| finding.level == Level::Pass), "{both:#?}");
        assert!(both[1].sentence.contains("sending 128, receiving 3"));
    }

    #[test]
    fn what_the_plan_said_of_a_controller_is_not_said_twice() {
        let mut change = adapter("bus-off");
        change["problems"] = json!([
            "adapter can0 is bus-off: it left the wire; run `ip link set can0 down && ip link set can0 up`"
        ]);
        assert_eq!(one(&bus(change)).level, Level::Error);
    }

    #[test]
    fn frames_that_are_being_lost_are_a_warning() {
        let before = bus(json!({}));
        let mut now = before.clone();
        now.members[0].traffic.frames_in.dropped = 12;
        let [finding] = &of_bus(&before, &now)[..] else { panic!("one") };
        assert_eq!((finding.check.as_str(), finding.level), ("dropped-frames", Level::Warning));
        assert!(finding.sentence.contains("12 frames to ecu1"), "{}", finding.sentence);
        assert_eq!(one(&now).level, Level::Pass, "lost long ago");
    }

    #[test]
    fn no_bus_is_no_fault_and_the_next_step_is_told() {
        let status: Status = serde_json::from_value(json!({
            "version": "0", "since": "", "uptime_s": 0, "ready": true, "heal": true, "audit_age_s": 1.0, "buses": [],
            "leftovers": 0, "late": [],
        }))
        .unwrap();
        let finding = look(&status, &status).remove(0);
        assert!(finding.level == Level::Pass && finding.sentence.contains("docker network create -d canhub"));
        assert!(!forwards(&status));
        assert!(forwards(&Status { buses: vec![bus(json!({}))], ..status }));
    }
}
