//! A test that hangs fails, and does not keep all others from running.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    process::{Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

use super::shell::{finished, number_from, say};

/// In seconds: the slowest tests take a third of it. Campaigns set `CANHUB_TEST_SECONDS`.
const LIMIT: u64 = 480;
/// For a test that fails to remove what it created.
const TO_FAIL: Duration = Duration::from_secs(240);

/// Kills the programs that a test waits for, if the test takes too long; drop it at the end of the test.
pub struct Watchdog {
    _test: Sender<Infallible>,
}

impl Watchdog {
    /// Starts to watch.
    pub fn new() -> Self {
        let (test, end) = channel();
        let limit = Duration::from_secs(number_from("CANHUB_TEST_SECONDS").unwrap_or(LIMIT));
        thread::spawn(move || watch(limit, &end));
        Self { _test: test }
    }
}

fn watch(limit: Duration, end: &Receiver<Infallible>) {
    let takes_longer_than = |limit| end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
    if !takes_longer_than(limit) {
        return;
    }
    let family: Vec<String> = descendants().iter().map(u32::to_string).collect();
    let columns = ["-o", "pid,ppid,etimes,stat,wchan:24,args", "-C", "canhub,dockerd", "-p"];
    let listed = Command::new("ps").args(columns).arg(family.join(",")).output();
    let listed = finished("ps", listed).unwrap_or_else(|err| err);
    say(&format!("HANGS: after {} s, killing what this test waits for:\n{listed}\n", limit.as_secs()));
    // `ps` itself has ended.
    let _ = Command::new("kill").arg("-KILL").args(&family).stderr(Stdio::null()).status();
    if takes_longer_than(TO_FAIL) {
        say("HANGS: still; giving up");
        std::process::exit(1);
    }
}

/// The processes that this program started, and those that they started.
fn descendants() -> BTreeSet<u32> {
    let listed = Command::new("ps").args(["-eo", "pid=,ppid="]).output();
    let listed = finished("ps", listed).unwrap_or_default();
    let pairs: Vec<(u32, u32)> = listed
        .lines()
        .filter_map(|line| {
            let (pid, parent) = line.trim().split_once(' ')?;
            Some((pid.parse().ok()?, parent.trim().parse().ok()?))
        })
        .collect();
    let mut family = BTreeSet::from([std::process::id()]);
    loop {
        let children: Vec<u32> = pairs
            .iter()
            .filter(|(pid, parent)| family.contains(parent) && !family.contains(pid))
            .map(|pair| pair.0)
            .collect();
        if children.is_empty() {
            break;
        }
        family.extend(children);
    }
    family.remove(&std::process::id());
    family
}
