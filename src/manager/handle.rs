//! Access to the manager for asynchronous code.
//!
//! The runtime has one thread. If a call waited there for the model's lock, sockets, timeouts and SIGTERM would all
//! hang for as long as the kernel hangs under that lock. So asynchronous code never gets a [`Manager`]. It gets a
//! [`Handle`], which offers what never waits, and passes the manager only to closures on separate threads.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::task::{JoinError, spawn_blocking};

use super::{Manager, Signals};
use crate::{events::Events, expect::Expectations, span::Spans, status::FaultStatus};

/// The manager, for asynchronous code.
#[derive(Clone)]
pub struct Handle(Arc<Manager>);

impl Handle {
    /// Wraps a manager. Threads outside the runtime may keep using it directly.
    pub fn new(manager: impl Into<Arc<Manager>>) -> Self {
        Self(manager.into())
    }

    /// Runs work with the manager on a thread that may block. The work continues and keeps its thread even if the
    /// caller gives up, so a caller with a timeout must not start it again and again.
    ///
    /// # Errors
    /// If the work panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Manager) -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let manager = self.0.clone();
        let delivery = Delivery { manager: &self.0, is_over: Arc::default() };
        let nobody_waits = delivery.is_over.clone();
        spawn_blocking(move || {
            let done = work(&manager);
            if nobody_waits.load(Ordering::SeqCst) {
                manager.signals().deliver();
            }
            done
        })
        .await
    }

    /// The events.
    pub fn events(&self) -> &Events {
        self.0.events()
    }

    /// Frames that should be on the buses.
    pub fn expectations(&self) -> &Expectations {
        self.0.expectations()
    }

    /// The faults on purpose in effect.
    pub fn faults(&self) -> Vec<FaultStatus> {
        self.0.faults()
    }

    /// Why frames of this container, or of anybody, can be missing on a bus on purpose: the end of a sentence.
    pub fn on_purpose(&self, bus: &str, container: Option<&str>) -> String {
        self.0.on_purpose(bus, container)
    }

    /// The spans.
    pub fn spans(&self) -> &Spans {
        self.0.spans()
    }

    /// Containers that Docker failed to start because canhub was not running, as of the last query.
    pub fn late(&self) -> Vec<String> {
        self.0.late()
    }

    /// Sets their names.
    pub fn set_late(&self, containers: Vec<String>) {
        self.0.set_late(containers);
    }

    /// A CAN link of the host was removed after it had sent this many frames.
    pub fn link_removed(&self, index: u32, sent: u64) {
        self.0.link_removed(index, sent);
    }

    /// The signals between tasks.
    pub fn signals(&self) -> &Signals {
        self.0.signals()
    }
}

/// Delivers the signals of work when its caller has the answer. If the caller gives up, the work delivers them at its end.
struct Delivery<'a> {
    manager: &'a Manager,
    is_over: Arc<AtomicBool>,
}

impl Drop for Delivery<'_> {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.manager.signals().deliver();
    }
}
