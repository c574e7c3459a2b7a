//! `canhub-span serve`: start-up, the tasks, and shutdown.

mod session;

use std::{io, path::PathBuf, time::Duration};

use canhub::span::protocol::State;
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinSet,
};
use tracing::{error, info};

use crate::{config::Config, control::Control, engine::zenoh::Troubles, ledger::Ledgers};

/// What `canhub-span serve` was started with.
#[derive(Debug)]
pub struct Options {
    /// The settings.
    pub config: Config,
    /// Where they are, as for [`Config::load`].
    pub file: Option<PathBuf>,
    /// The control socket.
    pub socket: PathBuf,
}

/// Messages of canhub that wait.
const TOLD_MAX: usize = 16;

/// Serves until SIGTERM, SIGINT, or until this host has left its fleet. Without canhub, or without a fleet, it waits for
/// both.
///
/// # Errors
/// One sentence, when the start fails.
pub async fn serve(options: Options, troubles: Troubles) -> Result<(), String> {
    let signals = |err: io::Error| format!("cannot handle signals: {err}");
    let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
    let control = Control::listen(&options.socket).await?;
    info!(socket = %options.socket.display(), "listening for canhub");

    let (tell, told) = mpsc::channel(TOLD_MAX);
    let (show, state) = watch::channel(State::default().into());
    let mut session = session::Session::new(
        options.config,
        options.file,
        Ledgers::beside(&options.socket),
        troubles,
        show,
    )?;
    let mut tasks = JoinSet::new();
    tasks.spawn(control.serve(tell, state));
    if let Some(limit) = sd_notify::watchdog_enabled() {
        session.feed_watchdog(limit / 2);
    }
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    tokio::select! {
        () = session.run(told) => info!("this host has left its fleet"),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        Some(ended) = tasks.join_next() => {
            error!(?ended, "the control socket is not served any more; this is a bug in canhub: restart canhub-span");
            return Err("the task of the control socket ended".to_owned());
        }
    }
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    tasks.abort_all();
    let _ = tokio::time::timeout(Duration::from_secs(2), session.close()).await;
    info!("stopped; the buses of this host work on without the others");
    Ok(())
}
