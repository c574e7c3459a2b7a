//! What asynchronous code holds of the manager.
//!
//! The runtime has one thread. A call that waits there for the model's lock stops the sockets, the time limits and
//! SIGTERM for as long as the kernel hangs under that lock. So nothing asynchronous gets a [`Manager`]: it gets a
//! [`Handle`], which shows what never waits, and lends the manager only to closures on threads of their own.

use std::sync::Arc;

use tokio::task::{JoinError, spawn_blocking};

use super::{Manager, Signals};
use crate::events::Events;

/// The manager, for asynchronous code.
#[derive(Clone)]
pub struct Handle(Arc<Manager>);

impl Handle {
    /// For this manager. Threads outside of the runtime may go on to use it directly.
    pub fn new(manager: impl Into<Arc<Manager>>) -> Self {
        Self(manager.into())
    }

    /// Works with the manager on a thread that may block. The work goes on where nobody waits for it any more, and
    /// keeps its thread: who gives up after a time limit makes sure not to start it again and again meanwhile.
    ///
    /// # Errors
    /// When the work panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Manager) -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let manager = self.0.clone();
        spawn_blocking(move || work(&manager)).await
    }

    /// Where all that happens is told.
    pub fn events(&self) -> &Events {
        self.0.events()
    }

    /// Containers that Docker gave up on because canhub was not there, as of the last time that Docker was asked.
    pub fn late(&self) -> Vec<String> {
        self.0.late()
    }

    /// Takes in their names.
    pub fn set_late(&self, containers: Vec<String>) {
        self.0.set_late(containers);
    }

    /// What wakes whom.
    pub fn signals(&self) -> &Signals {
        self.0.signals()
    }
}
