//! The machine's files as checks read them: under `/`, or under a folder that a test made.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A root to look under.
#[derive(Debug, Clone)]
pub struct Files {
    root: PathBuf,
}

impl Default for Files {
    fn default() -> Self {
        Self::under("/")
    }
}

impl Files {
    /// The files under this folder.
    pub fn under(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where a file of the machine is.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A file's text without the white space around it; `None` where it cannot be read.
    pub fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        let bytes = fs::read(self.path(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// Whether something has that name, even a link to nowhere.
    pub fn has(&self, path: impl AsRef<Path>) -> bool {
        fs::symlink_metadata(self.path(path)).is_ok()
    }

    /// Whether only somebody else may see it.
    pub fn hides(&self, path: impl AsRef<Path>) -> bool {
        matches!(fs::metadata(self.path(path)), Err(err) if err.kind() == io::ErrorKind::PermissionDenied)
    }

    /// The names in a folder, in order; none where it cannot be read.
    pub fn names(&self, folder: impl AsRef<Path>) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

#[cfg(test)]
impl Files {
    /// Makes a file for a check to find.
    pub(crate) fn with(self, path: &str, text: &str) -> Self {
        let at = self.path(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, text).unwrap();
        self
    }
}
