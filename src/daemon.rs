//! `canhub serve`: wiring. Socket first, then state, then the tasks, each with an owner, then wait for the end.

use std::{
    io,
    net::SocketAddr,
    os::{linux::net::SocketAddrExt, unix::net},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use sd_notify::NotifyState;
use tokio::{
    net::UnixListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::sleep,
};
use tracing::{info, warn};

use crate::{
    admin::Admin,
    checks::Files,
    docker,
    driver::server,
    health::{self, Health, Watch},
    http::socket::{self, SocketFile},
    kernel::{self, Linux},
    manager::Manager,
    reconcile,
    state::Store,
    system,
};

/// Docker's own mode for the folder of its plugins' sockets.
const PLUGINS_MODE: u32 = 0o755;

/// What `canhub serve` was asked for.
#[derive(Debug, Clone)]
pub struct Config {
    /// The plugin socket, where systemd gave none.
    pub socket: PathBuf,
    /// Where records are kept.
    pub state_dir: PathBuf,
    /// Where the admin socket is to be.
    pub admin_socket: PathBuf,
    /// Where metrics are served over TCP, if anywhere.
    pub metrics_listen: Option<SocketAddr>,
    /// The Docker API's socket, asked in the background; `None`: Docker is not asked.
    pub docker_socket: Option<PathBuf>,
    /// Where the health policy is; `None`: where it usually is, if anywhere.
    pub health_policy: Option<PathBuf>,
    /// Whether to start containers that Docker could not start while canhub was not there.
    pub restart_late: bool,
    /// How often to look when nothing woke the loop.
    pub audit_interval: Duration,
    /// Whether missing things are repaired.
    pub heal: bool,
}

/// Serves until SIGTERM or SIGINT. Buses stay as they are: nothing is torn down.
///
/// # Errors
/// When the socket cannot be had.
pub async fn serve(config: Config) -> io::Result<()> {
    let started = Instant::now();
    // Bound before anything else, so that dockerd's calls queue instead of failing.
    let (listener, file) = listen(&config.socket).await?;
    info!(socket = %config.socket.display(), activated = file.is_none(), "listening");
    let mut ended = Ended::new()?;
    let instance = config.socket.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let _one_of_a_name = only_instance(&instance).await?;

    let manager = {
        let (config, instance) = (config.clone(), instance.clone());
        let load = move || {
            let store = Store::new(config.state_dir, kernel::boot_id());
            Arc::new(Manager::new(Arc::new(Linux::new(&instance)), store, config.heal))
        };
        tokio::task::spawn_blocking(load).await.map_err(io::Error::other)?
    };

    let mut tasks = JoinSet::new();
    let (policy, complaint) = health::policy::load(config.health_policy.as_deref());
    if let Some(why) = &complaint {
        warn!("{why}");
    }
    let health = Arc::new(Health::new(policy, complaint));
    let admin = Admin::new(manager.clone(), health.clone());
    if let Some(address) = config.metrics_listen {
        tasks.spawn(admin.clone().serve_metrics(address));
    }
    tasks.spawn(admin.serve(config.admin_socket));
    tasks.spawn(wake_on_events(manager.clone()));
    let watch = Watch {
        docker: config.docker_socket.clone(),
        docker_grace: health::DOCKER_GRACE,
        modules: Files::default(),
    };
    tasks.spawn(health.watch(manager.clone(), watch));
    if let Some(socket) = config.docker_socket {
        tasks.spawn(docker::run(manager.clone(), socket, instance, config.restart_late));
    }
    let (validated, mut is_validated) = watch::channel(false);
    let alive = move || {
        validated.send_replace(true);
        let _ = sd_notify::notify(&[NotifyState::Watchdog]);
    };
    tasks.spawn(reconcile::run(manager.clone(), within_watchdog(config.audit_interval), alive));
    tasks.spawn(async move {
        // Ready once all known buses were looked at and healed, so that systemd starts Docker after that.
        if is_validated.wait_for(|done| *done).await.is_ok() {
            let _ = sd_notify::notify(&[NotifyState::Ready]);
            info!(took_us = crate::manager::took_us(started), "ready");
        }
    });

    server::serve(listener, manager, server::TIME_LIMIT, ended.wait()).await;
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    tasks.abort_all();
    // A socket of our own that nobody serves would cost Docker 15 s at each volume command.
    drop(file);
    info!("stopped; buses stay as they are");
    Ok(())
}

/// systemd's socket, or one of our own with its file.
async fn listen(path: &Path) -> io::Result<(UnixListener, Option<SocketFile>)> {
    if let Some(listener) = system::activated_listener()? {
        return Ok((listener, None));
    }
    let (listener, file) = socket::bind(path, PLUGINS_MODE, "--socket").await?;
    Ok((listener, Some(file)))
}

/// Holds the name for as long as it lives: two canhubs of one name (the service and the managed plugin) would
/// take the same links for theirs, and add each rule twice. An abstract socket belongs to the host's network
/// namespace, which both are in, and is free again the moment its holder ends.
async fn only_instance(name: &str) -> io::Result<net::UnixListener> {
    match hold_name(name) {
        Err(err) if err.kind() == io::ErrorKind::AddrInUse => {
            let text = format!(
                "another canhub manages the buses of driver {name} on this host: use either the service or the managed plugin, and stop the other"
            );
            warn!("{text}");
            // dockerd restarts a plugin that ends at once, at once and for ever.
            sleep(Duration::from_secs(5)).await;
            Err(io::Error::new(err.kind(), text))
        }
        bound => bound,
    }
}

/// The right to be the one who changes the buses of this driver name, for as long as it is kept.
///
/// # Errors
/// `AddrInUse` where another has it.
pub(crate) fn hold_name(name: &str) -> io::Result<net::UnixListener> {
    net::UnixListener::bind_addr(&net::SocketAddr::from_abstract_name(format!("canhub/{name}"))?)
}

async fn wake_on_events(manager: Arc<Manager>) {
    loop {
        let stirred = |stir| {
            if stir == kernel::Stir::Overrun {
                manager.events().counters().overrun();
            }
            manager.wake();
        };
        if let Err(err) = kernel::watch(stirred).await {
            warn!(%err, "link events are lost; the audit still looks, and they will be asked for again");
        }
        // Whatever happened meanwhile has no event any more.
        manager.wake();
        sleep(Duration::from_secs(1)).await;
    }
}

/// The loop feeds the watchdog, so it looks at least twice as often as that wants.
fn within_watchdog(audit_interval: Duration) -> Duration {
    sd_notify::watchdog_enabled().map_or(audit_interval, |limit| audit_interval.min(limit / 2))
}

/// The signals that end the daemon.
struct Ended {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Ended {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
