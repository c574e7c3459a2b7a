//! Who answers on a socket.

use std::{io, os::unix::fs::FileTypeExt, path::Path, time::Duration};

use tokio::{net::UnixStream, time::timeout};

/// A live listener takes a connection at once.
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// What is behind a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// Somebody takes connections.
    Somebody,
    /// A socket that nobody serves any more.
    Nobody,
    /// No such file, or one that is no socket.
    Nothing,
    /// One that we may not try.
    Unknown,
}

/// Knocks at a socket, and hangs up at once.
pub async fn knock(path: &Path) -> Behind {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => {}
        Ok(_) => return Behind::Nothing,
        Err(err) if err.kind() == io::ErrorKind::PermissionDenied => return Behind::Unknown,
        Err(_) => return Behind::Nothing,
    }
    match timeout(TIME_LIMIT, UnixStream::connect(path)).await {
        Ok(Ok(_)) => Behind::Somebody,
        Ok(Err(err)) => match err.kind() {
            io::ErrorKind::ConnectionRefused => Behind::Nobody,
            io::ErrorKind::NotFound => Behind::Nothing,
            _ => Behind::Unknown,
        },
        // Its queue is full, so somebody has it.
        Err(_) => Behind::Somebody,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_dead_are_told_from_the_living() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sock");
        assert_eq!(knock(&path).await, Behind::Nothing);
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        assert_eq!(knock(&path).await, Behind::Somebody);
        drop(listener);
        assert_eq!(knock(&path).await, Behind::Nobody);
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(knock(&file).await, Behind::Nothing);
    }
}
