//! The CAN adapters of the emulated machine (guest `hardware`): two on one physical bus, in hot-pluggable slots.

use std::{
    fs,
    path::{Path, PathBuf},
    thread::{self, JoinHandle, sleep},
    time::{Duration, Instant},
};

use super::{
    host::link,
    shell::{eventually, not_run, run},
};

/// An adapter that can be unplugged.
pub struct Adapter {
    /// Its ID in QEMU.
    id: &'static str,
    /// The name of its interface if both are present at boot.
    pub interface: &'static str,
    /// Its slot on the PCI bus.
    slot: &'static str,
}

/// In slot 10 of the PCI bus.
pub const KV0: Adapter =
    Adapter { id: "kv0", interface: "can0", slot: if BRIDGE { "0000:01:10.0" } else { "0000:00:10.0" } };
/// In slot 14.
pub const KV1: Adapter =
    Adapter { id: "kv1", interface: "can1", slot: if BRIDGE { "0000:01:14.0" } else { "0000:00:14.0" } };
/// The slots of the guest `arm64` are behind a bridge.
const BRIDGE: bool = cfg!(target_arch = "aarch64");

/// In bit/s, for all tests with adapters.
pub const BITRATE: u32 = 500_000;

/// Whether this machine has them. Returns false, and prints why, on any other.
#[must_use]
pub fn is_there(test: &str) -> bool {
    let there = fs::exists("/usr/local/sbin/adapter").unwrap_or(false);
    if !there {
        not_run(test, "it needs the adapters of the guest `hardware`");
    }
    there
}

/// The bitrate and the state of a controller, as shown by `ip`.
#[track_caller]
pub fn controller(interface: &str) -> (Option<u64>, String) {
    let shown = run("ip", &["-json", "-details", "link", "show", interface]);
    let links: serde_json::Value =
        serde_json::from_str(&shown).unwrap_or_else(|err| panic!("{err}: {shown}"));
    let data = &links[0]["linkinfo"]["info_data"];
    // If the driver has a list of bitrates, `ip` prints it in another place.
    let bitrate = data["bittiming"]["bitrate"].as_u64().or(data["bittiming_bitrate"].as_u64());
    let bitrate = bitrate.filter(|bitrate| *bitrate > 0);
    (bitrate, data["state"].as_str().unwrap_or_default().to_owned())
}

/// The name of the interface in the adapter's slot, if it is plugged in.
pub fn in_slot(adapter: &Adapter) -> Option<String> {
    let interfaces = fs::read_dir("/sys/class/net").ok()?.flatten();
    let of = |interface: &Path| fs::canonicalize(interface.join("device")).ok();
    let found = interfaces
        .map(|entry| entry.path())
        .find(|path| of(path).is_some_and(|device: PathBuf| device.ends_with(adapter.slot)))?;
    Some(found.file_name()?.to_string_lossy().into_owned())
}

/// Waits in the background for an interface to appear. Returns when it did.
pub fn when_there(interface: &str) -> JoinHandle<Instant> {
    let path = Path::new("/sys/class/net").join(interface);
    thread::spawn(move || {
        let began = Instant::now();
        while !path.exists() && began.elapsed() < Duration::from_secs(60) {
            sleep(Duration::from_millis(1));
        }
        Instant::now()
    })
}

impl Adapter {
    /// The option that selects it by its port.
    pub fn path(&self) -> String {
        format!("path:pci-{}", self.slot)
    }

    /// The options of a network with this adapter.
    pub fn options(&self) -> [&'static str; 4] {
        let adapter = if self.interface == "can0" { "adapter=can0" } else { "adapter=can1" };
        // Ten frames, the default queue length, are soon used up: containers do not wait for a slow bus.
        [adapter, "bitrate=500000", "frames=classic", "txqueuelen=4096"]
    }

    /// Unplugs it; it is gone when this returns.
    #[track_caller]
    pub fn unplug(&self) {
        run("adapter", &["unplug", self.id]);
        eventually(&format!("{} goes with its adapter", self.interface), || match link(self.interface) {
            None => Ok(()),
            Some(link) => Err(format!("{link:?}")),
        });
    }

    /// Plugs it in; its interface exists when this returns.
    #[track_caller]
    pub fn plug(&self) {
        run("adapter", &["plug", self.id]);
        eventually(&format!("{} comes with its adapter", self.interface), || {
            link(self.interface).map(|_| ()).ok_or_else(|| "the interface does not exist".into())
        });
    }

    /// Like [`Adapter::plug`], whatever the name of its interface.
    #[track_caller]
    pub fn plug_anywhere(&self) {
        run("adapter", &["plug", self.id]);
        eventually("the adapter's interface appears", || {
            in_slot(self).ok_or_else(|| "the slot has no interface".into())
        });
    }

    /// For the tests after one that failed while it was unplugged.
    pub fn put_back(&self) {
        if link(self.interface).is_none() {
            self.plug();
        }
    }
}
