//! The control socket: canhub connects, says which span ports there are, and is told everything.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
};

use canhub::{
    http::socket,
    span::protocol::{FromSpan, State, ToSpan, decode, encode, read_line},
};
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedReadHalf},
    sync::{mpsc, watch},
    time::{Duration, timeout},
};
use tracing::{debug, info, warn};

/// The mode of the socket's folder: systemd makes it for canhub-span alone.
const FOLDER_MODE: u32 = 0o755;
/// A canhub that does not read for so long is gone.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// After an error that is not about one connection, such as too many open files.
const PAUSE: Duration = Duration::from_millis(200);

/// All may connect; the kernel says whose a connection is. The service of canhub is root without the right to pass over
/// the mode of a file.
const SOCKET_MODE: u32 = 0o666;

/// The listening socket.
pub struct Control {
    listener: UnixListener,
    /// Removed at the end.
    _file: socket::SocketFile,
}

impl Control {
    /// Listens.
    ///
    /// # Errors
    /// One sentence.
    pub async fn listen(path: &Path) -> Result<Self, String> {
        let (listener, file) =
            socket::bind(path, FOLDER_MODE, "--socket").await.map_err(|err| err.to_string())?;
        fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))
            .map_err(|err| format!("cannot open {} for canhub: {err}", path.display()))?;
        Ok(Self { listener, _file: file })
    }

    /// Serves one canhub at a time: a new connection replaces the one before. What canhub says goes to `told`, and each
    /// `state` to canhub. Never returns.
    pub async fn serve(self, told: mpsc::Sender<ToSpan>, state: watch::Receiver<Arc<State>>) {
        let mut next = None;
        loop {
            let stream = match next.take() {
                Some(stream) => stream,
                None => self.accept().await,
            };
            info!("canhub is connected");
            tokio::select! {
                ended = converse(stream, &told, state.clone()) => info!("canhub is no longer connected: {ended}"),
                stream = self.accept() => next = Some(stream),
            }
        }
    }

    /// The next connection of root.
    async fn accept(&self) -> UnixStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => match stream.peer_cred() {
                    Ok(peer) if peer.uid() == 0 => return stream,
                    Ok(peer) => {
                        warn!(uid = peer.uid(), "a process that is not root's wanted to control canhub-span")
                    }
                    Err(err) => debug!(%err, "a connection was gone at once"),
                },
                Err(err) => {
                    warn!(%err, "cannot accept a connection of canhub");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Until one of both has had enough; returns why.
async fn converse(
    stream: UnixStream,
    told: &mpsc::Sender<ToSpan>,
    state: watch::Receiver<Arc<State>>,
) -> String {
    let (reader, writer) = stream.into_split();
    tokio::select! {
        ended = listen(reader, told) => ended,
        ended = tell(writer, state) => ended,
    }
}

async fn listen(reader: OwnedReadHalf, told: &mpsc::Sender<ToSpan>) -> String {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        match read_line(&mut reader, &mut line).await {
            Ok(true) => match decode(&line) {
                Ok(message) => drop(told.send(message).await),
                Err(why) => return why,
            },
            Ok(false) => return "it closed the connection".to_owned(),
            Err(err) => return err.to_string(),
        }
    }
}

async fn tell(mut writer: impl AsyncWriteExt + Unpin, mut state: watch::Receiver<Arc<State>>) -> String {
    loop {
        let latest = state.borrow_and_update().clone();
        let line = match encode(FromSpan::State((*latest).clone())) {
            Ok(line) => line,
            Err(err) => return err.to_string(),
        };
        match timeout(WRITE_LIMIT, writer.write_all(&line)).await {
            Ok(Ok(())) => {}
            Ok(Err(err)) => return err.to_string(),
            Err(_) => return "it does not read".to_owned(),
        }
        if state.changed().await.is_err() {
            return "canhub-span is stopping".to_owned();
        }
    }
}
