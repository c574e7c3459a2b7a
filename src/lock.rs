//! Locks between processes: flock(2) on a file. The kernel releases it when the holder ends, in whatever way.
//!
//! The files are only accessible to root (mode 0600, in folders that only root can write), so no other user can open
//! one, let alone lock it.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// dockerd's run folder: the service and the managed plugin both see it (`plugin/config.json` mounts it).
pub const INSTANCE_DIR: &str = "/var/run/docker";
/// The lock file of a state folder, inside it.
const STATE_LOCK: &str = "lock";

/// A held lock, released on drop.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "the open file is the lock")] File);

impl Lock {
    /// The right to manage the buses of a driver name on this host: two canhubs of the same name (the service and the
    /// managed plugin) would both claim the same links and add every rule twice.
    ///
    /// `Ok(None)`: another process holds it.
    ///
    /// # Errors
    /// One sentence: which file cannot be locked, and why.
    pub fn of_instance(folder: &Path, driver: &str) -> io::Result<Option<Self>> {
        Self::acquire(folder, &format!("canhub-{driver}.lock"))
    }

    /// The right to write the records in a state folder. A daemon holds it while it runs.
    ///
    /// `Ok(None)`: another process holds it.
    ///
    /// # Errors
    /// One sentence: which file cannot be locked, and why.
    pub fn of_state(folder: &Path) -> io::Result<Option<Self>> {
        Self::acquire(folder, STATE_LOCK)
    }

    fn acquire(folder: &Path, name: &str) -> io::Result<Option<Self>> {
        let path = folder.join(name);
        let failed =
            |err: io::Error| io::Error::new(err.kind(), format!("cannot lock {}: {err}", path.display()));
        if !folder.is_dir() {
            DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(failed)?;
        }
        let open = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = open.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(err)) => Err(failed(err)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn one_process_holds_a_lock_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("run");
        let held = Lock::of_instance(&folder, "canhub").unwrap();
        assert!(held.is_some());
        assert!(Lock::of_instance(&folder, "canhub").unwrap().is_none());
        assert!(Lock::of_instance(&folder, "other").unwrap().is_some(), "each driver name has its own");
        drop(held);
        assert!(Lock::of_instance(&folder, "canhub").unwrap().is_some());
    }

    /// Whoever can open the file can lock it.
    #[test]
    fn only_the_owner_can_open_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let _lock = Lock::of_state(dir.path()).unwrap().unwrap();
        let mode = fs::metadata(dir.path().join(STATE_LOCK)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_lock_file_that_cannot_be_created_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let err = Lock::of_state(file.path()).unwrap_err().to_string();
        assert!(err.starts_with("cannot lock /") && err.contains("/lock: "), "{err}");
    }
}
