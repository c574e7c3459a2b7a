//! Work that may hang, on one thread at a time.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

/// Room for one such thread: while it hangs, no second is started.
pub(super) struct Slot(Arc<Semaphore>);

impl Default for Slot {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Slot {
    /// Works on a thread of its own; `None`: it has not ended in time, or that of an earlier look still has not.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let permit = self.0.clone().try_acquire_owned().ok()?;
        let work = move || {
            // It goes with the work, not with the one who waits.
            let _permit = permit;
            work()
        };
        timeout(limit, spawn_blocking(work)).await.ok()?.ok()
    }
}
