//! The cases of `tests/kernel/cases.rs` on the guest's own kernel.

#[path = "../kernel/cases.rs"]
mod cases;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use canhub::kernel::{Kernel, Linux};

use crate::support::{
    host::link,
    shell::{eventually, sh},
};

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
        let name = path.file_name().unwrap().to_str().unwrap();
        let pairs = sh(&format!(
            "ip -oneline link show type vxcan | sed -n 's/^[0-9]*: \\([^:@]*\\).* link-netns {name} .*/\\1/p'"
        ));
        ip(&["netns", "del", name]);
        // A namespace's links are deleted a moment after it, by a kernel worker, and the other ends with them.
        eventually(&format!("what led into {name} is gone"), || {
            match pairs.lines().filter_map(link).next() {
                None => Ok(()),
                Some(left) => Err(format!("{left:?}")),
            }
        });
    }
}

crate::kernel_cases!(RealHost(Linux::default()));
