//! Sockets in the file system: bound, protected, taken over from the dead, and gone with their owner.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixStream};

/// The file of a socket; it goes when this is dropped, so that nobody waits for one who is not there.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Binds a socket that only its owner may speak to, in a folder that is made with `folder_mode` if it is missing.
///
/// What a crashed predecessor left is taken over; the socket of a live one is not, and `option` is the one
/// that the error advises.
///
/// # Errors
/// One sentence with what could not be done, and why.
pub(crate) async fn bind(
    path: &Path,
    folder_mode: u32,
    option: &str,
) -> io::Result<(UnixListener, SocketFile)> {
    let failed = |doing: &str, err: io::Error| {
        io::Error::new(err.kind(), format!("cannot {doing} {}: {err}", path.display()))
    };
    if let Some(folder) = path.parent() {
        let made = DirBuilder::new().recursive(true).mode(folder_mode).create(folder);
        made.map_err(|err| failed("make the folder of", err))?;
    }
    if path.exists() {
        if UnixStream::connect(path).await.is_ok() {
            let err = io::Error::new(
                io::ErrorKind::AddrInUse,
                format!(
                    "another canhub serves it already; stop that one first, or give this one another {option}"
                ),
            );
            return Err(failed("listen on", err));
        }
        fs::remove_file(path).map_err(|err| failed("remove the stale socket", err))?;
    }
    let listener = UnixListener::bind(path).map_err(|err| failed("listen on", err))?;
    let file = SocketFile(path.to_owned());
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(|err| failed("protect", err))?;
    Ok((listener, file))
}
