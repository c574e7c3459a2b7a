//! The cases of `cases.rs` on the kernel in memory. `tests/e2e/kernel.rs` runs the same on real ones.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says so by failing")]

mod cases;

use std::path::{Path, PathBuf};

use canhub::kernel::{Kernel, fake::FakeKernel};

struct FakeHost(FakeKernel);

impl cases::Host for FakeHost {
    fn kernel(&self) -> &dyn Kernel {
        &self.0
    }

    fn add_sandbox(&self, name: &str) -> PathBuf {
        let path = Path::new("/run/netns").join(name);
        self.0.add_sandbox(&path);
        path
    }

    fn end_sandbox(&self, path: &Path) {
        self.0.end_sandbox(path);
    }
}

kernel_cases!(FakeHost(FakeKernel::new()));
