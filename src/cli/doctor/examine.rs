//! Runs all checks at once, each with a time limit: a check that hangs is one finding and delays nothing.

use std::{path::PathBuf, sync::Arc, time::Duration};

use hyper::Method;
use tokio::time::{sleep, timeout};

use super::Doctor;
use crate::{
    checks::{
        Files, Finding, Group, Level,
        backlog::{self, BACKLOG, Largest, Witness},
        buses,
        docker::Docker,
        driver::{Driver, MANAGED},
        expectations, faults, foreign_rules, leftovers, records, span, system, units,
    },
    cli::Failed,
    error::{Error, Listed},
    kernel::{Kernel, Linux, boot_id},
    manager::Manager,
    network::Network,
    state::Store,
    status::Status,
};

/// All reads take milliseconds; longer than this means that the kernel or a disk hangs.
const TIME_LIMIT: Duration = Duration::from_secs(8);
/// canhub answers within milliseconds.
const DAEMON_LIMIT: Duration = Duration::from_secs(4);
/// Interval between two samples, to see what grows and what persists.
const SAMPLE: Duration = Duration::from_secs(1);

/// Where the status of the buses comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The daemon.
    Daemon,
    /// Computed here, with the same planner, from the records and the kernel.
    Records,
}

impl Doctor {
    /// Runs all checks.
    pub(super) async fn examine(&self, files: &Files) -> Vec<Finding> {
        let (asked, first) = self.first_status(files).await;
        let forwards = first.as_ref().is_ok_and(|(_, status)| buses::forwards(status));
        let expects = first.as_ref().is_ok_and(|(_, status)| !status.expectations.is_empty());
        let witness = first.as_ref().map(|(_, status)| Witness::of(status, files)).unwrap_or_default();
        let largest = first.as_ref().ok().and_then(|(_, status)| Largest::of(status));
        let docker = Docker { socket: self.docker_socket.clone(), driver: self.driver() };
        let driver =
            Driver { socket: self.socket.clone(), name: self.driver(), docker: self.docker_socket.clone() };
        let state_dir = self.state_dir();
        let admin = self.admin.path();
        let running = asked.is_ok();
        let buses = match &first {
            Ok((Source::Daemon, status)) => status.buses.len(),
            _ => 0,
        };
        let known = self.recorded().await;
        let (system, of_backlog, records, rustycan, units, in_docker, of_driver, of_buses, sockets, others) = tokio::join!(
            reading(Group::System, "kernel", files, move |files| {
                [system::look(&files, forwards, expects), system::privileges(&files)].concat()
            }),
            reading(Group::System, BACKLOG, files, move |files| {
                backlog::look(&files, SAMPLE, largest.as_ref(), witness)
            }),
            reading(Group::Buses, "records", files, {
                let folder = state_dir.clone();
                move |_| records::look(&folder, buses)
            }),
            reading(Group::Leftovers, leftovers::RUSTYCAN, files, move |files| {
                let known = Store::observing(state_dir, boot_id()).load().networks;
                leftovers::rustycan(&files, &known, running)
            }),
            reading(Group::Docker, "units", files, |files| units::look(&files)),
            docker.look(files, &known),
            driver.look(files),
            self.of_buses(files, first),
            leftovers::sockets(&self.socket, &admin),
            docker.of_other_engines(&known, &self.socket),
        );
        let is_managed = of_driver.iter().any(|finding| finding.check == MANAGED);
        let units = if is_managed { Vec::new() } else { units };
        let daemon = vec![asked.unwrap_or_else(|failed| unreachable(failed, &of_driver))];
        let mut findings = [
            system, of_backlog, of_driver, in_docker, units, daemon, records, of_buses, sockets, rustycan,
            others,
        ]
        .concat();
        // The sort is stable, so this order remains within each group.
        findings.sort_by_key(|finding| finding.group);
        findings
    }

    /// The recorded networks; none if they cannot be read, which the check of the records reports.
    async fn recorded(&self) -> Vec<Network> {
        let store = Store::observing(self.state_dir(), boot_id());
        blocking(move || store.load().networks).await.unwrap_or_default()
    }

    /// The status of the buses from the daemon or, if it does not answer, from its records and the kernel.
    async fn first_status(
        &self,
        files: &Files,
    ) -> (Result<Finding, Failed>, Result<(Source, Status), String>) {
        match self.ask_daemon().await {
            Ok(status) => (Ok(daemon(&status)), Ok((Source::Daemon, status))),
            Err(failed) => {
                (Err(failed), self.status_from_records(files).await.map(|status| (Source::Records, status)))
            }
        }
    }

    async fn ask_daemon(&self) -> Result<Status, Failed> {
        let body = self.admin.ask(Method::GET, "/v1/status", DAEMON_LIMIT).await?;
        serde_json::from_slice(&body).map_err(|err| Failed::Because(format!("it is another version ({err})")))
    }

    /// The same without the daemon. Changes nothing.
    async fn status_from_records(&self, files: &Files) -> Result<Status, String> {
        // Without full access, everything that cannot be read would look missing.
        if !system::lacking(files).is_empty() {
            return Err("only root can read the records and the interfaces inside containers".into());
        }
        let (driver, folder) = (self.driver(), self.state_dir());
        blocking(move || status_from_records(&driver, folder)).await?
    }

    async fn of_buses(&self, files: &Files, first: Result<(Source, Status), String>) -> Vec<Finding> {
        let (source, first) = match first {
            Ok(found) => found,
            Err(why) => {
                let sentence = format!("cannot inspect the buses: {why}");
                return vec![
                    Finding::warning(Group::Buses, "bus", sentence).hint("run `sudo canhub doctor`"),
                ];
            }
        };
        let mut second = None;
        if !first.buses.is_empty() {
            sleep(SAMPLE).await;
            second = match source {
                Source::Daemon => self.ask_daemon().await.ok(),
                Source::Records => self.status_from_records(files).await.ok(),
            };
        }
        let second = second.unwrap_or_else(|| first.clone());
        let mut findings = buses::look(&first, &second);
        if source == Source::Daemon {
            findings.extend(second.expectations.iter().map(expectations::finding));
            findings.extend(second.faults.iter().map(faults::finding));
            findings.extend(span::look(&second));
        }
        findings.push(leftovers::links(&second));
        let driver = self.driver();
        let rules = blocking(move || {
            let kernel = Linux::new(&driver);
            let links = kernel.links().map_err(Error::kernel(Listed::Links));
            let rules = kernel.rules().map_err(Error::kernel(Listed::Rules));
            let (links, rules) =
                (links.map_err(|err| err.to_string())?, rules.map_err(|err| err.to_string())?);
            Ok(foreign_rules::look(&links, &rules, &second.buses))
        });
        match rules.await.and_then(|looked: Result<_, String>| looked) {
            Ok(rules) => findings.extend(rules),
            Err(why) => {
                let sentence = format!("cannot look for foreign can-gw rules: {why}");
                findings.push(
                    Finding::warning(Group::Leftovers, "foreign-rules", sentence)
                        .hint("`cangw -L` lists all rules"),
                );
            }
        }
        findings
    }
}

fn status_from_records(driver: &str, folder: PathBuf) -> Result<Status, String> {
    // Without the records, everything that exists would look like a leftover.
    if let Err(err) = std::fs::read_dir(&folder)
        && err.kind() != std::io::ErrorKind::NotFound
    {
        return Err(format!("cannot read the records in {} ({err})", folder.display()));
    }
    let store = Store::observing(folder, boot_id());
    let manager = Manager::new(Arc::new(Linux::new(driver)), store, Files::default(), true);
    manager.status().map_err(|err| err.to_string())
}

/// The daemon did not answer. If the driver does not either, its finding has the reason and the fix.
fn unreachable(failed: Failed, driver: &[Finding]) -> Finding {
    let (why, fix) = match failed {
        Failed::Unreachable { why, fix } => (why, fix),
        Failed::Because(why) => (why, None),
        Failed::Found => (String::new(), None),
    };
    let warning = |sentence: String| Finding::warning(Group::Buses, "daemon", sentence);
    match driver.iter().find(|finding| finding.level == Level::Error) {
        Some(Finding { fix: Some(fix), .. }) => {
            warning("canhub did not answer; its records were compared with the kernel instead".into()).by(fix)
        }
        _ => {
            let finding = warning(format!("canhub did not answer: {why}"));
            match fix {
                Some(fix) => finding.by(fix),
                None => finding.hint("run `sudo canhub doctor`"),
            }
        }
    }
}

fn daemon(status: &Status) -> Finding {
    let Status { version, heal, buses, .. } = status;
    let check = "daemon";
    let own = env!("CARGO_PKG_VERSION");
    if version != own {
        let sentence = format!(
            "the running canhub is version {version}, this program is {own}: restart it after the upgrade"
        );
        return Finding::warning(Group::Buses, check, sentence)
            .hint("run `systemctl restart canhub`; buses keep running");
    }
    let count = match buses.len() {
        1 => "1 bus".to_owned(),
        count => format!("{count} buses"),
    };
    let heal = if *heal { "on" } else { "off (--no-heal)" };
    Finding::pass(Group::Buses, check, format!("canhub {version} is running with {count}; healing is {heal}"))
}

/// Runs a check on a separate thread.
async fn reading(
    group: Group,
    check: &'static str,
    files: &Files,
    look: impl FnOnce(Files) -> Vec<Finding> + Send + 'static,
) -> Vec<Finding> {
    let files = files.clone();
    blocking(move || look(files)).await.unwrap_or_else(|why| {
        vec![
            Finding::error(group, check, format!("cannot run this check: {why}"))
                .hint("see `dmesg | tail -n 50`"),
        ]
    })
}

/// Runs work that may hang with the kernel; returns an error if it takes too long.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    match timeout(TIME_LIMIT, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) => Err("internal error in this check".into()),
        Err(_) => Err(format!("the kernel or a disk did not answer within {} s", TIME_LIMIT.as_secs())),
    }
}
