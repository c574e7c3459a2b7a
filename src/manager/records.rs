//! Whether what must outlive the process does.

use super::Manager;
use crate::checks::{Finding, Group, records};

impl Manager {
    /// Whether all records are on the disk and there is room for more. What a full disk did not take is tried
    /// again first; else nothing is written. It may block for as long as the disk does.
    pub fn records(&self) -> Finding {
        if !self.store.unsaved().is_empty() {
            self.save_again();
        }
        let folder = self.store.dir();
        if let Some(finding) = records::no_room(folder) {
            return finding;
        }
        match self.store.unsaved().first() {
            None => {
                let sentence = format!("all records are on the disk, in {}", folder.display());
                Finding::pass(Group::Buses, records::CHECK, sentence)
            }
            Some(why) => Finding::error(Group::Buses, records::CHECK, why.clone())
                .by(format!("ls -ld {}", folder.display())),
        }
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
