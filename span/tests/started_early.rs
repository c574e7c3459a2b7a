//! A service that was started before its host joined a fleet.

#![allow(clippy::disallowed_methods, reason = "tests may start the program under test")]

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// It looks for a fleet once a second.
const LIMIT: Duration = Duration::from_secs(20);

fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_canhub-span"));
    command
        .args(arguments)
        .env("CANHUB_SPAN_CONFIG", dir.join("span.toml"))
        .env("CANHUB_SPAN_CA", dir.join("ca"));
    command
}

/// Ends with the test.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_service_that_was_started_before_init_listens_where_init_says() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let state = format!("state = '{}'\n", dir.join("state").display());
    fs::write(dir.join("span.toml"), &state).unwrap();
    let socket = dir.join("control.sock");
    let service = command(dir, &["serve", "--socket"])
        .arg(&socket)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _service = Service(service);
    let began = Instant::now();
    while !socket.exists() {
        assert!(began.elapsed() < LIMIT, "it does not start");
        sleep(Duration::from_millis(20));
    }

    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // As `init` writes it. It keeps a file that is there, and this one has to say where the state is.
    fs::write(dir.join("span.toml"), format!("{state}listen = ['{address}']\n")).unwrap();
    let init = command(dir, &["init", "--name", "bench"]).output().unwrap();
    assert!(init.status.success(), "{init:?}");
    while TcpStream::connect(address).is_err() {
        assert!(began.elapsed() < LIMIT, "it listens nowhere");
        sleep(Duration::from_millis(50));
    }
}
