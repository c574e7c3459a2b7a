//! Free space on a disk.

use std::{io, path::Path};

use nix::sys::statvfs::{FsFlags, statvfs};

/// Free space on the file system of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeSpace {
    /// Bytes that can still be written.
    pub bytes: u64,
    /// Files that can still be created; `None` if there is no limit.
    pub files: Option<u64>,
    /// Whether the file system is read-only.
    pub read_only: bool,
}

/// The free space for a folder.
///
/// # Errors
/// The kernel's error.
#[allow(
    clippy::unnecessary_cast,
    clippy::useless_conversion,
    reason = "the fields' types differ between C libraries"
)]
pub fn free_space(folder: &Path) -> io::Result<FreeSpace> {
    let disk = statvfs(folder).map_err(io::Error::from)?;
    Ok(FreeSpace {
        bytes: disk.blocks_available() as u64 * disk.fragment_size() as u64,
        // btrfs and others create inodes on demand, and report none.
        files: (disk.files() > 0).then(|| disk.files_available() as u64),
        read_only: disk.flags().contains(FsFlags::ST_RDONLY),
    })
}
