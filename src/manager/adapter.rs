//! Adapters are not canhub's: their settings are saved before the first change, and restored at the end.

use tracing::{info, warn};

use super::Manager;
use crate::{
    adapter::{Adapter, Settings},
    error::Error,
    kernel::LinkChange,
    model::Model,
    network::{Found, Network},
    options::RawOptions,
    plan::{Action, Have, Step, carriers, unread_adapter},
};

/// The key of the queue length.
const TXQUEUELEN: &str = "txqueuelen";

impl Manager {
    /// Saves the current settings of adapters that these steps will change, also on disk.
    pub(crate) fn remember_found(&self, model: &mut Model, have: &Have, steps: &[Step]) {
        let mut news = false;
        for step in steps {
            let (Action::Configure { index, change, .. }, Some(id)) = (&step.action, &step.network) else {
                continue;
            };
            let link = have.links.iter().find(|link| link.index == *index);
            let (Some(link), Some(network)) = (link, model.network(id)) else { continue };
            // The queue is also lengthened without being requested.
            let txqueuelen = network.options.settings.txqueuelen.or(change.txqueuelen);
            let settings = Settings { txqueuelen, ..network.options.settings.clone() };
            let mut found =
                network.found.clone().unwrap_or_else(|| Found { settings: RawOptions::new(), up: link.up });
            let known = found.settings.len();
            for (key, value) in settings.found(link).asked() {
                if network.found.is_none() || key == TXQUEUELEN {
                    found.settings.entry(key).or_insert(value);
                }
            }
            if network.found.is_none() || found.settings.len() != known {
                model.put_network(Network { found: Some(found), ..network.clone() });
                news = true;
            }
        }
        if news && let Err(err) = self.store.save_networks(model.networks()) {
            warn!(%err, "the adapter's original settings could not be saved; they will be lost if canhub restarts");
        }
    }

    /// Restores the original settings of an adapter. A bitrate cannot be unset; an adapter that had none keeps the last
    /// one.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn leave_as_found(&self, network: &Network, adapter: &Adapter) -> Result<(), Error> {
        let Some(found) = &network.found else { return Ok(()) };
        let words = found.settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let settings = Settings::parse(&words).map_err(Error::Refused)?;
        let have = self.look_at_host([&network.hub()])?;
        let links = carriers(adapter, &have);
        if let ([], Some((name, why))) = (&links[..], unread_adapter(adapter, &have)) {
            return Err(Error::Refused(format!("could not read the identity of {name}: {why}")));
        }
        for link in links {
            let change = settings.change_for(link).unwrap_or_default();
            let (index, name) = (link.index, link.name.clone());
            // If canhub was not asked to bring it up, it does not take it down either.
            let up = if network.options.settings.configures() { found.up } else { link.up };
            let action = Action::Configure { index, name, change: change.clone(), up };
            let down = LinkChange { up: Some(false), ..LinkChange::default() };
            let gone_down = if up || !link.up { Ok(()) } else { self.kernel.change_link(None, index, &down) };
            gone_down
                .and_then(|()| self.kernel.configure(index, &change, up))
                .map_err(Error::kernel(action))?;
            info!(network = network.id.short(), interface = link.name, did = %format!("configure the adapter{change}"), "adapter settings restored");
        }
        Ok(())
    }
}
