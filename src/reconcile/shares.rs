//! The task that has wires shared: it reads the queues of adapters some times a second.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use tracing::error;

use crate::manager::{Handle, Shares};

/// Without a wire, one is looked for this often if nothing changes.
const NO_WIRE: Duration = Duration::from_secs(60);
/// After a panic.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs forever. While no adapter carries a bus with paced containers, it only waits.
pub async fn share_wires(manager: Handle) {
    let shares = Arc::new(Mutex::new(Shares::default()));
    loop {
        let read = {
            let shares = shares.clone();
            manager.run(move |manager| manager.share_wires(&mut shares.lock())).await
        };
        match read {
            Ok(Some(pause)) => sleep(pause).await,
            Ok(None) => drop(timeout(NO_WIRE, manager.signals().carried_out()).await),
            Err(err) => {
                error!(%err, "the sharing of wires panicked; this is a bug in canhub");
                sleep(PAUSE).await;
            }
        }
    }
}
