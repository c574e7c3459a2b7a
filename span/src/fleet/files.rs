//! Files with secrets: readable by their owner only, and replaced atomically.
//!
//! Not `canhub::state`, which has neither: a file there belongs to whom runs the process. Here `canhub-span join` runs as
//! root, and the service that reads the file as a user of its own.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
    path::Path,
};

/// Replaces a file; afterwards it survives a power cut, belongs to the owner of its folder, and nobody else can read it.
///
/// # Errors
/// One sentence: which file, and why.
pub fn replace(path: &Path, content: &str) -> Result<(), String> {
    write(path, content, None).map_err(|err| failed("write", path, &err))
}

/// The same for a file that all may read; creates its folder.
///
/// # Errors
/// One sentence: which file, and why.
pub fn write_for_all(path: &Path, content: &str) -> Result<(), String> {
    let folder = path.parent().map_or(Ok(()), create_public_folder);
    folder.and_then(|()| write(path, content, Some(0o644))).map_err(|err| failed("write", path, &err))
}

pub(super) fn failed(what: &str, path: &Path, err: &io::Error) -> String {
    let hint = if err.kind() == io::ErrorKind::PermissionDenied { "; run this as root" } else { "" };
    // The crate tempfile appends a name that nobody has seen.
    let why = err.to_string();
    let why = why.split(" at path ").next().unwrap_or_default();
    format!("cannot {what} {}: {why}{hint}", path.display())
}

fn write(path: &Path, content: &str, mode: Option<u32>) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Mode 0600 from the start.
    let mut fresh = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
    fresh.write_all(content.as_bytes())?;
    let (owner, own) = (fs::metadata(folder)?, fresh.as_file().metadata()?);
    if (owner.uid(), owner.gid()) != (own.uid(), own.gid()) {
        chown(fresh.path(), Some(owner.uid()), Some(owner.gid()))?;
    }
    if let Some(mode) = mode {
        fresh.as_file().set_permissions(Permissions::from_mode(mode))?;
    }
    fresh.as_file().sync_all()?;
    fresh.persist(path).map_err(|err| err.error)?;
    File::open(folder)?.sync_all()
}

/// Creates a folder that only its owner can enter, unless it exists.
///
/// # Errors
/// One sentence: which folder, and why.
pub(super) fn create_folder(folder: &Path) -> Result<(), String> {
    let failed = |err: io::Error| failed("create", folder, &err);
    if folder.is_dir() {
        return Ok(());
    }
    folder.parent().map_or(Ok(()), create_public_folder).map_err(failed)?;
    DirBuilder::new().mode(0o700).create(folder).map_err(failed)
}

/// A folder that all can enter, even if root's umask is 077: the service reads its settings in /etc/canhub.
fn create_public_folder(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    folder.parent().map_or(Ok(()), create_public_folder)?;
    fs::create_dir(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o755))
}

/// The content of a file, or `None` if it does not exist.
///
/// # Errors
/// One sentence: which file, and why.
pub(super) fn read(path: &Path) -> Result<Option<String>, String> {
    match fs::read_to_string(path) {
        Ok(content) => Ok(Some(content)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(failed("read", path, &err)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_of_the_folder_can_read_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        create_folder(&folder).unwrap();
        create_folder(&folder).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        let path = folder.join("key");
        replace(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        replace(&path, "new").unwrap();
        assert_eq!((read(&path), mode(&path)), (Ok(Some("new".to_owned())), 0o600));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing else is left");
        assert_eq!(read(&folder.join("none")), Ok(None));
        let public = dir.path().join("etc/settings");
        write_for_all(&public, "x").unwrap();
        assert_eq!(mode(&public), 0o644);
        // Only root can give a file away, which is what join does.
        if chown(&folder, Some(12), Some(34)).is_ok() {
            replace(&path, "given").unwrap();
            let meta = fs::metadata(&path).unwrap();
            assert_eq!((meta.uid(), meta.gid()), (12, 34));
        }
    }

    #[test]
    fn an_error_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let why = replace(&dir.path().join("none/key"), "x").unwrap_err();
        assert!(why.starts_with("cannot write ") && why.contains("/none/key: "), "{why}");
        assert!(read(dir.path()).unwrap_err().starts_with("cannot read "));
    }
}
