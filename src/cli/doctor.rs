//! `canhub doctor`: checks everything, prints problems and their fixes, and applies the safe ones with `--fix`.

mod examine;
mod fix;
mod gate;
mod report;
#[cfg(test)]
mod schema;

use std::{
    io::{IsTerminal, stdout},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use super::{
    Failed,
    ask::{AdminSocket, PLUGINS},
    lines,
};
use crate::checks::{Files, Finding, Level};
use report::DoctorReport;

/// Threads for kernel calls; a call that hangs keeps its thread.
const BLOCKING_THREADS: usize = 16;

/// Check everything that buses depend on, and print each problem and its fix
///
/// Runs without root, without a daemon and without Docker, and reports what it could not check.
/// Exit codes: 0 no errors (there may be warnings), 1 at least one error, 2 bad usage. With --wait: 0 healthy, 1 not healthy
/// in time, 2 bad usage, 3 canhub never answered.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Apply the fixes that are safe: load kernel modules, heal buses (including those with healing off), remove stale
    /// sockets and leftover interfaces, import rustycan4docker's networks, enable the units. Never touches anything
    /// that is not canhub's
    #[arg(long)]
    fix: bool,
    /// Print what --fix would do
    #[arg(long)]
    dry_run: bool,
    /// Print JSON (docs/doctor.schema.json; with --wait the answer of /v1/health)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gate: gate::Gate,
    /// Plugin socket; its file name is the driver name
    #[arg(
        long,
        env = "CANHUB_SOCKET",
        default_value = "/run/docker/plugins/canhub.sock",
        value_name = "PATH"
    )]
    socket: PathBuf,
    /// State folder of canhub [default: /var/lib/canhub, or that of the managed plugin]
    #[arg(long, env = "CANHUB_STATE_DIR", value_name = "PATH")]
    state_dir: Option<PathBuf>,
    /// Docker API socket
    #[arg(long, env = "CANHUB_DOCKER_SOCKET", default_value = "/run/docker.sock", value_name = "PATH")]
    docker_socket: PathBuf,
    #[command(flatten)]
    admin: AdminSocket,
}

impl Doctor {
    pub(super) fn run(self) -> Result<(), Failed> {
        if self.gate.waits() {
            return self.gate.pass(&self.admin, self.json);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .build()
            .map_err(|err| format!("cannot start: {err}"))?;
        let report = runtime.block_on(self.examine_and_fix());
        // Do not wait for threads that hang in the kernel.
        runtime.shutdown_timeout(Duration::ZERO);
        let text = match self.json {
            true => serde_json::to_string_pretty(&report).unwrap_or_default() + "\n",
            false => report.render(
                stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty()),
            ),
        };
        lines::print(&text);
        if report.errors > 0 { Err(Failed::Found) } else { Ok(()) }
    }

    async fn examine_and_fix(&self) -> DoctorReport {
        let files = Files::default();
        let findings = self.examine(&files).await;
        if !self.fix && !self.dry_run {
            return DoctorReport::new(findings, Vec::new());
        }
        let mended = self.apply_remedies(&files, &findings).await;
        let findings = match self.dry_run {
            true => findings,
            // The report shows the state after the fixes.
            false => self.examine(&files).await,
        };
        DoctorReport::new(findings, mended)
    }

    /// The driver name that Docker uses, without a tag.
    fn driver(&self) -> String {
        self.socket.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The state folder; that of the managed plugin is in a folder named by its ID.
    fn state_dir(&self) -> PathBuf {
        let of_plugin = || {
            let admin = self.admin.path();
            let folder = admin.parent().filter(|folder| folder.parent() == Some(Path::new(PLUGINS)))?;
            let id = folder.file_name()?;
            Some(Path::new("/var/lib/docker/plugins").join(id).join("propagated-mount"))
        };
        self.state_dir.clone().or_else(of_plugin).unwrap_or_else(|| "/var/lib/canhub".into())
    }
}

/// The level of the worst finding.
fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Pass)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn doctor(dir: &Path, more: &[&str]) -> Doctor {
        let at = |option: &str, name: &str| [option.to_owned(), dir.join(name).display().to_string()];
        let places = [
            at("--socket", "canhub.sock"),
            at("--state-dir", "state"),
            at("--docker-socket", "docker.sock"),
            at("--admin-socket", "admin.sock"),
        ];
        let args = ["canhub", "health"].into_iter().chain(more.iter().copied()).map(str::to_owned);
        match Cli::try_parse_from(args.chain(places.into_iter().flatten())).unwrap().command {
            Command::Doctor(doctor) => doctor,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn without_docker_and_canhub_the_report_matches_the_schema() {
        let dir = tempfile::tempdir().unwrap();
        let report = doctor(dir.path(), &["--json"]).examine_and_fix().await;
        let value = serde_json::to_value(&report).unwrap();
        assert_eq!(schema::faults(&schema::of_doctor(), &value, "$"), Vec::<String>::new());
        let level = |check: &str| {
            let findings = value["findings"].as_array().unwrap();
            findings
                .iter()
                .find(|one| one["check"] == check)
                .map_or("none", |one| one["level"].as_str().unwrap())
        };
        assert_eq!((level("engine"), level("driver"), level("daemon")), ("pass", "error", "warning"));
        assert_eq!((level("kernel"), level("records"), level("stale-socket")), ("pass", "pass", "pass"));
        assert!(report.errors >= 1 && !dir.path().join("state").exists(), "a check creates nothing");
    }

    #[tokio::test]
    async fn a_dry_run_removes_nothing_and_fix_does() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("canhub.sock");
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        let told = doctor(dir.path(), &["--dry-run"]).examine_and_fix().await;
        assert!(told.render(false).contains("would remove the stale socket") && socket.exists());
        let files = Files::default();
        let fix = doctor(dir.path(), &["--fix"]);
        let stale: Vec<Finding> =
            crate::checks::leftovers::sockets(&socket, &dir.path().join("admin.sock")).await;
        let mended = fix.apply_remedies(&files, &stale).await;
        assert!(mended.len() == 1 && !socket.exists(), "{mended:?}");
    }
}
