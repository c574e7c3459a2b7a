//! `canhub serve`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;

use crate::{
    admin,
    daemon::{self, Config},
    lock,
    logs::{self, LogFormat},
    span::protocol::CONTROL_SOCKET,
    system,
};

/// Run the daemon
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Plugin socket; its file name is the driver name. Ignored if systemd passes a socket
    #[arg(
        long,
        env = "CANHUB_SOCKET",
        default_value = "/run/docker/plugins/canhub.sock",
        value_name = "PATH"
    )]
    socket: PathBuf,
    /// Folder for state that survives reboots
    #[arg(long, env = "CANHUB_STATE_DIR", default_value = "/var/lib/canhub", value_name = "PATH")]
    state_dir: PathBuf,
    /// Folder of the lock file that prevents a second canhub with the same driver name
    #[arg(long, env = "CANHUB_LOCK_DIR", default_value = lock::INSTANCE_DIR, value_name = "PATH", hide = true)]
    lock_dir: PathBuf,
    /// Socket for `canhub status`, `canhub events` and monitoring, root only
    #[arg(long, env = "CANHUB_ADMIN_SOCKET", default_value = admin::SOCKET, value_name = "PATH")]
    admin_socket: PathBuf,
    /// Also serve metrics over TCP, without authentication, for example on 127.0.0.1:9477
    #[arg(long, env = "CANHUB_METRICS_LISTEN", value_name = "ADDRESS:PORT")]
    metrics_listen: Option<SocketAddr>,
    /// Control socket of canhub-span, which connects buses with those of other hosts
    #[arg(long, env = "CANHUB_SPAN_SOCKET", default_value = CONTROL_SOCKET, value_name = "PATH")]
    span_socket: PathBuf,
    /// Docker API socket, used in the background for names and lost options; `none` disables it
    #[arg(long, env = "CANHUB_DOCKER_SOCKET", default_value = "/run/docker.sock", value_name = "PATH")]
    docker_socket: PathBuf,
    /// Health policy file [default: /etc/canhub/health.toml, if it exists]
    #[arg(long, env = "CANHUB_HEALTH_POLICY", value_name = "PATH")]
    health_policy: Option<PathBuf>,
    /// Seconds between audits of all buses
    #[arg(long, env = "CANHUB_AUDIT_INTERVAL", default_value = "30", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    audit_interval: u64,
    /// Repair nothing; containers fail to start if something is missing
    #[arg(long, env = "CANHUB_NO_HEAL", value_parser = clap::builder::FalseyValueParser::new())]
    no_heal: bool,
    /// Start containers with a restart policy that Docker failed to start because canhub was not running
    #[arg(long, env = "CANHUB_RESTART_LATE", value_parser = clap::builder::FalseyValueParser::new())]
    restart_late: bool,
    /// Log format
    #[arg(long, env = "CANHUB_LOG_FORMAT", default_value = "auto", value_enum)]
    log_format: LogFormat,
}

/// Maximum number of blocking threads: a hanging kernel call blocks others, and this many may wait before new ones queue.
const BLOCKING_THREADS: usize = 32;

impl Serve {
    pub(super) fn run(self) -> Result<(), String> {
        system::keep_memory_small();
        logs::init(self.log_format);
        let config = Config {
            socket: self.socket,
            state_dir: self.state_dir,
            lock_dir: self.lock_dir,
            admin_socket: self.admin_socket,
            metrics_listen: self.metrics_listen,
            span_socket: self.span_socket,
            docker_socket: Some(self.docker_socket).filter(|path| path.as_os_str() != "none"),
            health_policy: self.health_policy,
            audit_interval: Duration::from_secs(self.audit_interval),
            heal: !self.no_heal,
            restart_late: self.restart_late,
        };
        // One thread for sockets; blocking kernel calls run on threads that come and go.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .build()
            .map_err(|err| format!("cannot start: {err}"))?;
        let served = runtime.block_on(daemon::serve(config));
        runtime.shutdown_timeout(Duration::from_secs(1));
        served.map_err(|err| err.to_string())
    }
}
