//! Kernel modules, loaded by the kernel itself: canhub spawns no `modprobe` and needs none in its own file system.

use nix::net::if_::if_nametoindex;

/// Asks the kernel to load a module.
///
/// Looking up a missing interface makes the kernel (`dev_load` in `net/core/dev_ioctl.c`) run the host's modprobe for
/// that name, if the caller has `CAP_SYS_MODULE`. dockerd loads its modules the same way (moby,
/// `libnetwork/internal/modprobe`). The lookup itself always fails, so whether the module was loaded can only be seen
/// from its effects.
pub fn request(name: &str) {
    let _ = if_nametoindex(name);
}
