//! Each bus: is it in the desired state, how is its adapter, has it lost frames.
//!
//! Compares two snapshots taken a moment apart: what Docker is just doing looks like a fault in one of them only.

use super::{Finding, Group, Level, bus, losses};
use crate::status::{BusStatus, Status};

const GROUP: Group = Group::Buses;

/// Checks all buses. With a single snapshot, `now` is `before`.
pub fn look(before: &Status, now: &Status) -> Vec<Finding> {
    if now.buses.is_empty() {
        let sentence =
            "no buses yet; create one with `docker network create -d canhub --ipam-driver null mybus`";
        return vec![Finding::pass(GROUP, "bus", sentence)];
    }
    let each = now.buses.iter().flat_map(|bus| {
        let earlier = before.buses.iter().find(|earlier| earlier.network == bus.network).unwrap_or(bus);
        of_bus(earlier, bus)
    });
    each.chain(now.buses.iter().filter_map(|bus| twice(bus, &now.buses))).collect()
}

/// A bus that canhub made and that has the name of a network of Docker's, which Docker could not know.
fn twice(made: &BusStatus, all: &[BusStatus]) -> Option<Finding> {
    let is_other = |other: &&BusStatus| !other.network.is_made() && other.network_name == made.network_name;
    let other = all.iter().filter(|_| made.network.is_made()).find(is_other)?;
    let (name, made, dockers) = (&made.network_name, made.network.short(), other.network.short());
    let sentence = format!(
        "{name} is the name of two buses, {made} of `canhub bus create` and {dockers} of Docker's, so commands take only these IDs"
    );
    let hint = format!(
        "remove one of them and make it again with another name: `canhub bus rm {made}` or `docker network rm {dockers}`"
    );
    Some(Finding::warning(GROUP, "bus-name", sentence).hint(hint).about(name))
}

/// Whether any bus has containers, so that can-gw must be loaded.
pub fn forwards(status: &Status) -> bool {
    status.buses.iter().any(|bus| bus.joined().next().is_some())
}

/// Checks one bus.
pub fn of_bus(before: &BusStatus, now: &BusStatus) -> Vec<Finding> {
    let name = &now.network_name;
    // A step that appears in only one snapshot is work in progress.
    let steps = now.steps.iter().filter(|step| before.steps.contains(step)).cloned().collect();
    let now = &BusStatus { steps, ..now.clone() };
    // In a list, each sentence must say which bus it is about.
    let on_bus =
        |finding: Finding| Finding { sentence: format!("bus {name}: {}", finding.sentence), ..finding };
    let mut findings: Vec<Finding> = bus::missing(now).into_iter().collect();
    findings.extend(bus::problems(now).into_iter().map(on_bus));
    findings.extend(bus::adapter(now).map(on_bus));
    findings.extend(losses::lost(now));
    if findings.iter().all(|finding| finding.level == Level::Pass) {
        findings.insert(0, bus::sound(now));
    }
    findings.into_iter().map(|finding| finding.about(name)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{attachment::MemberKind, names::NetworkId, status::MemberStatus};

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

    #[track_caller]
    fn one(bus: &BusStatus) -> Finding {
        let findings = of_bus(bus, bus);
        let [finding] = &findings[..] else { panic!("{findings:#?}") };
        finding.clone()
    }

    #[test]
    fn a_healthy_bus_passes_and_names_silent_members() {
        let sound = one(&bus(json!({})));
        assert_eq!((sound.level, sound.subject.as_deref()), (Level::Pass, Some("garage")));
        assert_eq!(sound.sentence, "bus garage is healthy: hub vcan7, 1 container");
        let mut silent = bus(json!({}));
        silent.members[0].traffic.frames_out.handled = 0;
        let silent = one(&silent);
        assert!(
            silent.level == Level::Pass && silent.sentence.ends_with("no frames yet from ecu1"),
            "{silent:?}"
        );
    }

    #[test]
    fn members_without_docker_are_called_what_they_are() {
        let mut mixed = bus(json!({}));
        for kind in [MemberKind::Podman, MemberKind::Namespace, MemberKind::Namespace, MemberKind::Pod] {
            let other = MemberStatus { kind, ..mixed.members[0].clone() };
            mixed.members.push(other);
        }
        let sentence = one(&mixed).sentence;
        assert!(sentence.ends_with("1 container, 1 Podman container, 1 pod, 2 namespaces"), "{sentence}");
    }

    #[test]
    fn a_name_that_docker_gave_to_another_bus_is_reported_once_with_both_ids() {
        let named = |network: &NetworkId, name: &str| BusStatus {
            network_name: name.into(),
            network: network.clone(),
            ..bus(json!({}))
        };
        let (made, dockers) = (NetworkId::from(7), NetworkId::try_from("a1".repeat(32)).unwrap());
        let both = [named(&dockers, "body"), named(&made, "body")];
        assert_eq!(twice(&both[0], &both), None);
        let finding = twice(&both[1], &both).unwrap();
        assert_eq!((finding.level, finding.subject.as_deref()), (Level::Warning, Some("body")));
        for id in [made.short(), dockers.short()] {
            assert!(
                finding.sentence.contains(id) && finding.hint.as_ref().unwrap().contains(id),
                "{finding:?}"
            );
        }
        let others = [named(&dockers, "body"), named(&made, "seat")];
        assert_eq!(twice(&others[1], &others), None);
    }

    #[test]
    fn only_a_step_in_both_snapshots_counts() {
        let broken = bus(json!({"steps": ["the hub was missing (vcan7)"], "heal": false}));
        assert_eq!(of_bus(&bus(json!({})), &broken)[0].level, Level::Pass, "work in progress");
        let finding = one(&broken);
        assert_eq!((finding.level, finding.is_fixable()), (Level::Error, true));
        assert!(
            finding.sentence.contains("the hub was missing (vcan7); healing is off"),
            "{}",
            finding.sentence
        );
        let many = bus(json!({"steps": ["a", "b", "c", "d", "e"]}));
        assert!(one(&many).sentence.ends_with("a, b, c, and 2 more"));
    }

    #[test]
    fn problems_keep_their_sentence_and_their_command() {
        let away =
            "waiting for adapter can0: it joins when it is plugged in (`ip -br link` lists what there is)";
        let waiting = one(&bus(json!({
            "problems": [away], "adapter_problems": [away], "waiting": true, "owner": "adapter", "hub": "can0",
        })));
        assert_eq!(
            (waiting.level, waiting.fix.as_deref()),
            (Level::Warning, None),
            "a listing command is not a fix"
        );
        assert_eq!(waiting.sentence, format!("bus garage: {away}"));
        let down = "adapter can0 is down: bring it up";
        let down = one(&bus(json!({
            "problems": [down], "adapter_problems": [down], "fixes": {down: "ip link set can0 up"}, "owner": "adapter",
        })));
        assert_eq!((down.level, down.fix.as_deref()), (Level::Error, Some("ip link set can0 up")));
        let shared = "adapter vcan7 is down: bring it up";
        let shared = one(&bus(json!({"problems": [shared], "fixes": {shared: "ip link set vcan7 up"}})));
        assert_eq!((shared.fix.as_deref(), shared.hint), (Some("ip link set vcan7 up"), None));
        let taken =
            "interface vcan7 already exists and is not canhub's: use the interface with adapter=vcan7";
        let taken = one(&bus(json!({"problems": [taken]})));
        assert!(taken.hint.as_ref().is_some_and(|hint| hint.contains("show vcan7")), "{taken:?}");
        assert_eq!((taken.check.as_str(), taken.level), ("bus", Level::Error));
    }

    #[test]
    fn a_bus_with_a_healthy_adapter_passes() {
        let adapter = bus(json!({"adapter": {
            "interface": "can0", "state": "error-active", "bitrate": 500_000, "tx_errors": 128, "rx_errors": 3,
            "bus_offs": 2, "restarts": 0,
        }, "owner": "adapter", "hub": "can0"}));
        let both = of_bus(&adapter, &adapter);
        assert!(both.len() == 2 && both.iter().all(|finding| finding.level == Level::Pass), "{both:#?}");
        for words in ["transmit 128, receive 3", "bus-off 2 times"] {
            assert!(both[1].sentence.contains(words), "{both:#?}");
        }
    }

    #[test]
    fn lost_frames_are_a_warning_for_as_long_as_they_are_known() {
        let loss = |frames: u64, direction: &str, cause: &str, ago: Option<u64>| {
            json!({"endpoint": "b2".repeat(32), "container": "ecu1", "interface": "can0", "direction": direction,
                "cause": cause, "frames": frames, "last_seen": ago.map(|_| "2026-11-26T12:00:00.000Z"), "last_seen_s": ago})
        };
        let losing = bus(
            json!({"losses": [loss(349, "in", "backlog", Some(12)), loss(77, "out", "backlog", Some(700)), loss(5, "in", "rule", None)]}),
        );
        let finding = one(&losing);
        assert_eq!((finding.check.as_str(), finding.level), ("dropped-frames", Level::Warning));
        assert_eq!(
            finding.sentence,
            "bus garage has lost frames, 431 so far: 5 to ecu1 (the destination was down or its queue was full), 349 to ecu1, 77 from ecu1 (the kernel's backlog was full); last seen at 2026-11-26T12:00:00.000Z, 12 s ago"
        );
        assert!(finding.hint.as_ref().is_some_and(|hint| hint.contains("netdev_max_backlog")), "{finding:?}");
        // Health forgets what stopped.
        let health = bus::bus(&losing);
        assert_eq!(health.level, Level::Warning);
        assert!(
            health.sentence.starts_with("bus garage loses frames, 349 so far: 349 to ecu1"),
            "{health:?}"
        );
        let quiet =
            bus(json!({"losses": [loss(349, "in", "backlog", Some(120)), loss(5, "in", "rule", None)]}));
        assert_eq!(bus::bus(&quiet).level, Level::Pass);
        assert_eq!(one(&quiet).level, Level::Warning);
        let earlier = one(&bus(json!({"losses": [loss(5, "in", "rule", None)]})));
        assert!(earlier.sentence.ends_with("before canhub started"), "{earlier:?}");
    }

    #[test]
    fn without_buses_the_next_step_is_suggested() {
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
