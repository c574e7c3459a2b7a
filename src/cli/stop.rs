//! Ctrl-C, and the other signals that ask a command to end.

use std::{
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tokio::signal::unix::{SignalKind, signal};

/// The exit status of a program that Ctrl-C has killed, as shells report it.
const KILLED: i32 = 130;

/// Set once the command was asked to end.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From now on SIGINT, SIGTERM and SIGHUP set it instead of killing the process. A second SIGINT or SIGTERM kills it.
    ///
    /// # Errors
    /// One sentence, if the signals cannot be caught.
    pub(super) fn on_signals() -> Result<Self, String> {
        let cannot = |err| format!("signals cannot be caught: {err}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
        let entered = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(cannot)?;
        drop(entered);
        let stop = Self::default();
        let asked = stop.clone();
        thread::spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                        // A closed terminal sends it twice, by the kernel and by the shell.
                        _ = hangup.recv() => {
                            asked.0.store(true, Ordering::Release);
                            continue;
                        }
                    }
                    if asked.0.swap(true, Ordering::Release) {
                        process::exit(KILLED);
                    }
                }
            });
        });
        Ok(stop)
    }

    /// Whether the command should end.
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
