//! Work inside another network namespace.
//!
//! A netlink socket always belongs to the namespace of the thread that created it. So a short-lived thread enters the
//! namespace, does its work and ends; no runtime thread ever changes its namespace.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    thread,
};

use nix::{
    sched::{CloneFlags, setns},
    sys::statfs::{NSFS_MAGIC, fstatfs},
};

use super::{KernelError, Result};

/// Opens the namespace at `path`; `None` if there is none.
///
/// dockerd first creates a plain file and mounts the namespace over it later; it unmounts the namespace before it
/// removes the file. So a file that is not on nsfs is a sandbox that does not exist yet, or no longer.
pub(super) fn open(path: &Path) -> Result<Option<OwnedFd>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(err.into()),
    };
    let is_namespace = fstatfs(&file)?.filesystem_type() == NSFS_MAGIC;
    Ok(is_namespace.then(|| file.into()))
}

/// Runs `work` on a new thread that has entered `namespace`.
///
/// # Errors
/// Those of `work`, of entering the namespace, and of starting the thread.
pub(super) fn run_in<T: Send>(namespace: impl AsFd, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let namespace = namespace.as_fd();
    on_a_thread(move || {
        enter(namespace)?;
        work()
    })
}

/// Runs `work` in the namespace at each path, one after another on one new thread. Each has its own result; `None` if
/// there is no namespace.
///
/// Each namespace is only open while it is in use, so a thousand of them need no more descriptors than one.
pub(super) fn run_in_each<T: Send>(
    paths: BTreeSet<&Path>,
    work: impl Fn() -> Result<T> + Send + Sync,
) -> Vec<(&Path, Result<Option<T>>)> {
    if paths.is_empty() {
        return Vec::new();
    }
    let run = |path| {
        let Some(namespace) = open(path)? else { return Ok(None) };
        enter(namespace.as_fd())?;
        work().map(Some)
    };
    let all = || Ok(paths.iter().map(|path| (*path, run(path))).collect());
    on_a_thread(all).unwrap_or_else(|err| {
        let failed = |path| (path, Err(KernelError::Unexpected(format!("no thread to enter it: {err}"))));
        paths.iter().copied().map(failed).collect()
    })
}

#[allow(clippy::disallowed_methods, reason = "the one place that enters a namespace")]
fn enter(namespace: BorrowedFd<'_>) -> Result<()> {
    Ok(setns(namespace, CloneFlags::CLONE_NEWNET)?)
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        thread::Builder::new().name("canhub-netns".into()).spawn_scoped(scope, work)?.join().unwrap_or_else(
            |_| Err(KernelError::Unexpected("the thread inside the namespace panicked".into())),
        )
    })
}

/// The ID of this boot; sandboxes and endpoints of another boot no longer exist.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
