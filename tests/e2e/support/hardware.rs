//! The CAN adapters of the emulated machine (the guest `hardware`): two on one wire, in slots that they can leave.

use super::{
    host::{configure_adapter, link},
    shell::{eventually, not_run, run},
};

/// An adapter that can be unplugged.
pub struct Adapter {
    /// For the machine.
    id: &'static str,
    /// The interface that it is, where both are in when the machine boots.
    pub interface: &'static str,
}

/// In slot 10 of the PCI bus.
pub const KV0: Adapter = Adapter { id: "kv0", interface: "can0" };
/// In slot 14.
pub const KV1: Adapter = Adapter { id: "kv1", interface: "can1" };

/// Whether this machine has them. False, and said so, on any other.
#[must_use]
pub fn is_there(test: &str) -> bool {
    let there = std::fs::exists("/usr/local/sbin/adapter").unwrap_or(false);
    if !there {
        not_run(test, "it needs the adapters of the guest `hardware`");
    }
    there
}

impl Adapter {
    /// Takes it out; it is gone when this returns.
    #[track_caller]
    pub fn unplug(&self) {
        run("adapter", &["unplug", self.id]);
        eventually(&format!("{} goes with its adapter", self.interface), || match link(self.interface) {
            None => Ok(()),
            Some(link) => Err(format!("{link:?}")),
        });
    }

    /// Puts it back; its interface is there, down and without a bitrate, when this returns.
    #[track_caller]
    pub fn plug(&self) {
        run("adapter", &["plug", self.id]);
        eventually(&format!("{} comes with its adapter", self.interface), || {
            link(self.interface).map(|_| ()).ok_or_else(|| "it is not there".into())
        });
    }

    /// For the tests after one that failed while it was out.
    pub fn put_back(&self) {
        if link(self.interface).is_none() {
            self.plug();
        }
    }

    /// By hand, as its owner would.
    #[track_caller]
    pub fn configure(&self, bitrate: u32) {
        configure_adapter(self.interface, bitrate);
    }
}
