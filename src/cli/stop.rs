//! Ctrl-C, and the other signals that ask a command to end.

use std::{
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::signal::unix::{SignalKind, signal};

/// The exit status of a program that Ctrl-C has killed, as shells report it.
const KILLED: i32 = 130;

/// How long a process takes to end at most: until it looks, writes what it has, and cleans the terminal.
const ENDING: Duration = Duration::from_millis(500);

/// Set once the command was asked to end.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From now on SIGINT, SIGTERM and SIGHUP set it instead of killing the process. A second SIGINT or SIGTERM kills it,
    /// unless it comes so soon that the process is still ending.
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
                let mut since: Option<Instant> = None;
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
                    asked.0.store(true, Ordering::Release);
                    if since.get_or_insert_with(Instant::now).elapsed() > ENDING {
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
