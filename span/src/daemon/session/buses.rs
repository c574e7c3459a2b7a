//! One task for each bus of this host that is on a span.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::info;

use super::Session;
use crate::bus::{self, Around, Bus};

impl Session {
    /// Starts, changes and ends the tasks of buses, so that there is one for each port.
    pub(super) fn sync_buses(&mut self) {
        let Some(hosts) = &self.hosts else { return };
        let gone: Vec<String> = self
            .buses
            .keys()
            .filter(|span| !self.ports.iter().any(|port| port.span.as_str() == **span))
            .cloned()
            .collect();
        for span in gone {
            // The task ends with its channel.
            self.mesh.leave(&span);
            self.former.extend(self.buses.remove(&span).map(|(bus, _)| (span.clone(), bus)));
            info!(%span, "this host's bus is no longer on the span");
        }
        for port in &self.ports {
            let has_tunnel = self.tunnels.states(&port.span).next().is_some();
            if let Some((bus, changed)) = self.buses.get(port.span.as_str()) {
                bus.lock().set_port(port.clone(), has_tunnel);
                changed.notify_one();
                continue;
            }
            let bus = self.former.remove(port.span.as_str());
            let bus = bus.unwrap_or_else(|| {
                let ledger = self.ledgers.of(port.span.as_str());
                Arc::new(Mutex::new(Bus::new(port.clone(), self.instance, ledger)))
            });
            bus.lock().set_port(port.clone(), has_tunnel);
            let changed = Arc::new(Notify::new());
            let batches = self.mesh.join(&Arc::from(port.span.as_str()));
            let around = Around {
                bus: bus.clone(),
                changed: changed.clone(),
                hosts: hosts.clone(),
                mesh: self.mesh.clone(),
                encoder: self.encoder.clone(),
                news: self.news.clone(),
            };
            self.tasks.spawn(bus::run(around, batches));
            info!(span = %port.span, interface = %port.interface, "this host's bus is on the span");
            self.buses.insert(port.span.to_string(), (bus, changed));
        }
        self.sync_online();
    }

    /// Tells each bus which hosts are online on its span.
    pub(super) fn sync_online(&self) {
        let Some(hosts) = &self.hosts else { return };
        let hosts = hosts.lock();
        for (span, (bus, changed)) in &self.buses {
            let mut bus = bus.lock();
            let online = hosts.online_on(span, &bus.here());
            if bus.set_online(&online) {
                changed.notify_one();
            }
        }
    }
}
