use std::time::UNIX_EPOCH;

use super::*;
use crate::{checks::Group, health::policy::Pattern};

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn found(check: &str, level: Level) -> CheckResult {
    CheckResult::Found(Finding {
        group: Group::Buses,
        check: check.into(),
        subject: None,
        level,
        sentence: format!("it is {level:?}"),
        fix: (level == Level::Error).then(|| "mend it".to_owned()),
        hint: None,
        remedy: None,
    })
}

fn bus() -> Key {
    Key::Bus("a1".repeat(32).try_into().unwrap())
}

fn adapter() -> Key {
    Key::Adapter("a1".repeat(32).try_into().unwrap())
}

fn board(threshold: u32, needs: &[(&str, Need)]) -> Board {
    let needs = needs.iter().map(|(name, need)| (Pattern::Exactly((*name).to_owned()), *need)).collect();
    Board::new(Policy { threshold, needs, ..Policy::default() }, at(0))
}

/// A board on which everything is healthy.
fn well(threshold: u32, needs: &[(&str, Need)]) -> Board {
    let mut board = board(threshold, needs);
    for (key, name) in
        [(Key::Kernel, "kernel"), (Key::Docker, "docker"), (Key::State, "state"), (bus(), "bus:body")]
    {
        assert_eq!(
            board.record(key, name, found("a", Level::Pass), None, at(1)),
            None,
            "good news is no news"
        );
    }
    let told = board.conclude(at(1)).unwrap();
    assert_eq!((told.from, told.to), (HealthStatus::Unknown, HealthStatus::Healthy));
    board
}

impl Board {
    fn look(
        &mut self,
        key: Key,
        name: &str,
        outcome: CheckResult,
        now: u64,
    ) -> (Option<Change>, HealthStatus) {
        let change = self.record(key, name, outcome, Some(Duration::from_micros(7)), at(now));
        self.conclude(at(now));
        (change, self.report().status)
    }

    fn component(&self, name: &str) -> Component {
        let components = self.report().components;
        let component = components.iter().find(|one| one.component == name).cloned();
        component.unwrap_or_else(|| panic!("no {name} in {components:?}"))
    }
}

#[test]
fn before_the_first_check_the_status_is_unknown_and_not_healthy() {
    let mut board = board(1, &[]);
    let report = board.report();
    assert_eq!(report.status, HealthStatus::Unhealthy);
    let names: Vec<&str> = report.components.iter().map(|one| one.component.as_str()).collect();
    assert_eq!(names, ["kernel", "docker", "state"]);
    assert!(
        report.components.iter().all(|one| one.status == HealthStatus::Unknown && one.last_check.is_none())
    );
    assert_eq!(board.conclude(at(1)), None, "nothing to report yet");
    board.look(Key::Kernel, "kernel", found("a", Level::Pass), 1);
    let (_, status) = board.look(Key::State, "state", found("a", Level::Pass), 1);
    assert_eq!(status, HealthStatus::Degraded, "Docker is optional, and unknown");
}

#[test]
fn a_required_component_makes_it_unhealthy_and_an_optional_one_degraded() {
    let fails = || found("a", Level::Error);
    assert_eq!(well(1, &[]).look(bus(), "bus:body", fails(), 2).1, HealthStatus::Unhealthy);
    assert_eq!(well(1, &[]).look(Key::Docker, "docker", fails(), 2).1, HealthStatus::Degraded);
    let warning = || found("a", Level::Warning);
    assert_eq!(well(1, &[]).look(bus(), "bus:body", warning(), 2).1, HealthStatus::Degraded);
    let docker = [("docker", Need::Required), ("bus:body", Need::Ignored)];
    assert_eq!(well(1, &docker).look(Key::Docker, "docker", fails(), 2).1, HealthStatus::Unhealthy);
    let mut ignoring = well(1, &docker);
    assert_eq!(ignoring.look(bus(), "bus:body", fails(), 2), (None, HealthStatus::Healthy));
    assert_eq!(ignoring.component("bus:body").status, HealthStatus::Unwatched);
}

#[test]
fn the_threshold_must_be_reached_and_one_success_recovers() {
    let mut board = well(3, &[]);
    let fails = || found("a", Level::Error);
    for time in 2..4 {
        assert_eq!(board.look(bus(), "bus:body", fails(), time), (None, HealthStatus::Healthy));
        assert!(board.suspects(|_| true));
        assert_eq!(board.component("bus:body").failures, (time - 1) as u32);
    }
    board.look(bus(), "bus:body", found("a", Level::Pass), 4);
    assert_eq!(
        (board.component("bus:body").failures, board.suspects(|_| true)),
        (0, false),
        "it starts anew"
    );
    for time in 5..7 {
        assert_eq!(board.look(bus(), "bus:body", fails(), time).1, HealthStatus::Healthy);
    }
    let (change, status) = board.look(bus(), "bus:body", fails(), 7);
    let change = change.unwrap();
    assert_eq!(
        (change.from, change.to, status),
        (HealthStatus::Healthy, HealthStatus::Unhealthy, HealthStatus::Unhealthy)
    );
    let component = board.component("bus:body");
    assert_eq!((component.fix.as_deref(), component.took_us), (Some("mend it"), Some(7)));
    assert_eq!((component.since.as_str(), board.suspects(|_| true)), ("1970-01-01T00:00:07.000Z", false));
    board.look(bus(), "bus:body", fails(), 8);
    assert_eq!(board.component("bus:body").since, component.since, "the status has not changed since");
    let (change, status) = board.look(bus(), "bus:body", found("a", Level::Pass), 9);
    assert_eq!(
        (change.map(|change| change.to), status),
        (Some(HealthStatus::Healthy), HealthStatus::Healthy)
    );
    assert_eq!(board.component("bus:body").fix, None);
}

#[test]
fn getting_worse_needs_its_own_consecutive_failures() {
    let mut board = well(2, &[]);
    for time in 2..9 {
        board.look(bus(), "bus:body", found("a", Level::Warning), time);
    }
    assert_eq!(board.component("bus:body").status, HealthStatus::Degraded);
    board.look(bus(), "bus:body", found("a", Level::Error), 9);
    assert_eq!(
        board.component("bus:body").status,
        HealthStatus::Degraded,
        "one failed check is below the threshold"
    );
    board.look(bus(), "bus:body", found("a", Level::Error), 10);
    assert_eq!(board.component("bus:body").status, HealthStatus::Unhealthy);
}

#[test]
fn a_missing_adapter_is_degraded_unless_required() {
    let away = || found(ADAPTER_AWAY, Level::Warning);
    let mut board = well(1, &[]);
    assert_eq!(board.look(adapter(), "adapter:can0", away(), 2).1, HealthStatus::Degraded);
    assert_eq!(board.component("adapter:can0").status, HealthStatus::Degraded);
    let mut board = well(1, &[("adapter:can0", Need::Required)]);
    assert_eq!(board.look(adapter(), "adapter:can0", away(), 2).1, HealthStatus::Unhealthy);
    let other = found("adapter", Level::Warning);
    assert_eq!(board.look(adapter(), "adapter:can0", other, 3).1, HealthStatus::Degraded);
}

#[test]
fn what_cannot_be_checked_does_not_count_unless_required() {
    let blind = || CheckResult::Unwatched("canhub was given no socket".into());
    assert_eq!(well(1, &[]).look(Key::Docker, "docker", blind(), 2).1, HealthStatus::Healthy);
    let mut board = well(1, &[("docker", Need::Required)]);
    assert_eq!(board.look(Key::Docker, "docker", blind(), 2).1, HealthStatus::Unhealthy);
    assert!(board.component("docker").reason.contains("was given no socket"));
}

#[test]
fn an_early_check_has_a_reason_and_keeps_known_results() {
    let mut fresh = board(2, &[]);
    let early = || CheckResult::TooEarly("Docker starts after canhub".into());
    assert_eq!(fresh.look(Key::Docker, "docker", early(), 1).0, None);
    assert_eq!(fresh.component("docker").reason, "Docker starts after canhub");
    assert!(fresh.is_early(|_| true));
    let mut known = well(2, &[]);
    known.look(Key::Docker, "docker", early(), 2);
    assert_eq!(known.component("docker").status, HealthStatus::Healthy);
}

#[test]
fn deleted_buses_are_dropped_and_renames_are_followed() {
    let mut board = well(1, &[]);
    board.look(bus(), "bus:renamed", found("a", Level::Pass), 2);
    assert_eq!(board.surveyed(), [(bus(), "bus:renamed".to_owned())]);
    board.retain(|_| false);
    let names: Vec<String> = board.report().components.into_iter().map(|one| one.component).collect();
    assert_eq!(names, ["kernel", "docker", "state"]);
}

#[test]
fn the_summary_names_unhealthy_components_and_is_bounded() {
    let mut board = well(1, &[]);
    assert_eq!(board.report().reason, "all is well");
    board.look(Key::Docker, "docker", found("a", Level::Error), 2);
    assert_eq!(board.report().reason, "docker is unhealthy");
    board.look(bus(), "bus:body", found("a", Level::Warning), 2);
    assert_eq!(board.report().reason, "docker is unhealthy and bus:body is degraded");
    for number in 0..20 {
        let key = Key::Missing(format!("bus:{number:02}"));
        board.look(key, &format!("bus:{number:02}"), found("a", Level::Error), 3);
    }
    assert!(board.report().reason.ends_with("bus:05 is unhealthy and 14 more"), "{}", board.report().reason);
}
