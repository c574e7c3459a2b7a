//! Work that may hang, on one thread at a time.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::timeout};

use crate::manager::{Handle, Manager};

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
        manager: &Handle,
        limit: Duration,
        work: impl FnOnce(&Manager) -> T + Send + 'static,
    ) -> Option<T> {
        let permit = self.0.clone().try_acquire_owned().ok()?;
        let work = move |manager: &Manager| {
            // It goes with the work, not with the one who waits.
            let _permit = permit;
            work(manager)
        };
        timeout(limit, manager.run(work)).await.ok()?.ok()
    }
}
