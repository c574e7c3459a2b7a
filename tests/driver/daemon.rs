//! The real program, as systemd or dockerd starts and ends it. It asks the host's kernel only to list.

#![allow(clippy::disallowed_methods, reason = "a test may start the program that it is about")]

use std::{
    fs,
    io::Read,
    os::unix::{fs::FileTypeExt, fs::PermissionsExt, net::UnixListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::client::Client;

const PATIENCE: Duration = Duration::from_secs(20);

struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Daemon {
    fn start(dir: &Path) -> Self {
        // The file name is the driver's, and two daemons of one driver name exclude each other.
        let name = dir.file_name().unwrap().to_string_lossy().replace('.', "");
        let socket = dir.join("plugins").join(name).with_extension("sock");
        let child = Command::new(env!("CARGO_BIN_EXE_canhub"))
            .args(["serve", "--no-heal", "--log-format", "text", "--socket"])
            .arg(&socket)
            .arg("--state-dir")
            .arg(dir.join("state"))
            .arg("--docker-socket")
            .arg(dir.join("docker.sock"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, socket }
    }

    fn answers(&self) {
        let deadline = Instant::now() + PATIENCE;
        while std::os::unix::net::UnixStream::connect(&self.socket).is_err() {
            assert!(Instant::now() < deadline, "it does not listen");
            thread::sleep(Duration::from_millis(5));
        }
        Client::connect(&self.socket).call_raw("Plugin.Activate", b"").ok();
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success(), "{sent}");
    }

    fn end(&mut self) -> ExitStatus {
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

/// Traps 23 and 24: a plugin that ignores SIGTERM costs each dockerd restart 10 s, a stale socket file
/// costs each volume command 15 s. And a connection that is still open must not hold the end up.
#[test]
fn a_terminated_daemon_ends_at_once_and_takes_its_socket_along() {
    for signal in ["-TERM", "-INT"] {
        let dir = tempfile::tempdir().unwrap();
        let mut daemon = Daemon::start(dir.path());
        daemon.answers();
        let mode = fs::metadata(&daemon.socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "only root may speak to it: {mode:o}");
        let mut idle = Client::connect(&daemon.socket);
        idle.call_raw("Plugin.Activate", b"").ok();
        let started = Instant::now();
        daemon.signal(signal);
        let status = daemon.end();
        assert!(status.success(), "{status}");
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        assert!(!daemon.socket.exists(), "the socket file stays");
    }
}

/// Trap 23, after a crash: the file that is left is taken over.
#[test]
fn a_stale_socket_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut killed = Daemon::start(dir.path());
    killed.answers();
    killed.signal("-KILL");
    killed.end();
    assert!(killed.socket.metadata().unwrap().file_type().is_socket());
    let daemon = Daemon::start(dir.path());
    daemon.answers();
}

#[test]
fn the_socket_of_a_living_daemon_is_not_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let first = Daemon::start(dir.path());
    first.answers();
    let mut second = Daemon::start(dir.path());
    assert_eq!(second.end().code(), Some(1));
    let mut said = String::new();
    second.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("another canhub serves it") && said.contains("--socket"), "{said}");
    first.answers();
}

/// Trap 16: while dockerd starts its containers its API accepts connections and answers nothing.
#[test]
fn a_docker_that_answers_nothing_holds_up_neither_start_nor_request_nor_end() {
    let dir = tempfile::tempdir().unwrap();
    let deaf = UnixListener::bind(dir.path().join("docker.sock")).unwrap();
    let mut daemon = Daemon::start(dir.path());
    daemon.answers();
    let (mut asking, _) = deaf.accept().unwrap();
    let mut first = [0; 4];
    asking.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"GET ", "it asks in the background only");
    daemon.answers();
    let started = Instant::now();
    daemon.signal("-TERM");
    daemon.end();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}
