//! The real program, as systemd or dockerd starts and ends it.

use std::{
    fs,
    io::Read,
    os::unix::{fs::FileTypeExt, fs::PermissionsExt, net::UnixListener},
    time::{Duration, Instant},
};

use super::{client::Client, process::Daemon};

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
