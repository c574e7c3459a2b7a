//! The approach of other CAN plugins: one process for each step and each rule.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// The baseline's pair during the measurement.
pub const HOST_END: &str = "benchhost";
const END: &str = "benchend";

/// A network namespace like Docker's: mounted on a path.
pub struct Sandbox {
    name: String,
    pub path: String,
}

impl Sandbox {
    pub fn new(number: u32) -> Self {
        // Leftovers of an interrupted run have another number.
        let name = format!("canhub-bench{}-{number}", std::process::id());
        run("ip", &["netns", "add", &name]);
        Self { path: format!("/run/netns/{name}"), name }
    }

    pub fn has(&self, interface: &str) -> bool {
        let shown = Command::new("ip").args(["-n", &self.name, "link", "show", interface, "up"]).output();
        shown.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(interface))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Joins a member to a bus with these ends: classic and FD rules in both directions for each.
pub fn join(sandbox: &Sandbox, ends: &[String]) -> Duration {
    let started = Instant::now();
    run("ip", &["link", "add", HOST_END, "type", "vxcan", "peer", "name", END]);
    run("ip", &["link", "set", END, "netns", &sandbox.name]);
    run("ip", &["-n", &sandbox.name, "link", "set", END, "name", "can0", "up"]);
    run("ip", &["link", "set", HOST_END, "up"]);
    for end in ends {
        for (source, destination) in [(HOST_END, end.as_str()), (end.as_str(), HOST_END)] {
            for flags in ["-e", "-eX"] {
                run("cangw", &["-A", "-s", source, "-d", destination, flags]);
            }
        }
    }
    started.elapsed()
}

/// Runs a command that must succeed.
pub fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.unwrap_or_else(|err| panic!("{program}: {err}"));
    assert!(status.success(), "{program} {}: {status}", arguments.join(" "));
}
