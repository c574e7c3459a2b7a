//! The task that ends faults on time, and sends what they send.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::error;

use super::source::Running;
use crate::manager::Handle;

/// A container that is started again has another interface to send from.
const LOOK: Duration = Duration::from_secs(1);
/// While no fault lasts, only a new one is waited for.
const IDLE: Duration = Duration::from_secs(3600);

/// Runs forever.
pub async fn keep(manager: Handle) {
    let mut running = Running::default();
    loop {
        let tend = move |manager: &crate::manager::Manager| {
            manager.end_faults();
            running.follow(&manager.kernel, manager.sources());
            (running, manager.next_fault_ends_in())
        };
        let next = match manager.run(tend).await {
            Ok((still, next)) => {
                running = still;
                next.map_or(IDLE, |next| next.min(LOOK))
            }
            Err(err) => {
                error!(%err, "looking after faults panicked; this is a bug in canhub");
                running = Running::default();
                sleep(LOOK).await;
                LOOK
            }
        };
        let _ = timeout(next, manager.signals().faults_changed()).await;
    }
}
