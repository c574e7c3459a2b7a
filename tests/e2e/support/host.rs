//! The state of the host: links, rules, records, and canhub's journal.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde::Deserialize;

use super::{
    canhub,
    shell::{eventually, run, sh},
};

/// An interface, from `ip -j link`.
#[derive(Debug, Clone, Deserialize)]
pub struct Link {
    /// Its name.
    pub ifname: String,
    /// `UP` and others.
    #[serde(default)]
    pub flags: Vec<String>,
    /// In bytes.
    pub mtu: u32,
    /// `can` for a CAN interface.
    #[serde(default)]
    pub link_type: String,
    /// Its alias.
    #[serde(default)]
    pub ifalias: String,
}

impl Link {
    /// Whether it is up.
    pub fn is_up(&self) -> bool {
        self.flags.iter().any(|flag| flag == "UP")
    }
}

/// Parses the output of `ip -j link`.
pub fn parse_links(json: &str) -> Vec<Link> {
    // Very old and very new versions print an empty object for filtered links.
    let links: Vec<serde_json::Value> =
        serde_json::from_str(json).unwrap_or_else(|err| panic!("{err}: {json}"));
    links.into_iter().filter_map(|link| serde_json::from_value(link).ok()).collect()
}

/// All interfaces of the host.
pub fn links() -> Vec<Link> {
    parse_links(&run("ip", &["-j", "link"]))
}

/// The interface of this name on the host.
pub fn link(name: &str) -> Option<Link> {
    links().into_iter().find(|link| link.ifname == name)
}

/// udev's properties of an interface. udev processes a new one a moment after the kernel shows it.
#[track_caller]
pub fn udev_property(interface: &str, property: &str) -> String {
    let path = format!("/sys/class/net/{interface}");
    let ask = |property: &str| {
        run("udevadm", &["info", "--query=property", &format!("--property={property}"), "--value", &path])
    };
    eventually(&format!("udev has handled {interface}"), || match ask("USEC_INITIALIZED") {
        // Exits successfully even if the interface is not in its database yet.
        initialized if initialized.is_empty() => Err(sh(&format!("udevadm info {path}"))),
        _ => Ok(()),
    });
    ask(property)
}

/// Runs `ip link` with these arguments, which must succeed.
#[track_caller]
pub fn ip_link(args: &[&str]) {
    run("ip", &[&["link"], args].concat());
}

/// A shell command for several `ip` steps in one process, so that canhub does not heal in between.
pub fn ip_batch(steps: &[&str]) -> String {
    ip_batch_by("", steps)
}

/// Like [`ip_batch`], with a command that runs `ip` elsewhere.
pub fn ip_batch_by(enter: &str, steps: &[&str]) -> String {
    format!("printf '{}' | {enter} /usr/sbin/ip -batch -", steps.join("\\n"))
}

/// Whether can-gw can be unloaded.
pub fn gateway_is_a_module() -> bool {
    fs::read_to_string("/proc/modules").is_ok_and(|modules| modules.contains("can_gw "))
}

/// Configures an adapter by hand, like its owner, and brings it up.
#[track_caller]
pub fn configure_adapter(name: &str, bitrate: u32) {
    ip_link(&["set", name, "down"]);
    ip_link(&["set", name, "type", "can", "bitrate", &bitrate.to_string()]);
    // Containers do not wait for a slow bus, and ten frames, the default, are soon queued.
    ip_link(&["set", name, "txqueuelen", "4096"]);
    ip_link(&["set", name, "up"]);
}

/// All can-gw rules, as `cangw` options that recreate them. Empty if can-gw is not loaded.
pub fn rules() -> Vec<String> {
    // The exit status of a list is a number of bytes, so it means nothing.
    let listed = sh("cangw -L 2>/dev/null || true");
    let rule = |line: &str| line.split('#').next().unwrap_or_default().trim().to_owned();
    // Before can-gw is loaded, it prints errors about the routes of other families to the same stream.
    listed.lines().map(rule).filter(|rule| rule.starts_with("cangw -A")).collect()
}

/// Everything that canhub may leave behind, one per line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces(BTreeSet<String>);

impl Traces {
    /// The current state.
    pub fn now() -> Self {
        let mut traces = BTreeSet::new();
        let line = |link: Link| {
            let up = if link.is_up() { "up" } else { "down" };
            format!("link {} {up} mtu {} {}", link.ifname, link.mtu, link.ifalias)
        };
        traces.extend(links().into_iter().map(line));
        for rule in rules() {
            // A duplicate rule counts twice.
            let numbered = (1..).map(|number| format!("rule {rule} ({number})"));
            let free = numbered.into_iter().find(|trace| !traces.contains(trace));
            traces.extend(free);
        }
        traces.extend(records().iter().map(|record| format!("record {}", record.display())));
        traces.extend(state_networks().into_iter().map(|id| format!("network {id} in state.json")));
        Self(traces)
    }

    /// Those that are certainly canhub's.
    pub fn of_canhub(&self) -> Vec<&str> {
        let ours = |trace: &&str| !trace.starts_with("link ") || trace.contains(" canhub net=");
        self.0.iter().map(String::as_str).filter(ours).collect()
    }

    /// What exists here but not there.
    pub fn since(&self, before: &Self) -> Vec<String> {
        self.0.difference(&before.0).cloned().collect()
    }
}

/// The records of endpoints.
pub fn records() -> Vec<PathBuf> {
    let listed = fs::read_dir(canhub::state_dir().join("endpoints"));
    listed.into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// The IDs of the networks in the state file.
pub fn state_networks() -> Vec<String> {
    #[derive(Deserialize)]
    struct State {
        networks: std::collections::BTreeMap<String, serde_json::Value>,
    }
    let state = fs::read(canhub::state_dir().join("state.json")).ok();
    let state = state.and_then(|state| serde_json::from_slice::<State>(&state).ok());
    state.map_or_else(Vec::new, |state| state.networks.into_keys().collect())
}

/// A position in the journal.
pub struct Journal(String);

impl Journal {
    /// The current position.
    pub fn mark() -> Self {
        let shown = run("journalctl", &["-q", "-n", "1", "--show-cursor", "-o", "cat"]);
        let cursor = shown.lines().find_map(|line| line.strip_prefix("-- cursor: "));
        Self(cursor.unwrap_or_else(|| panic!("no cursor in {shown}")).to_owned())
    }

    /// canhub's log since then, once it contains what is waited for: canhub logs a moment after it acts, and journald
    /// stores it a moment after that.
    #[track_caller]
    pub fn until(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        eventually(&format!("canhub's log tells {what}"), || {
            let told = self.since();
            if holds(&told) { Ok(told) } else { Err(told) }
        })
    }

    /// canhub's log since then, as far as journald has it.
    pub fn since(&self) -> String {
        let cursor = format!("--after-cursor={}", self.0);
        run("journalctl", &["-q", "--no-pager", "-u", canhub::journal_unit(), &cursor])
    }
}
