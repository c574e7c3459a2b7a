//! A guest of `tests/guest`, as seen from the machine that it runs on.

use std::{
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::de::DeserializeOwned;

use super::shell::{PATIENCE, finished, within};

/// How long a command in a guest may take: a `docker run` on a busy machine takes many seconds.
const LIMIT: &str = "300";

/// A running guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// Its name for `guest`, which is also its host name.
    pub name: String,
}

/// The program `guest`.
fn guest(args: &[&str]) -> Command {
    let mut command = Command::new(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/guest/guest"));
    command.args(args).stdin(Stdio::null());
    command
}

fn guest_attempt(args: &[&str]) -> Result<String, String> {
    finished(&format!("guest {}", args.join(" ")), guest(args).output())
}

impl Guest {
    /// Runs a command as root. Returns its output or error.
    pub fn attempt(&self, command: &[&str]) -> Result<String, String> {
        guest_attempt(&[&["exec", &*self.name, "--timeout", LIMIT], command].concat())
    }

    /// Runs a command as root, which must succeed.
    #[track_caller]
    pub fn run(&self, command: &[&str]) -> String {
        self.attempt(command).unwrap_or_else(|err| panic!("{err}"))
    }

    /// Runs a shell command, which must succeed.
    #[track_caller]
    pub fn sh(&self, line: &str) -> String {
        self.run(&["sh", "-c", line])
    }

    /// Runs a shell command. Returns its output or error.
    pub fn try_sh(&self, line: &str) -> Result<String, String> {
        self.attempt(&["sh", "-c", line])
    }

    /// Retries a shell command until it succeeds and its output is as wanted.
    #[track_caller]
    pub fn until(&self, what: &str, line: &str, wanted: impl Fn(&str) -> bool) -> String {
        let tried = within(PATIENCE, || match self.try_sh(line)? {
            said if wanted(&said) => Ok(said),
            said => Err(said),
        });
        tried.unwrap_or_else(|err| {
            panic!("{}: {what}: still not after {} s: {err}", self.name, PATIENCE.as_secs())
        })
    }

    /// Starts a command whose output is read later.
    #[track_caller]
    pub fn start(&self, command: &[&str]) -> Running {
        let args = [&["exec", &*self.name, "--timeout", "900"], command].concat();
        let mut started = guest(&args);
        started.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = started.spawn().unwrap_or_else(|err| panic!("{command:?}: {err}"));
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        Running { what: format!("{} in {}", command.join(" "), self.name), child, out, input: None }
    }

    /// Starts a command whose input ends when [`Running::stop`] says so: a probe without a `--count` ends then.
    #[track_caller]
    pub fn start_until_stopped(&self, command: &[&str]) -> Running {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let input =
            format!("sleep 1000000.{}{:04}", std::process::id(), STARTED.fetch_add(1, Ordering::Relaxed));
        let line = format!("{input} | ( \"$@\"; ended=$?; pkill -xf '{input}'; exit $ended )");
        let mut running = self.start(&[&["sh", "-c", &line, "sh"], command].concat());
        running.input = Some((self.clone(), input));
        running
    }

    /// `cut`, `delay 200`, … : see `guest wire`.
    #[track_caller]
    pub fn wire(&self, order: &str) {
        let order: Vec<&str> = order.split(' ').collect();
        let args = [&["wire", &*self.name], &order[..]].concat();
        guest_attempt(&args).unwrap_or_else(|err| panic!("{err}"));
    }

    /// How far its wall clock is ahead of this machine's, and how sure that is, in microseconds. Each guest sets its clock at
    /// boot and keeps it by itself.
    #[track_caller]
    pub fn clock_ahead(&self) -> (i64, i64) {
        let micros = || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right");
            now.as_micros() as i64
        };
        let measure = |_| {
            let asked = micros();
            let theirs: i64 = self.run(&["date", "+%s%6N"]).trim().parse().expect("date prints a number");
            let answered = micros();
            (theirs - (asked + answered) / 2, (answered - asked) / 2)
        };
        (0..10).map(measure).min_by_key(|(_, sure)| *sure).expect("there are ten")
    }

    /// Its address on the wire.
    #[track_caller]
    pub fn address(&self) -> String {
        guest_attempt(&["address", &self.name]).unwrap_or_else(|err| panic!("{err}"))
    }

    /// Reboots it; returns when Docker answers.
    #[track_caller]
    pub fn reboot(&self, how: &[&str]) {
        guest_attempt(&[&["reboot", &*self.name], how].concat()).unwrap_or_else(|err| panic!("{err}"));
    }
}

/// A command that runs in a guest.
#[derive(Debug)]
pub struct Running {
    what: String,
    child: Child,
    out: BufReader<ChildStdout>,
    /// The command that keeps its input open, and where it runs.
    input: Option<(Guest, String)>,
}

impl Running {
    /// Ends its input, and does not wait for it.
    pub fn stop(&mut self) {
        if let Some((guest, input)) = self.input.take() {
            // If the guest is down, so is the command.
            let _ = guest.attempt(&["pkill", "-xf", &input]);
        }
    }

    /// Waits for a line that begins so.
    #[track_caller]
    pub fn wait_for(&mut self, begin: &str) -> String {
        let mut said = String::new();
        loop {
            let mut line = String::new();
            match self.out.read_line(&mut line) {
                Ok(1..) if line.starts_with(begin) => return line.trim_end().to_owned(),
                Ok(1..) => said.push_str(&line),
                ended => {
                    let complaint = self.complaint();
                    panic!("{} never printed {begin:?} ({ended:?}): {said} {complaint}", self.what)
                }
            }
        }
    }

    /// Stops it and waits for its end. Returns the rest of its output or error.
    pub fn finish(mut self) -> Result<String, String> {
        self.stop();
        let mut said = String::new();
        let read = self.out.read_to_string(&mut said);
        match self.child.wait() {
            Ok(status) if status.success() && read.is_ok() => Ok(said),
            status => {
                let complaint = self.complaint();
                Err(format!("{}: {status:?}: {said} {complaint}", self.what))
            }
        }
    }

    /// Stops a probe and waits for its report.
    #[track_caller]
    pub fn end<T: DeserializeOwned>(self) -> T {
        let what = self.what.clone();
        let said = self.finish().unwrap_or_else(|err| panic!("{err}"));
        let report = said.lines().last().unwrap_or_default();
        serde_json::from_str(report).unwrap_or_else(|err| panic!("{what}: {err}: {said}"))
    }

    fn complaint(&mut self) -> String {
        let mut complaint = String::new();
        if let Some(mut err) = self.child.stderr.take() {
            let _ = err.read_to_string(&mut complaint);
        }
        complaint
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // `guest exec` then kills the command in the guest.
        if let (Ok(None), Ok(pid)) = (self.child.try_wait(), i32::try_from(self.child.id())) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }
}
