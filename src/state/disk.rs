//! Files that are replaced atomically: a reader, a crash and a power cut find either the old or the new content.

use std::{
    fmt,
    fs::{self, File},
    io,
    path::Path,
};

/// The operations on a disk, as single calls, so that a test can cut the power between any two.
pub(super) trait Disk: fmt::Debug + Send + Sync {
    /// Creates or truncates a file, and writes it.
    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()>;
    /// Returns once the content of a file, or the names in a folder, would survive a power cut (fsync(2)).
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Renames a file, replacing the target.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
}

/// The required durability of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// It survives the process.
    Crash,
    /// It survives a power cut; takes milliseconds.
    PowerCut,
}

/// Replaces a file. On an error the old one is unchanged, unless only the last step failed: then readers find the new
/// one, and a power cut may bring back the old one.
///
/// # Errors
/// The disk's error.
pub(super) fn replace(
    disk: &dyn Disk,
    path: &Path,
    content: &[u8],
    durability: Durability,
) -> io::Result<()> {
    let fresh = path.with_extension(FRESH);
    let sync = |path: &Path| match durability {
        Durability::PowerCut => disk.sync(path),
        Durability::Crash => Ok(()),
    };
    let written = disk.write(&fresh, content).and_then(|()| sync(&fresh));
    written.and_then(|()| disk.rename(&fresh, path)).inspect_err(|_| drop(fs::remove_file(&fresh)))?;
    path.parent().map_or(Ok(()), sync)
}

/// The suffix of a file that is being written; after a crash it may be left behind, incomplete.
pub(super) const FRESH: &str = "new";

/// The real disk.
#[derive(Debug)]
pub(super) struct Real;

impl Disk for Real {
    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        fs::write(path, content)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::{collections::BTreeMap, io::Read, os::unix::fs::MetadataExt, path::PathBuf, sync::Arc};

    use parking_lot::Mutex;

    use super::*;

    /// A disk in memory whose power can be cut. It keeps what was synced; of the rest it keeps the worst possible
    /// combination.
    #[derive(Debug, Clone, Default)]
    pub(in crate::state) struct PowerCutDisk(Arc<Mutex<DiskState>>);

    #[derive(Debug, Default)]
    struct DiskState {
        /// The files as a running system sees them, and whether their content was synced.
        files: Vec<(Vec<u8>, bool)>,
        names: BTreeMap<PathBuf, usize>,
        synced_names: BTreeMap<PathBuf, usize>,
        /// Number of calls until the power fails.
        calls_left: Option<usize>,
    }

    impl PowerCutDisk {
        fn call<T>(&self, work: impl FnOnce(&mut DiskState) -> T) -> io::Result<T> {
            let mut state = self.0.lock();
            match &mut state.calls_left {
                Some(0) => return Err(io::Error::other("there is no power")),
                Some(left) => *left -= 1,
                None => {}
            }
            Ok(work(&mut state))
        }

        /// The possible content of a file after the power cut: with names as synced, and with all renames written
        /// early. Content that was not synced is cut in half.
        pub(in crate::state) fn after_a_power_cut(&self, path: &Path) -> [Option<Vec<u8>>; 2] {
            let state = self.0.lock();
            [&state.synced_names, &state.names].map(|names| {
                let (content, synced) = &state.files[*names.get(path)?];
                Some(if *synced { content.clone() } else { content[..content.len() / 2].to_vec() })
            })
        }
    }

    impl Disk for PowerCutDisk {
        fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
            self.call(|state| {
                let next = state.files.len();
                match state.names.get(path) {
                    Some(&file) => state.files[file] = (content.to_vec(), false),
                    None => {
                        state.files.push((content.to_vec(), false));
                        state.names.insert(path.to_owned(), next);
                    }
                }
            })
        }

        fn sync(&self, path: &Path) -> io::Result<()> {
            self.call(|state| match state.names.get(path) {
                Some(&file) => state.files[file].1 = true,
                None => state.synced_names = state.names.clone(),
            })
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.call(|state| {
                let file = state.names.remove(from).unwrap();
                state.names.insert(to.to_owned(), file);
            })
        }
    }

    #[test]
    fn a_power_cut_leaves_either_the_old_or_the_new_content() {
        let (path, old, new) = (Path::new("/state/x.json"), b"old and whole", b"new, whole and longer");
        for calls in 0..=5 {
            let disk = PowerCutDisk::default();
            replace(&disk, path, old, Durability::PowerCut).unwrap();
            disk.0.lock().calls_left = Some(calls);
            let replaced = replace(&disk, path, new, Durability::PowerCut);
            assert_eq!(replaced.is_ok(), calls >= 4, "after {calls} calls");
            for found in disk.after_a_power_cut(path) {
                let found = found.unwrap();
                assert!(
                    found == new || (found == old && replaced.is_err()),
                    "after {calls} calls: {found:?}"
                );
            }
        }
    }

    #[test]
    fn a_reader_with_the_old_file_open_reads_all_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        replace(&Real, &path, b"old", Durability::PowerCut).unwrap();
        let (mut reader, old) = (File::open(&path).unwrap(), fs::metadata(&path).unwrap().ino());
        for durability in [Durability::PowerCut, Durability::Crash] {
            replace(&Real, &path, b"new", durability).unwrap();
        }
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        assert_eq!((&*read, &*fs::read(&path).unwrap()), ("old", &b"new"[..]));
        assert_ne!(fs::metadata(&path).unwrap().ino(), old);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    }

    /// A file in /proc is on no disk: fsync(2) fails on it, which shows that it was called.
    #[test]
    fn the_real_disk_syncs_for_real() {
        let err = Real.sync(Path::new("/proc/self/status")).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "").unwrap();
        // A file cannot replace a folder that is not empty.
        assert!(replace(&Real, &path, b"new", Durability::Crash).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
