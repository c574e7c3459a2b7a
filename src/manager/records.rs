//! Whether everything that must survive the process is on disk.

use std::path::PathBuf;

use tracing::{info, warn};

use super::Manager;
use crate::{kernel::free_space, model::Model};

/// The state of the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordsState {
    /// The state folder.
    pub folder: PathBuf,
    /// The state file, and why it cannot be read.
    pub unread: Option<(PathBuf, String)>,
    /// Why a record could not be saved; it exists in memory only.
    pub unsaved: Option<String>,
}

impl Manager {
    /// Whether all records are on disk. Retries what could not be read or saved before, and replaces a deleted state file;
    /// otherwise it writes nothing. May block for as long as the disk does.
    pub fn records(&self) -> RecordsState {
        if self.store.unread().is_some() {
            self.read_records_again(&mut self.model.lock());
        }
        let unread = self.store.unread().map(|why| (self.store.state_file(), why));
        // The lock only if something is wrong: it may be held for as long as the kernel hangs.
        let is_saved = || {
            self.store.unsaved().is_empty()
                && !(self.store.is_missing() && self.is_file_deleted(&self.model.lock()))
        };
        if unread.is_none() && !is_saved() {
            self.save_again();
        }
        let unsaved = self.store.unsaved().first().cloned();
        RecordsState { folder: self.store.dir().to_owned(), unread, unsaved }
    }

    /// Bytes that can still be written to the file system of the state folder. May block for as long as the disk does.
    pub fn state_free_bytes(&self) -> Option<u64> {
        free_space(self.store.dir()).ok().map(|room| room.bytes)
    }

    /// Loads the records that could not be read before, once they can be. They have more information than the kernel.
    pub(super) fn read_records_again(&self, model: &mut Model) {
        let Some(loaded) = self.store.read_again() else { return };
        info!(networks = loaded.networks.len(), "the state file can be read again");
        for warning in &loaded.warnings {
            warn!("{warning}");
        }
        loaded.networks.into_iter().for_each(|network| model.put_network(network));
        // The store remembers failures.
        let _ = self.store.save_networks(model.networks());
        self.signals.want_look();
        self.signals.want_relearn();
    }

    /// Whether the state file is gone although there are networks. Without it, they do not come back after a reboot.
    pub(super) fn is_file_deleted(&self, model: &Model) -> bool {
        model.networks().next().is_some() && self.store.is_missing()
    }

    fn save_again(&self) {
        let model = self.model.lock();
        // The store remembers failures, and is queried next.
        let _ = self.store.save_networks(model.networks());
        for endpoint in model.endpoints() {
            let _ = self.store.save_endpoint(endpoint);
        }
    }
}
