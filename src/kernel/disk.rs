//! How much room a disk has.

use std::{io, path::Path};

use nix::sys::statvfs::{FsFlags, statvfs};

/// The room on the file system that a folder is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeSpace {
    /// Bytes that can still be written.
    pub bytes: u64,
    /// Files that can still be made; `None` where there is no limit.
    pub files: Option<u64>,
    /// Whether nothing can be written at all.
    pub read_only: bool,
}

/// The room there is for a folder.
///
/// # Errors
/// What the kernel says of the folder.
#[allow(
    clippy::unnecessary_cast,
    clippy::useless_conversion,
    reason = "the fields' types differ between C libraries"
)]
pub fn free_space(folder: &Path) -> io::Result<FreeSpace> {
    let disk = statvfs(folder).map_err(io::Error::from)?;
    Ok(FreeSpace {
        bytes: disk.blocks_available() as u64 * disk.fragment_size() as u64,
        // btrfs and others make files as they need them, and report none.
        files: (disk.files() > 0).then(|| disk.files_available() as u64),
        read_only: disk.flags().contains(FsFlags::ST_RDONLY),
    })
}
