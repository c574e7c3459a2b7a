//! The admin socket of the real program: who can reach it, and what does not exist.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{ask::get, process::Daemon};

/// Waits for the admin socket.
pub fn has_admin(daemon: &Daemon) {
    daemon.answers();
    let deadline = Instant::now() + Duration::from_secs(20);
    while UnixStream::connect(&daemon.admin).is_err() {
        assert!(Instant::now() < deadline, "the admin socket does not appear");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn only_the_owner_can_reach_the_socket_and_it_is_removed_with_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(dir.path());
    has_admin(&daemon);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&daemon.admin), 0o600);
    assert_eq!(mode(daemon.admin.parent().unwrap()), 0o700);
    // An event listener does not delay the exit.
    let listener = super::ask::Listener::start(&daemon.admin, 0);
    let started = Instant::now();
    daemon.signal("-TERM");
    assert!(daemon.end().success());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(!daemon.admin.exists(), "the socket file stays");
    drop(listener);
}

#[test]
fn a_stale_admin_socket_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let mut killed = Daemon::start(dir.path());
    has_admin(&killed);
    killed.signal("-KILL");
    killed.end();
    assert!(killed.admin.exists());
    let daemon = Daemon::start(dir.path());
    has_admin(&daemon);
    assert_eq!(get(&daemon.admin, "/v1/nothing").status, 404);
}

#[test]
fn without_an_admin_socket_the_driver_works_and_the_log_says_so() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("run"), "a file in place of the folder").unwrap();
    let mut daemon = Daemon::start(dir.path());
    daemon.answers();
    thread::sleep(Duration::from_millis(300));
    daemon.answers();
    daemon.signal("-TERM");
    assert!(daemon.end().success());
    let mut log = String::new();
    daemon.child.stdout.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains("no admin socket") && log.contains("admin.sock"), "{log}");
}

/// The inodes of the process's listening TCP sockets.
fn listens_on_tcp(daemon: &Daemon) -> usize {
    let folder = format!("/proc/{}/fd", daemon.child.id());
    let files = fs::read_dir(folder).unwrap().flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    let sockets: Vec<String> = files
        .filter_map(|file| Some(file.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    // Column 4 is the state, 0A is TCP_LISTEN; column 10 is the inode.
    let listening = |line: &&str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        columns.get(3) == Some(&"0A")
            && columns.get(9).is_some_and(|inode| sockets.iter().any(|own| own == inode))
    };
    tables.iter().flat_map(|table| table.lines()).filter(listening).count()
}

#[test]
fn nothing_listens_on_tcp_unless_requested_and_then_only_for_metrics() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    has_admin(&daemon);
    assert_eq!(listens_on_tcp(&daemon), 0);
    drop(daemon);

    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(dir.path(), &["--metrics-listen", &free.to_string()]);
    has_admin(&daemon);
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(free).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert_eq!(listens_on_tcp(&daemon), 1);
    assert!(ask("/v1/status").starts_with("HTTP/1.0 404"));
    assert!(ask("/v1/events").starts_with("HTTP/1.0 404"));
    // The kernel may refuse to list rules to non-root users; the response is then an error message.
    let metrics = ask("/metrics");
    assert!(metrics.ends_with("# EOF\n") || metrics.contains("\"error\""), "{metrics}");
}
