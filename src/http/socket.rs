//! Unix sockets in the file system: find out whether one is in use, replace a stale one, remove our own at exit.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    net::{UnixListener, UnixStream},
    time::timeout,
};

/// A live listener accepts a connection at once.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// What is at the path of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// A socket that a process listens on.
    Served,
    /// A socket that no process listens on.
    Stale,
    /// Something that is not a socket.
    NotASocket,
    /// Nothing.
    Absent,
    /// Unknown, for this reason.
    Unknown(io::ErrorKind),
}

/// Finds out whether a process listens on a socket, by connecting and hanging up at once.
pub(crate) async fn probe(path: &Path) -> Probe {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => {}
        Ok(_) => return Probe::NotASocket,
        Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Probe::Absent;
        }
        Err(err) => return Probe::Unknown(err.kind()),
    }
    match timeout(PROBE_LIMIT, UnixStream::connect(path)).await {
        Ok(Ok(_)) => Probe::Served,
        Ok(Err(err)) => match err.kind() {
            io::ErrorKind::ConnectionRefused => Probe::Stale,
            // connect(2) on a non-blocking socket: the listener's backlog is full.
            io::ErrorKind::WouldBlock => Probe::Served,
            io::ErrorKind::NotFound => Probe::Absent,
            kind => Probe::Unknown(kind),
        },
        Err(_) => Probe::Served,
    }
}

/// Removes a stale socket; a missing one is fine. Anything else stays.
///
/// # Errors
/// Why it stays, as the end of a sentence that starts with the path.
pub(crate) async fn remove_stale(path: &Path) -> io::Result<()> {
    let (kind, why) = match probe(path).await {
        Probe::Absent => return Ok(()),
        Probe::Stale => return fs::remove_file(path),
        Probe::Served => (io::ErrorKind::AddrInUse, "another process serves it".to_owned()),
        Probe::NotASocket => (
            io::ErrorKind::AlreadyExists,
            "it exists and is not a socket, so canhub leaves it alone".to_owned(),
        ),
        Probe::Unknown(kind) => (kind, format!("cannot tell whether it is in use: {kind}")),
    };
    Err(io::Error::new(kind, why))
}

/// The file of a socket that we listen on. Removed on drop, so that nobody waits for a server that has stopped.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device_and_inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another process may have put its own socket in its place.
        if device_and_inode(&self.path).is_ok_and(|found| found == self.device_and_inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn device_and_inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

/// Listens on a socket that only its owner can connect to. A missing folder is created with `folder_mode`.
///
/// A stale socket at the path is replaced. A socket in use and any other file stay, and the error suggests choosing
/// another path with `option`.
///
/// # Errors
/// One sentence: what could not be done, why, and the next step.
pub async fn bind(path: &Path, folder_mode: u32, option: &str) -> io::Result<(UnixListener, SocketFile)> {
    let failed = |doing: &str, err: io::Error| {
        io::Error::new(err.kind(), format!("cannot {doing} {}: {err}", path.display()))
    };
    if let Some(folder) = path.parent() {
        let made = DirBuilder::new().recursive(true).mode(folder_mode).create(folder);
        made.map_err(|err| failed("create the folder of", err))?;
    }
    remove_stale(path).await.map_err(|err| {
        let next = match err.kind() {
            io::ErrorKind::AddrInUse => "stop it first, or choose another path with",
            _ => "move it away, or choose another path with",
        };
        failed("listen on", io::Error::new(err.kind(), format!("{err}; {next} {option}")))
    })?;
    let listener = UnixListener::bind(path).map_err(|err| failed("listen on", err))?;
    let device_and_inode = device_and_inode(path).map_err(|err| failed("listen on", err))?;
    let file = SocketFile { path: path.to_owned(), device_and_inode };
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(|err| failed("protect", err))?;
    Ok((listener, file))
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::symlink, net};

    use super::*;

    /// A live server whose backlog is full.
    fn full(path: &Path) -> (net::UnixListener, Vec<net::UnixStream>) {
        use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
        let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &UnixAddr::new(path).unwrap()).unwrap();
        listen(&fd, Backlog::new(0).unwrap()).unwrap();
        // A backlog of 0 holds one connection.
        (fd.into(), vec![net::UnixStream::connect(path).unwrap()])
    }

    #[tokio::test]
    async fn a_socket_in_use_is_distinguished_from_a_stale_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sock");
        assert_eq!(probe(&path).await, Probe::Absent);
        let listener = net::UnixListener::bind(&path).unwrap();
        assert_eq!(probe(&path).await, Probe::Served);
        drop(listener);
        assert_eq!(probe(&path).await, Probe::Stale);
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(probe(&file).await, Probe::NotASocket);
        assert_eq!(probe(&file.join("x.sock")).await, Probe::Absent);
    }

    #[tokio::test]
    async fn a_server_with_a_full_backlog_is_not_stale() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sock");
        let _busy = full(&path);
        assert_eq!(probe(&path).await, Probe::Served);
        let err = bind(&path, 0o700, "--socket").await.unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::AddrInUse);
        assert!(err.to_string().contains("another process serves it; stop it first"), "{err}");
        assert!(path.exists());
    }

    #[tokio::test]
    async fn only_a_stale_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        drop(net::UnixListener::bind(at("stale")).unwrap());
        let (listener, file) = bind(&at("stale"), 0o700, "--socket").await.unwrap();
        assert_eq!(probe(&at("stale")).await, Probe::Served);
        assert_eq!(fs::metadata(at("stale")).unwrap().mode() & 0o777, 0o600);
        drop((listener, file));
        assert!(!at("stale").exists(), "it is removed with its owner");

        fs::write(at("text"), "precious").unwrap();
        fs::create_dir(at("folder")).unwrap();
        symlink(at("text"), at("link")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        for name in ["text", "folder", "link", "dangling"] {
            let err = bind(&at(name), 0o700, "--admin-socket").await.unwrap_err().to_string();
            assert!(err.contains("is not a socket") && err.contains("--admin-socket"), "{name}: {err}");
            assert!(at(name).symlink_metadata().is_ok(), "{name} was removed");
        }
        assert_eq!(fs::read_to_string(at("text")).unwrap(), "precious");
    }

    #[tokio::test]
    async fn the_socket_of_a_successor_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sock");
        let (_listener, file) = bind(&path, 0o700, "--socket").await.unwrap();
        fs::remove_file(&path).unwrap();
        let _successor = net::UnixListener::bind(&path).unwrap();
        drop(file);
        assert_eq!(probe(&path).await, Probe::Served);
    }
}
