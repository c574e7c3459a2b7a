//! The cases of `tests/kernel/cases.rs` on the guest's own kernel.

#[path = "../kernel/cases.rs"]
mod cases;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use canhub::kernel::{Kernel, Linux};

struct RealHost(Linux);

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().unwrap();
    assert!(status.success(), "ip {arguments:?}: {status}");
}

impl cases::Host for RealHost {
    fn kernel(&self) -> &dyn Kernel {
        self.0.ensure_gateway().unwrap();
        &self.0
    }

    fn add_sandbox(&self, name: &str) -> PathBuf {
        ip(&["netns", "add", name]);
        Path::new("/run/netns").join(name)
    }

    fn end_sandbox(&self, path: &Path) {
        ip(&["netns", "del", path.file_name().unwrap().to_str().unwrap()]);
        // A namespace's links end a moment after it, on a worker of the kernel's.
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
}

crate::kernel_cases!(RealHost(Linux::default()));
