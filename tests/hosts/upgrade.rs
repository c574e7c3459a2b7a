//! Upgrade of the Debian packages while frames flow between hosts. Run by `tests/packages` only, with hosts that were installed
//! from packages.

use crate::faults::{Accounted, survives};

#[test]
fn both_packages_are_upgraded_under_traffic() {
    survives("canhub and canhub-span upgraded", Accounted::All, |host, _| {
        let pid = "systemctl show --property MainPID --value canhub-span";
        let before = host.sh(pid);
        host.sh("dpkg --install /host/canhub-newer.deb /host/canhub-span-newer.deb");
        assert_ne!(before, host.sh(pid), "canhub-span was not restarted");
    });
}
