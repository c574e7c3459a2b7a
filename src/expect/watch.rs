//! The task `expectations`.
//!
//! A thread of its own watches. This task tells it what may change where to listen, and finds out where that is: on another
//! thread, because that may block, and again after every event that changes who is on a bus.

use std::{
    io::{self, PipeWriter, Write as _},
    panic::resume_unwind,
    sync::{Arc, mpsc},
    thread::{Builder, JoinHandle},
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::sleep,
};
use tracing::warn;

use super::watcher::{self, Inbox};
use crate::{
    error::Error,
    events::{FeedItem, Kind, Reader},
    health::Health,
    manager::{Ears, Handle, Manager},
};

/// A thread that cannot be had is tried again this often.
const RETRY: Duration = Duration::from_secs(2);

/// What the thread is told.
pub(super) enum News {
    /// Something happened that may change where to listen; whether the names of all containers are known.
    Moved { named: bool },
    /// Expectations were added or removed.
    Changed,
    /// Where everything can be heard; `None` if that cannot be found out, which was logged.
    Found(Option<Result<Ears, Error>>),
}

/// Watches all expectations forever.
pub async fn watch(manager: Handle, health: Arc<Health>) {
    let mut events = manager.events().listen(0);
    let search = Arc::new(Notify::new());
    let mut thread = loop {
        match Thread::start(&manager, &health, &search) {
            Ok(thread) => break thread,
            Err(err) => warn!(%err, "could not start a thread to watch expected frames; will retry"),
        }
        sleep(RETRY).await;
    };
    loop {
        let news = tokio::select! {
            biased;
            _ = &mut thread.ended => break,
            () = search.notified() => News::Found(manager.run(Manager::ears).await.ok()),
            () = manager.expectations().changed() => News::Changed,
            named = until_moved(&mut events) => {
                // Then no thread wakes for it, on a processor that the next Join may wait for.
                if manager.expectations().is_empty() {
                    continue;
                }
                News::Moved { named }
            }
        };
        thread.tell(news);
    }
    if let Err(panicked) = thread.handle.join() {
        resume_unwind(panicked);
    }
}

/// The thread; it ends when this is dropped.
struct Thread {
    news: mpsc::Sender<News>,
    bell: PipeWriter,
    ended: oneshot::Receiver<()>,
    handle: JoinHandle<()>,
}

impl Thread {
    fn start(manager: &Handle, health: &Arc<Health>, search: &Arc<Notify>) -> io::Result<Self> {
        let (news, inbox) = mpsc::channel();
        let (listener, bell) = io::pipe()?;
        let (alive, ended) = oneshot::channel();
        let inbox = Inbox { bell: listener, news: inbox };
        let (manager, health, search) = (manager.clone(), Arc::clone(health), Arc::clone(search));
        let work = move || {
            let _alive: oneshot::Sender<()> = alive;
            watcher::run(manager, health, search, inbox);
        };
        let handle = Builder::new().name("canhub-expect".into()).spawn(work)?;
        Ok(Self { news, bell, ended, handle })
    }

    /// If the thread has ended, `ended` says so.
    fn tell(&mut self, news: News) {
        let _ = self.news.send(news);
        let _ = self.bell.write(&[0]);
    }
}

/// Resolves when something happens that may change where to listen.
///
/// True if all names are known.
async fn until_moved(events: &mut Reader) -> bool {
    loop {
        let kind = match events.next().await {
            Some(FeedItem::Event(entry)) => entry.event.kind,
            Some(FeedItem::Missed { .. }) => return false,
            // canhub is stopping.
            None => std::future::pending().await,
        };
        match kind {
            Kind::Joined | Kind::NetworkCreated => return false,
            Kind::Left
            | Kind::Healed
            | Kind::NetworkDeleted
            | Kind::AdapterAppeared
            | Kind::AdapterVanished
            | Kind::EndpointCollected
            | Kind::NetworkCollected
            | Kind::Adopted
            | Kind::FaultBegan
            | Kind::FaultEnded => return true,
            _ => {}
        }
    }
}
