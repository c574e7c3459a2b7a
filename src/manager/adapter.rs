//! Adapters are not canhub's: their settings are saved before the first change, and restored at the end.

use tracing::{info, warn};

use super::Manager;
use crate::{
    adapter::{Adapter, Settings},
    error::Error,
    kernel::LinkChange,
    model::Model,
    network::{Found, Network},
    plan::{Action, Have, Step, carriers, unread_adapter},
};

impl Manager {
    /// Saves the current settings of adapters that these steps will change, also on disk.
    pub(crate) fn remember_found(&self, model: &mut Model, have: &Have, steps: &[Step]) {
        let mut news = false;
        for step in steps {
            let (Action::Configure { index, .. }, Some(id)) = (&step.action, &step.network) else { continue };
            let link = have.links.iter().find(|link| link.index == *index);
            let network = model.network(id).filter(|network| network.found.is_none());
            if let (Some(link), Some(network)) = (link, network) {
                let settings = network.options.settings.found(link).asked();
                let found = Some(Found { settings, up: link.up });
                model.put_network(Network { found, ..network.clone() });
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
            let action = Action::Configure { index, name, change: change.clone(), up: found.up };
            let down = LinkChange { up: Some(false), ..LinkChange::default() };
            let gone_down = if found.up { Ok(()) } else { self.kernel.change_link(None, index, &down) };
            gone_down
                .and_then(|()| self.kernel.configure(index, &change, found.up))
                .map_err(Error::kernel(action))?;
            info!(network = network.id.short(), interface = link.name, did = %format!("configure the adapter{change}"), "adapter settings restored");
        }
        Ok(())
    }
}
