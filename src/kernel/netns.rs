//! Work inside another network namespace.
//!
//! A netlink socket always belongs to the namespace of the thread that created it. So a separate thread enters the
//! namespace, does its work and leaves it again; no runtime thread ever changes its namespace.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
    sys::{
        stat::fstat,
        statfs::{NSFS_MAGIC, fstatfs, statfs},
    },
};
use parking_lot::Mutex;

use super::{KernelError, Result};

/// Opens the namespace at `path`; `None` if there is none.
///
/// dockerd first creates a plain file and mounts the namespace over it later; it unmounts the namespace before it
/// removes the file. So a file that is not on nsfs is a sandbox that does not exist yet, or no longer.
pub(super) fn open(path: &Path) -> Result<Option<OwnedFd>> {
    either(path, |path| {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(err.into()),
        };
        let is_namespace = fstatfs(&file)?.filesystem_type() == NSFS_MAGIC;
        Ok(is_namespace.then(|| file.into()))
    })
}

/// Whether there is a namespace at `path`, as [`open`] decides it.
pub(super) fn exists(path: &Path) -> Result<bool> {
    let found = either(path, |path| match statfs(path) {
        Ok(filesystem) => Ok((filesystem.filesystem_type() == NSFS_MAGIC).then_some(())),
        Err(Errno::ENOENT) => Ok(None),
        Err(err) => Err(err.into()),
    });
    found.map(|found| found.is_some())
}

/// What `look` finds at a path here or, if there is nothing, where process 1 sees it.
///
/// A service has a mount namespace of its own. It lacks what is mounted in a folder that was no mount point when the service
/// started, which `/run/netns` is not before the first `ip netns add`: what it has there are empty files that nobody may
/// open.
fn either<T>(path: &Path, look: impl Fn(&Path) -> Result<Option<T>>) -> Result<Option<T>> {
    let here = look(path);
    match here {
        Ok(Some(_)) => here,
        // Without CAP_SYS_PTRACE nothing of process 1 can be seen.
        Ok(None) | Err(_) => look(&of_init(path)).ok().flatten().map_or(here, |found| Ok(Some(found))),
    }
}

/// A path as process 1 sees it. Its folder is resolved here, because an absolute symbolic link (`/var/run`) leads back here.
fn of_init(path: &Path) -> PathBuf {
    let folder = path.parent().and_then(|folder| fs::canonicalize(folder).ok());
    let path =
        folder.zip(path.file_name()).map_or_else(|| path.to_owned(), |(folder, name)| folder.join(name));
    Path::new("/proc/1/root").join(path.strip_prefix("/").unwrap_or(&path))
}

/// Whether this namespace is the one at `path`. Inodes are reused, but not while their namespaces exist.
pub(super) fn is_at(namespace: &OwnedFd, path: &Path) -> Result<bool> {
    let (one, other) = (fstat(namespace)?, fs::metadata(path)?);
    Ok((one.st_dev, one.st_ino) == (other.dev(), other.ino()))
}

/// The work of a thread inside a namespace. It is told whether the namespace could be entered, and returns what to do
/// after the thread has left it.
type Job = (OwnedFd, Box<dyn FnOnce(Result<()>) -> Report + Send>);
type Report = Box<dyn FnOnce() + Send>;

/// The thread that waits for its next job. Every Join has one, and starting a thread takes about fifteen system calls.
static WAITING: Mutex<Option<Sender<Job>>> = Mutex::new(None);

/// Runs `work` on a thread that has entered `namespace`.
///
/// # Errors
/// Those of `work`, of entering the namespace, and of starting the thread.
pub(super) fn run_in<T: Send + 'static>(
    namespace: OwnedFd,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (report, reported) = channel();
    let job: Job = (
        namespace,
        Box::new(move |entered| {
            let done = entered.and_then(|()| work());
            Box::new(move || drop(report.send(done)))
        }),
    );
    let waiting = WAITING.lock().take();
    let panicked = || KernelError::Unexpected("the thread inside the namespace panicked".into());
    waiting.map_or_else(start, Ok)?.send(job).map_err(|_| panicked())?;
    reported.recv().map_err(|_| panicked())?
}

fn start() -> Result<Sender<Job>> {
    let home = File::open("/proc/thread-self/ns/net")?;
    let (jobs, next) = channel();
    let me = jobs.clone();
    thread::Builder::new().name("canhub-netns".into()).spawn(move || serve(&home, &me, &next))?;
    Ok(jobs)
}

/// Runs jobs until another thread is waiting for them too. It waits in its own namespace: a thread inside a container's
/// namespace would keep that and its interfaces alive after the container has ended.
fn serve(home: &File, me: &Sender<Job>, jobs: &Receiver<Job>) {
    for (namespace, job) in jobs {
        let report = job(enter(namespace.as_fd()));
        drop(namespace);
        let is_home = enter(home.as_fd()).is_ok();
        let waits = is_home && {
            let mut waiting = WAITING.lock();
            let is_first = waiting.is_none();
            waiting.get_or_insert_with(|| me.clone());
            is_first
        };
        report();
        if !waits {
            return;
        }
    }
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

/// Whether this is the first process of its PID namespace, as in a managed plugin or a container. Then `/proc` has no
/// process of the host, and process 1 sees no more than canhub.
pub fn is_alone() -> bool {
    std::process::id() == 1
}

/// The ID of this boot; sandboxes and endpoints of another boot no longer exist.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_namespace() -> OwnedFd {
        File::open("/proc/thread-self/ns/net").unwrap().into()
    }

    /// Entering needs CAP_SYS_ADMIN, even for its own namespace.
    fn may_enter() -> bool {
        run_in(own_namespace(), || Ok(())).is_ok()
    }

    #[test]
    fn a_path_that_process_1_sees_is_not_led_astray_by_a_symbolic_link() {
        let dir = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(dir.path()).unwrap();
        std::os::unix::fs::symlink(&real, dir.path().join("link")).unwrap();
        let inside = |path: &Path| Path::new("/proc/1/root").join(path.strip_prefix("/").unwrap());
        assert_eq!(of_init(&dir.path().join("link/ecu1")), inside(&real.join("ecu1")));
        assert_eq!(of_init(Path::new("/no/such/ecu1")), inside(Path::new("/no/such/ecu1")));
    }

    #[test]
    fn a_panic_is_an_error_and_the_next_job_gets_a_new_thread() {
        if may_enter() {
            let panics = || -> Result<()> { panic!("on purpose") };
            assert!(run_in(own_namespace(), panics).unwrap_err().to_string().contains("panicked"));
            assert_eq!(run_in(own_namespace(), || Ok(7)).unwrap(), 7);
        } else {
            let err = run_in(own_namespace(), || Ok(())).unwrap_err();
            assert_eq!(err.refusal(), crate::kernel::Refusal::NotPermitted, "{err}");
        }
    }

    #[test]
    fn concurrent_jobs_do_not_wait_for_each_other() {
        let (first, second) = (channel(), channel::<()>());
        let slow = thread::spawn(move || {
            run_in(own_namespace(), move || {
                first.0.send(()).unwrap();
                Ok(second.1.recv().is_err())
            })
        });
        if first.1.recv().is_ok() {
            assert!(run_in(own_namespace(), || Ok(())).is_ok());
            drop(second.0);
            assert!(slow.join().unwrap().unwrap());
        }
    }
}
