//! The connection to `canhub-span`: tells it the span ports, and takes in what it knows.
//!
//! It needs nothing of `canhub-span`: while that is not running, buses work on this host, and the connection is tried
//! again.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{UnixStream, unix::OwnedWriteHalf},
    sync::{broadcast, watch},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    Spans,
    protocol::{FromSpan, Port, ToSpan, decode, encode, read_line},
};
use crate::{events::Events, manager::Handle};

/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_secs(1);
/// The same while no network has a span: then `canhub-span` is only told so, in case it knew of one.
const IDLE_PAUSE: Duration = Duration::from_secs(30);
/// `canhub-span` tells its state every second, and takes what it is told at once.
const SILENCE: Duration = Duration::from_secs(5);

const CLOSED: &str = "it closed the connection: see `journalctl -u canhub-span`";

/// Runs forever.
pub async fn keep(manager: Handle, socket: PathBuf) {
    let (spans, events) = (manager.spans(), manager.events());
    let mut ports = spans.ports();
    loop {
        // The first full pass of the reconcile loop finds the ports.
        let why = match manager.signals().audit_age() {
            None => None,
            Some(_) => Some(match UnixStream::connect(&socket).await {
                Ok(stream) => talk(stream, spans, events, &mut ports).await,
                Err(err) => unreachable(&socket, &err),
            }),
        };
        if let Some(why) = why {
            spans.lose(events, why);
        }
        let is_idle = ports.borrow().is_empty();
        tokio::select! {
            () = sleep(if is_idle { IDLE_PAUSE } else { PAUSE }) => {}
            _ = ports.changed(), if is_idle => ports.mark_changed(),
        }
    }
}

/// Returns why it ended.
async fn talk(
    stream: UnixStream,
    spans: &Spans,
    events: &Events,
    ports: &mut watch::Receiver<Vec<Port>>,
) -> String {
    let (read, mut write) = stream.into_split();
    let (mut read, mut line) = (BufReader::new(read), Vec::new());
    let mut forget = spans.to_forget();
    ports.mark_changed();
    let mut silent_at = Instant::now() + SILENCE;
    loop {
        let sent = tokio::select! {
            heard = timeout_at(silent_at, read_line(&mut read, &mut line)) => {
                match heard {
                    Ok(Ok(true)) => {}
                    Ok(Ok(false)) => return CLOSED.into(),
                    Ok(Err(err)) => return broken(&err),
                    Err(_) => return format!("it says nothing for {} s: see `journalctl -u canhub-span`", SILENCE.as_secs()),
                }
                match decode(&line) {
                    Ok(FromSpan::State(state)) => spans.take_in(events, state),
                    Err(why) => return why,
                }
                line.clear();
                silent_at = Instant::now() + SILENCE;
                Ok(())
            }
            changed = ports.changed() => {
                if changed.is_err() {
                    return "canhub stops".into();
                }
                let ports = ports.borrow_and_update().clone();
                send(&mut write, ToSpan::Ports(ports)).await
            }
            host = forget.recv() => match host {
                Ok(host) => send(&mut write, ToSpan::Forget(host)).await,
                // Whoever asked sees that it is still known.
                Err(broadcast::error::RecvError::Lagged(_) | broadcast::error::RecvError::Closed) => Ok(()),
            }
        };
        if let Err(err) = sent {
            return broken(&err);
        }
    }
}

async fn send(write: &mut OwnedWriteHalf, message: impl Serialize) -> io::Result<()> {
    let line = encode(message)?;
    timeout(SILENCE, write.write_all(&line)).await.map_err(|_| io::ErrorKind::TimedOut)?
}

fn broken(err: &io::Error) -> String {
    match err.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => CLOSED.to_owned(),
        _ => format!("the connection failed: {err}"),
    }
}

fn unreachable(socket: &Path, err: &io::Error) -> String {
    let shown = socket.display();
    match err.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            format!("it is not running (nobody listens on {shown}): `systemctl enable --now canhub-span`")
        }
        _ => format!("cannot connect to {shown}: {err}"),
    }
}
