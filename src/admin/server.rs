//! Access control, sockets and resource limits of the admin interface.

use std::{io, net::SocketAddr, os::unix::fs::MetadataExt, path::Path, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};
use tracing::{info, warn};

use super::routes;
use crate::{
    apply::Repair,
    error::Error,
    health::Health,
    http::{
        server::{self, Limits},
        socket,
    },
    manager::{Handle, Manager},
};

/// Default path of the admin socket.
pub const SOCKET: &str = "/run/canhub/admin.sock";
/// Only the owner can reach the socket.
const FOLDER_MODE: u32 = 0o700;
/// Maximum number of concurrent surveys. Each may hang with the kernel, on a thread that a Join might need.
const SURVEYS: usize = 2;
/// Scrapes over TCP have slots of their own, because anyone who can reach the port can use them.
const SCRAPES: usize = 1;
/// A survey takes milliseconds, or about a second on a host with thousands of rules.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// A heal may check and repair thousands of rules. `canhub doctor` waits slightly longer than this for the response.
pub const HEAL_TIME_LIMIT: Duration = Duration::from_secs(25);
/// Maximum number of event listeners. Each costs a file descriptor, and a service has 1024.
const LISTENERS: usize = 256;
/// Slow clients cost little, and idle ones are disconnected.
const LIMITS: Limits =
    Limits { connections: LISTENERS + 64, buffer: Some(16 << 10), timeout: Some(Duration::from_secs(30)) };

/// What a request was doing when it timed out.
enum TimedOut {
    /// Waiting for other requests.
    Waiting,
    /// Working.
    Working,
}

/// The admin interface.
#[derive(Clone)]
pub struct Admin {
    pub(super) manager: Handle,
    pub(super) health: Arc<Health>,
    surveys: Arc<Semaphore>,
    heals: Arc<Semaphore>,
    changes: Arc<Semaphore>,
    listeners: Arc<Semaphore>,
}

impl Admin {
    /// Creates the interface for a manager and its health.
    pub fn new(manager: Handle, health: Arc<Health>) -> Self {
        let semaphore = |size| Arc::new(Semaphore::new(size));
        Self {
            manager,
            health,
            surveys: semaphore(SURVEYS),
            heals: semaphore(1),
            changes: semaphore(1),
            listeners: semaphore(LISTENERS),
        }
    }

    /// Serves the admin socket forever. canhub works without it, so a failure is only logged.
    pub async fn serve(self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        let bound = socket::bind(path, FOLDER_MODE, "--admin-socket").await;
        let served = bound.and_then(|(listener, file)| Ok((listener, std::fs::metadata(path)?.uid(), file)));
        match served {
            Ok((listener, owner, _file)) => self.answer_on(listener, owner).await,
            Err(err) => {
                warn!(%err, "no admin socket: `canhub status`, `canhub events` and metrics are unavailable; buses keep working");
            }
        }
    }

    /// Serves an existing listener forever. Root and this user have access.
    pub async fn answer_on(self, listener: UnixListener, owner: u32) {
        let service = |stream: &tokio::net::UnixStream| {
            let peer = stream.peer_cred().ok().map(|peer| peer.uid());
            let (admin, allowed) = (self.clone(), peer.is_some_and(|peer| may_ask(peer, owner)));
            move |request| routes::answer(admin.clone(), allowed, request)
        };
        server::serve(listener, LIMITS, service, std::future::pending()).await;
    }

    /// Serves metrics over TCP forever. A failure is only logged.
    pub async fn serve_metrics(self, address: SocketAddr) {
        let scraped = self.for_scrapes();
        let bound: io::Result<_> = TcpListener::bind(address).await;
        match bound {
            Ok(listener) => {
                info!(%address, "serving metrics");
                let service = |_: &_| {
                    let admin = scraped.clone();
                    move |request| routes::answer_metrics(admin.clone(), request)
                };
                server::serve(listener, LIMITS, service, std::future::pending()).await;
            }
            Err(err) => warn!(%address, %err, "cannot serve metrics on this address"),
        }
    }

    /// A clone with survey slots of its own.
    fn for_scrapes(&self) -> Self {
        Self { surveys: Arc::new(Semaphore::new(SCRAPES)), ..self.clone() }
    }

    /// Reads the kernel on a separate thread.
    ///
    /// # Errors
    /// One sentence, also on timeout.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Manager) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, String> {
        let late = || format!("could not read the kernel within {} s; try again", TIME_LIMIT.as_secs());
        self.work(&self.surveys, TIME_LIMIT, work).await.unwrap_or_else(|_| Err(late()))
    }

    /// Changes what somebody asked for, on a separate thread. `list` is the command that shows it.
    ///
    /// # Errors
    /// One sentence, also on timeout.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        list: &str,
        work: impl FnOnce(&Manager) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, String> {
        let late = || format!("not done within {} s; see `{list}`", TIME_LIMIT.as_secs());
        self.work(&self.changes, TIME_LIMIT, work).await.unwrap_or_else(|_| Err(late()))
    }

    /// Heals once. Heals run one at a time: a request that arrives during a heal starts another one afterwards, so that
    /// its result reflects the moment of the request.
    ///
    /// # Errors
    /// One sentence, also on timeout.
    pub(super) async fn heal(&self) -> Result<Vec<Repair>, String> {
        let limit = HEAL_TIME_LIMIT.as_secs();
        self.work(&self.heals, HEAL_TIME_LIMIT, Manager::heal).await.unwrap_or_else(|late| {
            Err(match late {
                TimedOut::Waiting => {
                    format!("another heal has been running for {limit} s; try again when it is done")
                }
                TimedOut::Working => format!(
                    "healing has not finished within {limit} s; it continues in the background: see `canhub status`"
                ),
            })
        })
    }

    /// Runs work on a separate thread as soon as a slot is free.
    async fn work<T: Send + 'static>(
        &self,
        places: &Arc<Semaphore>,
        limit: Duration,
        work: impl FnOnce(&Manager) -> Result<T, Error> + Send + 'static,
    ) -> Result<Result<T, String>, TimedOut> {
        let deadline = Instant::now() + limit;
        let place =
            timeout_at(deadline, places.clone().acquire_owned()).await.map_err(|_| TimedOut::Waiting)?;
        let work = move |manager: &Manager| {
            // The permit belongs to the work, not to the caller: a hanging kernel holds both.
            let _place = place;
            work(manager)
        };
        match timeout_at(deadline, self.manager.run(work)).await.map_err(|_| TimedOut::Working)? {
            Ok(done) => Ok(done.map_err(|err| err.to_string())),
            Err(_) => Ok(Err("internal error in canhub; see `journalctl -u canhub`".to_owned())),
        }
    }

    /// Reserves a slot for an event listener, if one is free.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.listeners.clone().try_acquire_owned().ok()
    }
}

/// Root and the user that runs canhub. The mode of the socket enforces the same; this still holds if someone changes
/// it.
fn may_ask(peer: u32, owner: u32) -> bool {
    peer == 0 || peer == owner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_the_owner_have_access() {
        assert!(may_ask(0, 0) && may_ask(0, 990) && may_ask(990, 990));
        assert!(!may_ask(1000, 0) && !may_ask(65534, 990));
    }
}
