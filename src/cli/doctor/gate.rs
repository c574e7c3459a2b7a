//! `canhub health --wait`: a boot gate that opens when the daemon's own health allows it.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use clap::Args;

use super::super::{
    Failed,
    ask::{AdminSocket, TIME_LIMIT, parsed},
    lines::{print, wrap},
};
use crate::health::{Component, HealthReport, HealthStatus};

/// Interval between requests. The daemon only returns cached results, so this is cheap.
const PAUSE: Duration = Duration::from_millis(500);
/// Minimum time to wait for a response, however little time is left.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether to wait until canhub is healthy, and how long.
#[derive(Debug, Args)]
pub(super) struct Gate {
    /// Check nothing; wait until the daemon reports that it is healthy or degraded (docs/health.toml), print what it is
    /// waiting for, and fail after --timeout
    #[arg(long, conflicts_with_all = ["fix", "dry_run"])]
    wait: bool,
    /// Seconds to wait with --wait
    #[arg(long, default_value = "120", value_name = "SECONDS", requires = "wait", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    timeout: u64,
    /// With --wait, require healthy: degraded is not enough
    #[arg(long, requires = "wait")]
    strict: bool,
}

impl Gate {
    /// Whether `--wait` was given.
    pub(super) fn waits(&self) -> bool {
        self.wait
    }

    /// Whether this report opens the gate.
    fn is_open(&self, report: &HealthReport) -> bool {
        report.status == HealthStatus::Healthy || (report.status == HealthStatus::Degraded && !self.strict)
    }

    /// Waits for the gate to open. Prints what it is waiting for whenever that changes; with `json`, only the last
    /// report.
    pub(super) fn pass(&self, socket: &AdminSocket, json: bool) -> Result<(), Failed> {
        let deadline = Instant::now() + Duration::from_secs(self.timeout);
        let mut last: Option<HealthReport> = None;
        let mut said = String::new();
        let mut say = |text: String| {
            if !json && text != said {
                print(&text);
                said = text;
            }
        };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let asked = ask(socket, left.clamp(PATIENCE, TIME_LIMIT));
            match &asked {
                Ok((report, _)) if self.is_open(report) => {
                    say(verdict(report) + &unwell(report));
                    if json {
                        print(&asked?.1);
                    }
                    return Ok(());
                }
                Ok((report, _)) => {
                    say(wrap(
                        "waiting: ",
                        &format!("canhub is {}: {}", report.status.as_str(), report.reason),
                    ));
                    last = Some(report.clone());
                }
                // Waiting does not make a root-only socket accessible.
                Err(Failed::Because(_)) => return asked.map(drop),
                Err(Failed::Unreachable { why, .. }) => say(wrap("waiting: ", why)),
                Err(Failed::Found) => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.closed(asked, last, json));
            }
            sleep(PAUSE.min(left));
        }
    }

    /// Time is up: prints what is still wrong, and why.
    fn closed(
        &self,
        asked: Result<(HealthReport, String), Failed>,
        last: Option<HealthReport>,
        json: bool,
    ) -> Failed {
        match (asked, last) {
            (Ok((report, body)), _) => {
                let head = format!("still {} after {} s\n", report.status.as_str(), self.timeout);
                print(&if json { body } else { head + &unwell(&report) });
                Failed::Found
            }
            // The daemon answered before and no longer does: it has stopped or hangs, which is a failure.
            (Err(Failed::Unreachable { why, .. }), Some(_)) => Failed::Because(why),
            (Err(failed), _) => failed,
        }
    }
}

/// The report, and its raw JSON.
fn ask(socket: &AdminSocket, limit: Duration) -> Result<(HealthReport, String), Failed> {
    let body = socket.get_anyway("/v1/health", limit)?;
    Ok((parsed(&body)?, String::from_utf8_lossy(&body).into_owned() + "\n"))
}

fn verdict(report: &HealthReport) -> String {
    wrap("", &format!("canhub is {}: {}", report.status.as_str(), report.reason))
}

fn unwell(report: &HealthReport) -> String {
    report.unwell().into_iter().map(line).collect()
}

fn line(component: &Component) -> String {
    let need = if component.required { " (required)" } else { "" };
    let status = format!("{:<11}", component.status.as_str());
    let mut text = wrap(&status, &format!("{}{need}: {}", component.component, component.reason));
    if let Some(hint) = &component.hint {
        text += &wrap(&format!("{:<11}", ""), &format!("hint: {hint}"));
    }
    if let Some(fix) = &component.fix {
        text += &wrap(&format!("{:<11}> ", ""), fix);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Facts;

    fn report(status: HealthStatus, bus: HealthStatus) -> HealthReport {
        let component = |component: &str, status, required, reason: &str, fix: Option<&str>| Component {
            component: component.into(),
            status,
            required,
            reason: reason.into(),
            fix: fix.map(str::to_owned),
            hint: None,
            last_check: None,
            since: "then".into(),
            took_us: None,
            failures: 0,
        };
        let components = vec![
            component("docker", HealthStatus::Degraded, false, &"word ".repeat(40), None),
            component("bus:body", bus, true, "the hub was missing", Some("canhub doctor --fix")),
        ];
        HealthReport {
            status,
            since: "then".into(),
            reason: "bus:body is unhealthy".into(),
            components,
            facts: Facts::default(),
        }
    }

    #[test]
    fn degraded_opens_the_gate_unless_strict() {
        let gate = |strict| Gate { wait: true, timeout: 1, strict };
        let open = |strict, status| gate(strict).is_open(&report(status, HealthStatus::Healthy));
        assert!(
            open(false, HealthStatus::Healthy)
                && open(false, HealthStatus::Degraded)
                && open(true, HealthStatus::Healthy)
        );
        assert!(!open(false, HealthStatus::Unhealthy) && !open(true, HealthStatus::Degraded));
    }

    #[test]
    fn the_list_fits_80_columns_and_starts_with_failures() {
        let report = report(HealthStatus::Unhealthy, HealthStatus::Unhealthy);
        let text = unwell(&report);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("bus:body (required): the hub was missing\n"), "{text}");
        assert!(text.contains("> canhub doctor --fix"), "{text}");
        assert!(text.find("bus:body") < text.find("docker"), "{text}");
    }
}
