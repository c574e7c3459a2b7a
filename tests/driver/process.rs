//! The real program as a process, in a folder of its own. It only reads from the host's kernel.

#![allow(dead_code, reason = "tests/admin uses another half of it")]
#![allow(clippy::disallowed_methods, reason = "tests may start the program under test")]

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::client::Client;

const PATIENCE: Duration = Duration::from_secs(20);

pub struct Daemon {
    pub child: Child,
    pub socket: PathBuf,
    pub admin: PathBuf,
}

impl Daemon {
    pub fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[])
    }

    /// With additional arguments.
    pub fn start_with(dir: &Path, args: &[&str]) -> Self {
        // The file name is the driver name, and two daemons of the same driver name exclude each other.
        let name = dir.file_name().unwrap().to_string_lossy().replace('.', "");
        Self::start_as(&name, dir, &dir.join("state"), dir, args)
    }

    /// With this driver name, and sockets in `dir`.
    pub fn start_as(name: &str, dir: &Path, state: &Path, locks: &Path, args: &[&str]) -> Self {
        let socket = dir.join("plugins").join(name).with_extension("sock");
        let admin = dir.join("run").join("admin.sock");
        let docker = dir.join("docker.sock");
        let mut command = Command::new(env!("CARGO_BIN_EXE_canhub"));
        command.args(["serve", "--no-heal", "--log-format", "text"]).args(args);
        for (option, path) in [
            ("--socket", socket.as_path()),
            ("--admin-socket", &admin),
            ("--docker-socket", &docker),
            ("--state-dir", state),
            ("--lock-dir", locks),
        ] {
            command.arg(option).arg(path);
        }
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Self { child, socket, admin }
    }

    pub fn answers(&self) {
        let deadline = Instant::now() + PATIENCE;
        while std::os::unix::net::UnixStream::connect(&self.socket).is_err() {
            assert!(Instant::now() < deadline, "it does not listen");
            thread::sleep(Duration::from_millis(5));
        }
        Client::connect(&self.socket).call_raw("Plugin.Activate", b"").ok();
    }

    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success(), "{sent}");
    }

    pub fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
