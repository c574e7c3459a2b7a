//! `canhub serve`: start-up, the tasks, and shutdown.

use std::{
    collections::HashMap,
    io::{self, IsTerminal},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use sd_notify::NotifyState;
use tokio::{
    net::UnixListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::{oneshot, watch},
    task::{self, JoinSet, spawn_blocking},
    time::{sleep, timeout},
};
use tracing::{error, info, warn};

use crate::{
    admin::Admin,
    checks::{Files, backlog, modules},
    docker,
    driver::server,
    expect, fault,
    health::{self, Health, Watch},
    http::socket::{self, SocketFile},
    kernel::{self, Linux},
    lock::Lock,
    manager::{Handle, Manager},
    reconcile, span,
    state::Store,
    system,
};

/// The mode that Docker gives to the folder of plugin sockets.
const PLUGINS_MODE: u32 = 0o755;
/// Pause between a failed start and the exit.
const FAILED_START_PAUSE: Duration = Duration::from_secs(5);

/// The options of `canhub serve`.
#[derive(Debug, Clone)]
pub struct Config {
    /// The plugin socket, unless systemd passes one.
    pub socket: PathBuf,
    /// The state folder.
    pub state_dir: PathBuf,
    /// The folder of the lock file that only one canhub per driver name can hold.
    pub lock_dir: PathBuf,
    /// The admin socket.
    pub admin_socket: PathBuf,
    /// The TCP address for metrics, if any.
    pub metrics_listen: Option<SocketAddr>,
    /// The socket of `canhub-span`.
    pub span_socket: PathBuf,
    /// The Docker API socket; `None`: Docker is not queried.
    pub docker_socket: Option<PathBuf>,
    /// The health policy file; `None`: the default path, if it exists.
    pub health_policy: Option<PathBuf>,
    /// Whether to start containers that Docker failed to start because canhub was not running.
    pub restart_late: bool,
    /// Time between audits.
    pub audit_interval: Duration,
    /// Whether to repair faults.
    pub heal: bool,
}

/// Serves until SIGTERM or SIGINT, which are handled at any time. Buses are left as they are: nothing is torn down.
///
/// # Errors
/// When the start fails, after a pause.
pub async fn serve(config: Config) -> io::Result<()> {
    let started = Instant::now();
    // Before anything that may hang: until here the signals terminate the process.
    let mut stop = StopSignals::new()?;
    let server = tokio::select! {
        biased;
        () = stop.wait() => {
            info!("stopped while starting; buses stay as they are");
            return Ok(());
        }
        server = Server::start(&config) => server,
    };
    let server = match server {
        Ok(server) => server,
        Err(err) => {
            error!(reason = %err, "cannot start");
            // dockerd restarts a plugin that exits immediately in a tight loop, and systemd restarts a service ten
            // times a second.
            if !io::stdout().is_terminal() {
                let _ = timeout(FAILED_START_PAUSE, stop.wait()).await;
            }
            return Err(err);
        }
    };
    let mut tasks = spawn_tasks(config, &server, started);
    tokio::select! {
        () = server::serve(server.listener, server.manager, server::TIME_LIMIT, stop.wait()) => {}
        () = tasks.report_panics() => {}
    }
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    tasks.running.abort_all();
    // A stale socket would cost Docker 15 s on every volume command.
    drop(server.socket_file);
    info!("stopped; buses stay as they are");
    Ok(())
}

/// The state after a successful start.
struct Server {
    listener: UnixListener,
    /// Removed at exit. A socket passed by systemd stays.
    socket_file: Option<SocketFile>,
    /// The driver name.
    driver: String,
    manager: Handle,
    /// Held until exit.
    _locks: Vec<Lock>,
}

impl Server {
    /// The socket first, so that dockerd's calls queue instead of failing; then the locks, then the records.
    async fn start(config: &Config) -> io::Result<Self> {
        let (listener, socket_file) = listen(&config.socket).await?;
        info!(socket = %config.socket.display(), activated = socket_file.is_none(), "listening");
        let driver = config.socket.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (name, config) = (driver.clone(), config.clone());
        let load = move || {
            let locks = lock(&config, &name)?;
            let store = Store::new(config.state_dir, kernel::boot_id());
            io::Result::Ok((
                locks,
                Handle::new(Manager::new(Arc::new(Linux::new(&name)), store, Files::default(), config.heal)),
            ))
        };
        let (locks, manager) = spawn_blocking(load).await.map_err(io::Error::other)??;
        Ok(Self { listener, socket_file, driver, manager, _locks: locks })
    }
}

/// The socket passed by systemd, or one of our own with its file.
async fn listen(path: &Path) -> io::Result<(UnixListener, Option<SocketFile>)> {
    if let Some(listener) = system::activated_listener()? {
        return Ok((listener, None));
    }
    let (listener, file) = socket::bind(path, PLUGINS_MODE, "--socket").await?;
    Ok((listener, Some(file)))
}

/// Locks the driver name and the state folder.
fn lock(config: &Config, driver: &str) -> io::Result<Vec<Lock>> {
    let held = |why: String| io::Error::new(io::ErrorKind::AddrInUse, why);
    let instance = Lock::of_instance(&config.lock_dir, driver)?.ok_or_else(|| {
        held(format!(
            "another canhub manages the buses of driver {driver} on this host: use either the service or the managed plugin, and stop the other"
        ))
    })?;
    match Lock::of_state(&config.state_dir) {
        Ok(Some(state)) => Ok(vec![instance, state]),
        Ok(None) => Err(held(format!(
            "another canhub uses the state folder {}: stop it, or choose another folder with --state-dir",
            config.state_dir.display()
        ))),
        // A full or read-only disk must not keep buses down.
        Err(err) => {
            warn!(%err, "could not lock the state folder");
            Ok(vec![instance])
        }
    }
}

/// Starts all tasks besides the driver.
fn spawn_tasks(config: Config, server: &Server, started: Instant) -> Tasks {
    let manager = || server.manager.clone();
    let (policy, complaint) = health::policy::load(config.health_policy.as_deref());
    if let Some(why) = &complaint {
        warn!("{why}");
    }
    for finding in modules::wrong(&Files::default()) {
        error!("{}", finding.advice());
    }
    // Managed plugins have no access to Docker's API.
    let managed = config.docker_socket.is_none();
    if let Some(why) = backlog::at_start(&Files::default(), managed) {
        warn!("{why}");
    }
    server.manager.expectations().set(expect::Source::Policy, policy.expect.clone());
    let health = Arc::new(Health::new(policy, complaint));
    let watch = Watch {
        docker: config.docker_socket.clone(),
        docker_grace: health::DOCKER_GRACE,
        modules: Files::default(),
    };
    let (validated, is_validated) = watch::channel(false);
    let alive = move || {
        validated.send_replace(true);
        let _ = sd_notify::notify(&[NotifyState::Watchdog]);
    };
    let audit_interval = within_watchdog(config.audit_interval);
    let admin = Admin::new(manager(), health.clone());

    let mut tasks = Tasks::default();
    if let Some(address) = config.metrics_listen {
        tasks.spawn("metrics over TCP", admin.clone().serve_metrics(address));
    }
    tasks.spawn("admin socket", admin.serve(config.admin_socket));
    tasks.spawn("canhub-span", span::keep(manager(), config.span_socket));
    tasks.spawn("link events", wake_on_link_events(manager()));
    tasks.spawn("faults", fault::keep(manager()));
    tasks.spawn("expectations", expect::watch(manager(), health.clone()));
    tasks.spawn("health", health.watch(manager(), watch));
    if let Some(socket) = config.docker_socket {
        let driver = server.driver.clone();
        tasks.spawn("Docker queries", docker::run(manager(), socket, driver, config.restart_late));
    }
    tasks.spawn("reconcile loop", reconcile::run(manager(), audit_interval, alive));
    tasks.spawn("wire shares", reconcile::share_wires(manager()));
    tasks.spawn("readiness", notify_ready(is_validated, started));
    tasks
}

/// Running tasks, each with a name for the log.
#[derive(Default)]
struct Tasks {
    running: JoinSet<()>,
    names: HashMap<task::Id, &'static str>,
}

impl Tasks {
    fn spawn(&mut self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let id = self.running.spawn(work).id();
        self.names.insert(id, name);
    }

    /// Logs each task that panics. Never returns.
    async fn report_panics(&mut self) {
        while let Some(ended) = self.running.join_next().await {
            if let Err(err) = ended {
                let task = self.names.get(&err.id()).copied().unwrap_or_default();
                error!(task, %err, "a task panicked; this is a bug in canhub: restart canhub");
            }
        }
        std::future::pending().await
    }
}

async fn wake_on_link_events(manager: Handle) {
    loop {
        match watch_links(manager.clone()).await {
            Ok(Ok(())) => {}
            Ok(Err(err)) => warn!(
                %err,
                "lost the subscription to the kernel's link events; resubscribing, audits continue"
            ),
            Err(err) => warn!(%err, "could not watch the kernel's link events; retrying, audits continue"),
        }
        // Events between two subscriptions are lost.
        manager.signals().want_look();
        sleep(Duration::from_secs(1)).await;
    }
}

/// Watches on a thread of its own, and returns when that has ended.
async fn watch_links(manager: Handle) -> io::Result<kernel::Result<()>> {
    let (report, ended) = oneshot::channel();
    let watch = move || {
        let changed = |event| {
            match event {
                kernel::LinkEvent::Overrun => manager.events().counters().overrun(),
                kernel::LinkEvent::Removed { index, sent } => return manager.link_removed(index, sent),
                kernel::LinkEvent::Changed => {}
            }
            manager.signals().want_look();
        };
        drop(report.send(kernel::watch(changed, || manager.signals().settles_in())));
    };
    thread::Builder::new().name("canhub-links".into()).spawn(watch)?;
    ended.await.map_err(|_| io::Error::other("the thread panicked; this is a bug in canhub"))
}

/// Reports ready once all known buses have been checked and healed, so that systemd starts Docker after that.
async fn notify_ready(mut is_validated: watch::Receiver<bool>, started: Instant) {
    if is_validated.wait_for(|done| *done).await.is_ok() {
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        info!(took_us = crate::manager::took_us(started), "ready");
        system::release_memory();
    }
}

/// The loop feeds the watchdog, so it must run at least twice per watchdog interval.
fn within_watchdog(audit_interval: Duration) -> Duration {
    sd_notify::watchdog_enabled().map_or(audit_interval, |limit| audit_interval.min(limit / 2))
}

/// SIGTERM and SIGINT.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Resolves when one arrives.
    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
