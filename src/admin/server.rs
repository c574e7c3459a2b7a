//! Who may ask, on which sockets, and how much of canhub's time it may take.

use std::{io, net::SocketAddr, os::unix::fs::MetadataExt, path::Path, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tracing::{info, warn};

use super::routes;
use crate::{
    error::Error,
    health::Health,
    http::{
        server::{self, Limits},
        socket,
    },
    manager::Manager,
};

/// Where the admin socket is, unless said otherwise.
pub const SOCKET: &str = "/run/canhub/admin.sock";
/// Only its owner finds the socket.
const FOLDER_MODE: u32 = 0o700;
/// The kernel is read by so many at a time: each may hang with it, on a thread that a Join might want.
const SURVEYS: usize = 2;
/// A survey takes milliseconds, and a second or so on a host with thousands of rules.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// So many may listen to events at a time. Each costs a file descriptor, of which a service has 1024.
const LISTENERS: usize = 256;
/// One who asks or answers slowly costs little, and one who says nothing does not stay.
const LIMITS: Limits =
    Limits { connections: LISTENERS + 64, buffer: Some(16 << 10), patience: Some(Duration::from_secs(30)) };

/// What answers on the admin socket.
#[derive(Clone)]
pub struct Admin {
    pub(super) manager: Arc<Manager>,
    pub(super) health: Arc<Health>,
    surveys: Arc<Semaphore>,
    listeners: Arc<Semaphore>,
}

impl Admin {
    /// For this manager and its health.
    pub fn new(manager: Arc<Manager>, health: Arc<Health>) -> Self {
        let semaphore = |size| Arc::new(Semaphore::new(size));
        Self { manager, health, surveys: semaphore(SURVEYS), listeners: semaphore(LISTENERS) }
    }

    /// Serves the admin socket for ever. Without it canhub works all the same, so a failure is only told.
    pub async fn serve(self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        let bound = socket::bind(path, FOLDER_MODE, "--admin-socket").await;
        let served = bound.and_then(|(listener, file)| Ok((listener, std::fs::metadata(path)?.uid(), file)));
        match served {
            Ok((listener, owner, _file)) => self.answer_on(listener, owner).await,
            Err(err) => {
                warn!(%err, "no admin socket: buses work, and `canhub status`, events and metrics do not");
            }
        }
    }

    async fn answer_on(self, listener: UnixListener, owner: u32) {
        let service = |stream: &tokio::net::UnixStream| {
            let peer = stream.peer_cred().ok().map(|peer| peer.uid());
            let (admin, allowed) = (self.clone(), peer.is_some_and(|peer| may_ask(peer, owner)));
            move |request| routes::answer(admin.clone(), allowed, request)
        };
        server::serve(listener, LIMITS, service, std::future::pending()).await;
    }

    /// Serves metrics over TCP for ever. A failure is only told.
    pub async fn serve_metrics(self, address: SocketAddr) {
        let bound: io::Result<_> = TcpListener::bind(address).await;
        match bound {
            Ok(listener) => {
                info!(%address, "metrics are served");
                let service = |_: &_| {
                    let admin = self.clone();
                    move |request| routes::answer_metrics(admin.clone(), request)
                };
                server::serve(listener, LIMITS, service, std::future::pending()).await;
            }
            Err(err) => warn!(%address, %err, "metrics are not served there"),
        }
    }

    /// Reads the kernel on a thread of its own.
    ///
    /// # Errors
    /// One sentence, also when it takes too long.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Manager) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, String> {
        let read = async {
            // It goes with the work, not with the one who waits: a hanging kernel keeps both.
            let permit = self.surveys.clone().acquire_owned().await.map_err(|err| err.to_string())?;
            let manager = self.manager.clone();
            let work = move || {
                let _permit = permit;
                work(&manager)
            };
            match tokio::task::spawn_blocking(work).await {
                Ok(done) => done.map_err(|err| err.to_string()),
                Err(_) => Err("canhub met a bug of its own; its log tells more".to_owned()),
            }
        };
        let late = |_| format!("the kernel could not be read within {} s; try again", TIME_LIMIT.as_secs());
        timeout(TIME_LIMIT, read).await.unwrap_or_else(|elapsed| Err(late(elapsed)))
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
