//! Network namespaces without a container engine.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use super::{
    member::Member,
    scene::unique,
    shell::{attempt, eventually, run, sh},
};

/// A namespace of `ip netns`, which ends when dropped.
pub struct Netns {
    /// Its name.
    pub name: String,
}

impl Netns {
    /// A new one.
    #[track_caller]
    pub fn new() -> Self {
        let name = unique("ns");
        run("ip", &["netns", "add", &name]);
        Self { name }
    }

    /// Its path.
    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// A member that sends and listens inside.
    pub fn member(&self, interface: &str, number: u8) -> Member {
        Member::of_namespace(&self.path(), interface, number)
    }

    /// Runs `ip` inside.
    #[track_caller]
    pub fn ip(&self, args: &str) -> String {
        sh(&format!("ip -n {} {args}", self.name))
    }

    /// The names of its CAN interfaces, separated by blanks.
    #[track_caller]
    pub fn can_links(&self) -> String {
        let listed = self.ip("-br link show type vxcan");
        let names = listed.lines().filter_map(|line| line.split(['@', ' ']).next());
        names.collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = attempt("ip", &["netns", "del", &self.name]);
    }
}

/// A process in a network namespace of its own, which ends when dropped.
pub struct Process(Child);

impl Process {
    /// A new one.
    pub fn new() -> Self {
        let sleep = Command::new("unshare").args(["--net", "sleep", "infinity"]).stdin(Stdio::null()).spawn();
        let process = Self(sleep.expect("unshare starts"));
        let own = fs::read_link("/proc/self/ns/net").expect("/proc is mounted");
        eventually("the process has a namespace of its own", || {
            let theirs = fs::read_link(process.path()).map_err(|err| err.to_string())?;
            if theirs == own { Err("it is the host's".to_owned()) } else { Ok(()) }
        });
        process
    }

    /// Its ID.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The path of its namespace.
    pub fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.pid())
    }

    /// Ends it.
    pub fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
