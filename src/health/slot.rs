//! Work that may hang, at most one thread at a time.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::timeout};

use crate::manager::{Handle, Manager};

/// Room for one such thread: while it hangs, no second one is started.
pub(super) struct Slot(Arc<Semaphore>);

impl Default for Slot {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Slot {
    /// Runs work on a separate thread. `None`: it did not finish in time, or that of an earlier check still hangs.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        manager: &Handle,
        limit: Duration,
        work: impl FnOnce(&Manager) -> T + Send + 'static,
    ) -> Option<T> {
        let permit = self.0.clone().try_acquire_owned().ok()?;
        let work = move |manager: &Manager| {
            // The permit belongs to the work, not to the caller.
            let _permit = permit;
            work(manager)
        };
        timeout(limit, manager.run(work)).await.ok()?.ok()
    }
}
