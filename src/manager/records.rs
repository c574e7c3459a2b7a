//! Whether what must outlive the process does.

use tracing::{info, warn};

use super::Manager;
use crate::{
    checks::{Finding, Group, records},
    kernel::free_space,
    model::Model,
};

impl Manager {
    /// Whether all records are on the disk and there is room for more. What a full disk did not take is tried
    /// again first; else nothing is written. It may block for as long as the disk does.
    pub fn records(&self) -> Finding {
        if self.store.unread().is_some() {
            self.read_records_again(&mut self.model.lock());
        }
        if let Some(why) = self.store.unread() {
            let sentence = format!(
                "{why}: buses work as far as the kernel and Docker tell, and no network can be created until it can be read"
            );
            let file = self.store.state_file();
            return Finding::error(Group::Buses, records::CHECK, sentence)
                .hint(format!("check `ls -ld {}`", file.display()));
        }
        if !self.store.unsaved().is_empty() {
            self.save_again();
        }
        let folder = self.store.dir();
        if let Some(finding) = records::no_room(folder) {
            return finding;
        }
        match self.store.unsaved().first() {
            None => {
                let sentence = format!("all records are saved in {}", folder.display());
                Finding::pass(Group::Buses, records::CHECK, sentence)
            }
            Some(why) => Finding::error(Group::Buses, records::CHECK, why.clone())
                .hint(format!("check `ls -ld {}`", folder.display())),
        }
    }

    /// Bytes that can still be written to the file system of the state folder. It may block for as long as the disk does.
    pub fn state_free_bytes(&self) -> Option<u64> {
        free_space(self.store.dir()).ok().map(|room| room.bytes)
    }

    /// Takes in the records that could not be read before, once they can be. They know more than the kernel does.
    pub(super) fn read_records_again(&self, model: &mut Model) {
        let Some(loaded) = self.store.read_again() else { return };
        info!(networks = loaded.networks.len(), "the state file can be read again");
        for warning in &loaded.warnings {
            warn!("{warning}");
        }
        loaded.networks.into_iter().for_each(|network| model.put_network(network));
        // What fails is remembered by the store.
        let _ = self.store.save_networks(model.networks());
        self.signals.want_look();
        self.signals.want_relearn();
    }

    fn save_again(&self) {
        let model = self.model.lock();
        // Each that fails is remembered by the store, which is asked next.
        let _ = self.store.save_networks(model.networks());
        for endpoint in model.endpoints() {
            let _ = self.store.save_endpoint(endpoint);
        }
    }
}
