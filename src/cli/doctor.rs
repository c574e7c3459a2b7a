//! `canhub doctor`: looks at everything, says what is wrong and how to mend it, and mends it when told to.

mod examine;
mod fix;
mod gate;
mod report;

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
use report::Report;

/// Threads that read the kernel; one that hangs keeps its own.
const BLOCKING_THREADS: usize = 16;

/// Look at everything that buses depend on, and say what is wrong and how to mend it
///
/// Works without root, without a daemon and without Docker, and says what it could not see.
/// Exit codes: 0 nothing is broken (there may be warnings), 1 something is, 2 bad usage.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Mend what is safe to mend: load modules, heal buses (also where healing is off), remove stale sockets,
    /// take over rustycan4docker's networks, enable the unit. Never touches what is not canhub's
    #[arg(long)]
    fix: bool,
    /// Say what --fix would do, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// As JSON (docs/doctor.schema.json; with --wait as /v1/health)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gate: gate::Gate,
    /// The plugin socket; its file name is the driver's name
    #[arg(
        long,
        env = "CANHUB_SOCKET",
        default_value = "/run/docker/plugins/canhub.sock",
        value_name = "PATH"
    )]
    socket: PathBuf,
    /// canhub's records [default: /var/lib/canhub, else the managed plugin's]
    #[arg(long, env = "CANHUB_STATE_DIR", value_name = "PATH")]
    state_dir: Option<PathBuf>,
    /// Docker's API
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
        // What hangs in the kernel is not waited for.
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

    async fn examine_and_fix(&self) -> Report {
        let files = Files::default();
        let findings = self.examine(&files).await;
        if !self.fix && !self.dry_run {
            return Report::new(findings, Vec::new());
        }
        let mended = self.mend(&files, &findings).await;
        let findings = match self.dry_run {
            true => findings,
            // What counts is how things are afterwards.
            false => self.examine(&files).await,
        };
        Report::new(findings, mended)
    }

    /// The driver's name for Docker, without a tag.
    fn driver(&self) -> String {
        self.socket.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Where the records are: the managed plugin's are in a folder that has its id.
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

/// How bad the worst of them is.
fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Pass)
}
