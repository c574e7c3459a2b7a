//! Kernel modules, loaded by the kernel itself: no `modprobe` is spawned and none need be installed beside canhub.

use nix::net::if_::if_nametoindex;

/// Asks the kernel to load a module.
///
/// Looking up an interface that does not exist makes the kernel (`dev_load` in `net/core/dev_ioctl.c`)
/// run the host's modprobe for that name, if the caller has `CAP_SYS_MODULE`. dockerd loads its modules
/// this way too (moby, `libnetwork/internal/modprobe`). The lookup itself always fails, so whether the
/// module came has to be seen from what it does.
pub fn request(name: &str) {
    let _ = if_nametoindex(name);
}
