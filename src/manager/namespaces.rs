//! The namespace of each member, and which members are dead because theirs is gone.

use super::Manager;
use crate::{
    model::Model,
    plan::{Have, Want},
};

impl Manager {
    /// Records the namespaces of all members, and which members are dead.
    ///
    /// Not at Join: Docker before 28 creates the sandbox after it, and the loop runs a moment later anyway. The endpoint's
    /// record keeps it across restarts of canhub. The alias does not need it, because it disappears with the pair.
    pub(crate) fn note_namespaces(&self, model: &mut Model, want: &Want, have: &Have) {
        for member in want.buses.iter().flat_map(|bus| &bus.members) {
            model.set_dead(&member.endpoint, member.is_dead(have));
            let Some(namespace) = member.seen_in(have) else { continue };
            if let Some(endpoint) = model.seen_in(&member.endpoint, namespace) {
                self.save_endpoint(endpoint);
            }
        }
    }
}
