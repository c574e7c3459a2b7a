//! The real program, as started and stopped by systemd or dockerd.

use std::{
    fs,
    io::Read,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::{FileTypeExt, PermissionsExt},
            net::{SocketAddr, UnixListener, UnixStream},
        },
    },
    thread,
    time::{Duration, Instant},
};

use nix::{sys::stat::Mode, unistd::mkfifo};

use super::{client::Client, process::Daemon};

/// Traps 23 and 24: a plugin that ignores SIGTERM costs each dockerd restart 10 s, and a stale socket file costs each
/// volume command 15 s. An open connection must not delay the exit either.
#[test]
fn a_terminated_daemon_exits_at_once_and_removes_its_socket() {
    for signal in ["-TERM", "-INT"] {
        let dir = tempfile::tempdir().unwrap();
        let mut daemon = Daemon::start(dir.path());
        daemon.answers();
        let mode = fs::metadata(&daemon.socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "only root may connect: {mode:o}");
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

/// Trap 23, after a crash: the stale file is replaced.
#[test]
fn a_stale_socket_is_replaced() {
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
fn the_socket_of_a_running_daemon_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let first = Daemon::start(dir.path());
    first.answers();
    let mut second = Daemon::start(dir.path());
    assert_eq!(second.end().code(), Some(1));
    let mut said = String::new();
    second.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("another process serves it") && said.contains("--socket"), "{said}");
    first.answers();
}

/// Signal handlers are installed before anything that may hang, such as a disk.
#[test]
fn a_daemon_that_hangs_while_loading_its_records_exits_at_once() {
    for record in ["state.json", "endpoints/x.json"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state").join(record);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // Opening it for reading blocks until someone opens it for writing.
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        let mut daemon = Daemon::start(dir.path());
        let deadline = Instant::now() + Duration::from_secs(20);
        // The connection is queued, so the test cannot wait for it to be served.
        while UnixStream::connect(&daemon.socket).is_err() {
            assert!(Instant::now() < deadline, "it does not listen");
            thread::sleep(Duration::from_millis(5));
        }
        thread::sleep(Duration::from_millis(200));
        let started = Instant::now();
        daemon.signal("-TERM");
        let status = daemon.end();
        assert!(status.success(), "{record}: {status}");
        assert!(started.elapsed() < Duration::from_secs(2), "{record}: {:?}", started.elapsed());
        assert!(!daemon.socket.exists(), "the socket file stays");
    }
}

/// systemd and dockerd would restart it immediately and forever.
#[test]
fn a_failed_start_pauses_and_a_signal_ends_the_pause() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("plugins"), "a file in place of the folder").unwrap();
    let started = Instant::now();
    let mut daemon = Daemon::start(dir.path());
    assert_eq!(daemon.end().code(), Some(1));
    assert!(started.elapsed() > Duration::from_secs(4), "{:?}", started.elapsed());

    let mut daemon = Daemon::start(dir.path());
    let mut said = [0; 1];
    daemon.child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    let started = Instant::now();
    daemon.signal("-TERM");
    daemon.end();
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

/// Like the service and the managed plugin: their sockets and records are in different folders.
#[test]
fn a_second_daemon_of_the_same_name_does_not_start_until_the_first_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let start = |folder: &str| {
        let folder = dir.path().join(folder);
        Daemon::start_as("bus", &folder, &folder.join("state"), dir.path(), &[])
    };
    let mut first = start("service");
    first.answers();
    // Answered once the locks are held.
    let mut second = start("plugin");
    assert_eq!(second.end().code(), Some(1));
    let mut said = String::new();
    second.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("another canhub manages the buses of driver bus"), "{said}");
    first.signal("-KILL");
    first.end();
    start("plugin").answers();
}

#[test]
fn two_daemons_do_not_share_a_state_folder() {
    let dir = tempfile::tempdir().unwrap();
    let first = Daemon::start(dir.path());
    first.answers();
    let other = dir.path().join("other");
    let mut second = Daemon::start_as("other", &other, &dir.path().join("state"), &other, &[]);
    assert_eq!(second.end().code(), Some(1));
    let mut said = String::new();
    second.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("another canhub uses the state folder") && said.contains("--state-dir"), "{said}");
}

/// Nothing that another user can bind, such as an abstract socket, keeps canhub from starting.
#[test]
fn names_that_any_user_can_bind_do_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let name = dir.path().file_name().unwrap().to_string_lossy().replace('.', "");
    let address = SocketAddr::from_abstract_name(format!("canhub/{name}")).unwrap();
    let _taken = UnixListener::bind_addr(&address).unwrap();
    Daemon::start(dir.path()).answers();
    let lock = dir.path().join(format!("canhub-{name}.lock"));
    assert_eq!(
        fs::metadata(lock).unwrap().permissions().mode() & 0o777,
        0o600,
        "whoever can open it can lock it"
    );
}

/// Trap 16: while dockerd starts its containers, its API accepts connections but does not answer.
#[test]
fn a_silent_docker_delays_neither_start_nor_requests_nor_exit() {
    let dir = tempfile::tempdir().unwrap();
    let deaf = UnixListener::bind(dir.path().join("docker.sock")).unwrap();
    let mut daemon = Daemon::start(dir.path());
    daemon.answers();
    let (mut asking, _) = deaf.accept().unwrap();
    let mut first = [0; 4];
    asking.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"GET ", "Docker is queried in the background only");
    daemon.answers();
    let started = Instant::now();
    daemon.signal("-TERM");
    daemon.end();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}
