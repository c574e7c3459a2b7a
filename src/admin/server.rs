//! Who may ask, on which sockets, and how much of canhub's time it may take.

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

/// Where the admin socket is, unless said otherwise.
pub const SOCKET: &str = "/run/canhub/admin.sock";
/// Only its owner finds the socket.
const FOLDER_MODE: u32 = 0o700;
/// The kernel is read by so many at a time: each may hang with it, on a thread that a Join might want.
const SURVEYS: usize = 2;
/// Whoever scrapes over TCP takes none of these places: there, anybody who reaches the port may ask.
const SCRAPES: usize = 1;
/// A survey takes milliseconds, and a second or so on a host with thousands of rules.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// A heal looks at thousands of rules and mends them; `canhub doctor` waits a little longer than this for the answer.
pub const HEAL_TIME_LIMIT: Duration = Duration::from_secs(25);
/// So many may listen to events at a time. Each costs a file descriptor, of which a service has 1024.
const LISTENERS: usize = 256;
/// One who asks or answers slowly costs little, and one who says nothing does not stay.
const LIMITS: Limits =
    Limits { connections: LISTENERS + 64, buffer: Some(16 << 10), timeout: Some(Duration::from_secs(30)) };

/// What a request was doing when its time was up.
enum TimedOut {
    /// It waited for others to be done.
    Waiting,
    /// Its own work was not done.
    Working,
}

/// What answers on the admin socket.
#[derive(Clone)]
pub struct Admin {
    pub(super) manager: Handle,
    pub(super) health: Arc<Health>,
    surveys: Arc<Semaphore>,
    heals: Arc<Semaphore>,
    listeners: Arc<Semaphore>,
}

impl Admin {
    /// For this manager and its health.
    pub fn new(manager: Handle, health: Arc<Health>) -> Self {
        let semaphore = |size| Arc::new(Semaphore::new(size));
        Self {
            manager,
            health,
            surveys: semaphore(SURVEYS),
            heals: semaphore(1),
            listeners: semaphore(LISTENERS),
        }
    }

    /// Serves the admin socket for ever. Without it canhub works all the same, so a failure is only told.
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

    /// Answers for ever on a socket that listens: root, and the user with this id.
    pub async fn answer_on(self, listener: UnixListener, owner: u32) {
        let service = |stream: &tokio::net::UnixStream| {
            let peer = stream.peer_cred().ok().map(|peer| peer.uid());
            let (admin, allowed) = (self.clone(), peer.is_some_and(|peer| may_ask(peer, owner)));
            move |request| routes::answer(admin.clone(), allowed, request)
        };
        server::serve(listener, LIMITS, service, std::future::pending()).await;
    }

    /// Serves metrics over TCP for ever. A failure is only told.
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

    /// The same, with places of its own to read the kernel.
    fn for_scrapes(&self) -> Self {
        Self { surveys: Arc::new(Semaphore::new(SCRAPES)), ..self.clone() }
    }

    /// Reads the kernel on a thread of its own.
    ///
    /// # Errors
    /// One sentence, also when it takes too long.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Manager) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, String> {
        let late = || format!("could not read the kernel within {} s; try again", TIME_LIMIT.as_secs());
        self.work(&self.surveys, TIME_LIMIT, work).await.unwrap_or_else(|_| Err(late()))
    }

    /// Heals once. Heals take turns: one that is asked for while another runs begins when that is done, so that its
    /// answer is true of the moment at which it was asked for.
    ///
    /// # Errors
    /// One sentence, also when it takes too long.
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

    /// Works on a thread of its own, once one of these places is free.
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
            // It goes with the work, not with the one who waits: a hanging kernel keeps both.
            let _place = place;
            work(manager)
        };
        match timeout_at(deadline, self.manager.run(work)).await.map_err(|_| TimedOut::Working)? {
            Ok(done) => Ok(done.map_err(|err| err.to_string())),
            Err(_) => Ok(Err("internal error in canhub; see `journalctl -u canhub`".to_owned())),
        }
    }

    /// A place among those who listen to events, if one is free.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.listeners.clone().try_acquire_owned().ok()
    }
}

/// Root may, and who runs canhub. The socket's mode says the same; this holds when somebody changes that.
fn may_ask(peer: u32, owner: u32) -> bool {
    peer == 0 || peer == owner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_the_owner_may_ask_and_nobody_else() {
        assert!(may_ask(0, 0) && may_ask(0, 990) && may_ask(990, 990));
        assert!(!may_ask(1000, 0) && !may_ask(65534, 990));
    }
}
