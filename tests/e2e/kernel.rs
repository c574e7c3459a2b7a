//! The cases of `tests/kernel/cases.rs` on the guest's own kernel.

#[path = "../kernel/cases.rs"]
mod cases;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use canhub::kernel::{Kernel, Linux};

use crate::support::shell::{eventually, sh};

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
        // From inside, because `ip` does not always know the name of the namespace that a link leads to.
        let host_ends = sh(&format!(
            "ip -netns {name} -oneline link show type vxcan | sed -n 's/^[0-9]*: [^@:]*@if\\([0-9]*\\):.*/\\1/p'"
        ));
        ip(&["netns", "del", name]);
        // A namespace's links are deleted a moment after it, by a kernel worker, and the other ends with them.
        eventually(&format!("what led into {name} is gone"), || {
            let links = sh("ip -oneline link show");
            let is_left = |index: &str| links.lines().any(|link| link.starts_with(&format!("{index}:")));
            if host_ends.lines().any(is_left) { Err(links) } else { Ok(()) }
        });
    }
}

crate::kernel_cases!(RealHost(Linux::default()));
