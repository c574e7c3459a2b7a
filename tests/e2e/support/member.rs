//! A member of a bus: the host or a container, with its interface there and a number of its own.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdout, Command, Stdio},
};

use serde::de::DeserializeOwned;

use super::{
    report::{Heard, Kind, Sent},
    shell::{eventually, finished, host_folder, output, run},
};

/// A member that sends and receives.
#[derive(Debug, Clone)]
pub struct Member {
    /// For messages.
    pub name: String,
    /// The number in its frames.
    pub number: u8,
    /// Its interface.
    pub interface: String,
    place: Place,
}

/// Where a member's programs run.
#[derive(Debug, Clone)]
enum Place {
    Host,
    /// In the container with this first process.
    Container(u32),
    /// On the host, in the network namespace at this path.
    Namespace(String),
}

impl Member {
    /// The host, with an interface of its own.
    pub fn host(interface: &str, number: u8) -> Self {
        Self { name: "the host".into(), number, interface: interface.into(), place: Place::Host }
    }

    /// A container, with one of its interfaces.
    pub fn inside(name: &str, pid: u32, interface: &str, number: u8) -> Self {
        Self { name: name.into(), number, interface: interface.into(), place: Place::Container(pid) }
    }

    /// A program on the host, in the network namespace at this path.
    pub fn of_namespace(path: &str, interface: &str, number: u8) -> Self {
        Self { name: path.into(), number, interface: interface.into(), place: Place::Namespace(path.into()) }
    }

    /// A command in the member's namespace. `nsenter` does the same as `docker exec`, a second faster.
    pub fn command(&self, command: &[&str]) -> Command {
        let mut entered = Command::new(if matches!(self.place, Place::Host) { "env" } else { "nsenter" });
        match &self.place {
            Place::Host => {}
            Place::Container(pid) => {
                entered.args(["--mount", "--net", "--pid", "--ipc", "--uts", "--target", &pid.to_string()]);
            }
            Place::Namespace(path) => drop(entered.arg(format!("--net={path}"))),
        }
        entered.args(command);
        entered
    }

    /// Runs a command in the member's namespace. Returns its output or error.
    pub fn attempt(&self, command: &[&str]) -> Result<String, String> {
        let what = format!("{} in {}", command.join(" "), self.name);
        finished(&what, output(&mut self.command(command)))
    }

    /// Runs a command in the member's namespace, which must succeed.
    #[track_caller]
    pub fn run(&self, command: &[&str]) -> String {
        self.attempt(command).unwrap_or_else(|err| panic!("{err}"))
    }

    /// Starts a command whose output is read later.
    #[track_caller]
    pub fn start(&self, command: &[&str]) -> Running {
        let mut started = self.command(command);
        started.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = started.spawn().unwrap_or_else(|err| panic!("{command:?}: {err}"));
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        Running { what: format!("{} in {}", command.join(" "), self.name), child, out }
    }

    /// Starts a tool that listens. Returns once it listens, with its PID in the container.
    #[track_caller]
    pub fn start_tool(&self, tool: &str) -> (Running, String) {
        let mut running = self.start(&["sh", "-c", &format!("{tool} & echo $!; wait $! 2>/dev/null; true")]);
        let pid = running.wait_for("");
        // These tools do not report when they listen.
        eventually(&format!("{tool} opens its socket"), || {
            let files = self.attempt(&["sh", "-c", &format!("ls -l /proc/{pid}/fd")])?;
            if files.contains("socket:") { Ok(()) } else { Err(files) }
        });
        (running, pid)
    }

    /// The path of the probe for the member.
    pub fn probe(&self) -> String {
        match self.place {
            Place::Container(_) => "/probe".into(),
            Place::Host | Place::Namespace(_) => host_folder().join("probe").display().to_string(),
        }
    }

    /// Starts to listen. Returns once it listens.
    #[track_caller]
    pub fn listen(&self) -> Running {
        self.try_listen(&[]).unwrap_or_else(|err| panic!("{err}"))
    }

    /// Like [`Member::listen`], with additional arguments for the probe.
    pub fn try_listen(&self, args: &[&str]) -> Result<Running, String> {
        let mut listener = self.start(&[&[&*self.probe(), "listen", &self.interface], args].concat());
        listener.try_wait_for("ready").map(|_| listener)
    }

    /// Starts to send; without a `--count`, until stopped.
    #[track_caller]
    pub fn start_sending(&self, args: &[&str]) -> Running {
        let number = self.number.to_string();
        self.start(&[&[&*self.probe(), "send", &self.interface, "--from", &number], args].concat())
    }

    /// Sends this many frames of each kind.
    #[track_caller]
    pub fn send(&self, kinds: &[Kind], count: u32) -> Sent {
        self.start_sending(&["--kind", &list(kinds), "--count", &count.to_string()]).end()
    }
}

/// The kinds as arguments of the probe.
pub fn list(kinds: &[Kind]) -> String {
    kinds.iter().map(|kind| format!("{kind:?}").to_lowercase()).collect::<Vec<_>>().join(",")
}

/// A command that runs in a member's namespace.
pub struct Running {
    what: String,
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    /// Waits for a line that starts like this.
    #[track_caller]
    pub fn wait_for(&mut self, begin: &str) -> String {
        self.try_wait_for(begin).unwrap_or_else(|err| panic!("{err}"))
    }

    fn try_wait_for(&mut self, begin: &str) -> Result<String, String> {
        let mut said = String::new();
        loop {
            let at = said.len();
            match self.out.read_line(&mut said) {
                Ok(read) if read > 0 && said[at..].starts_with(begin) => {
                    return Ok(said[at..].trim_end().to_owned());
                }
                Ok(read) if read > 0 => {}
                ended => {
                    let complaint = self.complaint();
                    return Err(format!(
                        "{} never printed {begin:?} ({ended:?}): {said} {complaint}",
                        self.what
                    ));
                }
            }
        }
    }

    fn complaint(&mut self) -> String {
        let mut complaint = String::new();
        let _ = self.child.stderr.take().map(|mut err| err.read_to_string(&mut complaint));
        complaint
    }

    /// Closes its input, which tells the probe to end, and does not wait for it.
    pub fn stop(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Closes its input, which tells the probe to stop, and waits for the rest of its output.
    #[track_caller]
    pub fn finish(self) -> String {
        self.try_finish().unwrap_or_else(|err| panic!("{err}"))
    }

    fn try_finish(mut self) -> Result<String, String> {
        drop(self.child.stdin.take());
        let mut said = String::new();
        let read = self.out.read_to_string(&mut said);
        let status = self.child.wait();
        match status {
            Ok(status) if status.success() && read.is_ok() => Ok(said),
            status => {
                let complaint = self.complaint();
                Err(format!("{}: {status:?}: {said} {complaint}", self.what))
            }
        }
    }

    /// Sends a signal to the command itself, on the host: `TERM`.
    #[track_caller]
    pub fn signal(&self, signal: &str) {
        run("kill", &["-s", signal, &self.child.id().to_string()]);
    }

    /// Waits for the rest of its output, whatever its exit code.
    pub fn output(mut self) -> String {
        let mut said = String::new();
        let _ = self.out.read_to_string(&mut said);
        let _ = self.child.wait();
        said
    }

    /// Like [`Running::finish`], for a probe's report.
    #[track_caller]
    pub fn end<T: DeserializeOwned>(self) -> T {
        self.try_end().unwrap_or_else(|err| panic!("{err}"))
    }

    /// Like [`Running::end`], for callers that retry.
    pub fn try_end<T: DeserializeOwned>(self) -> Result<T, String> {
        let what = self.what.clone();
        let said = self.try_finish()?;
        serde_json::from_str(said.trim()).map_err(|err| format!("{what}: {err}: {said}"))
    }

    /// What a listener received.
    #[track_caller]
    pub fn heard(self) -> Heard {
        self.end()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
