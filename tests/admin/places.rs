//! Access to the admin socket, and its resource limits.

#![allow(clippy::disallowed_methods, reason = "tests may start the program under test")]

use std::{
    fs::{self, Permissions},
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::UnixListener,
        process::CommandExt,
    },
    process::Command,
    thread,
    time::{Duration, Instant},
};

use canhub::{admin::Admin, manager::Handle};
use tokio::sync::oneshot;

use super::{
    ask::get,
    hanging::{self, Held},
    rig::Rig,
};

/// Runs an endless server on a separate thread, until the guard is dropped.
fn served<F: Future<Output = ()>>(serve: impl FnOnce() -> F + Send + 'static) -> oneshot::Sender<()> {
    let (guard, dropped) = oneshot::channel::<()>();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::select! {
                () = serve() => {}
                _ = dropped => {}
            }
        });
        runtime.shutdown_timeout(Duration::from_secs(1));
    });
    guard
}

fn admin(rig: &Rig) -> Admin {
    Admin::new(Handle::new(rig.manager.clone()), rig.health.clone())
}

/// Here anyone can connect to the socket, as after an accidental chmod. As root, the test connects as nobody;
/// otherwise, to a socket of another owner.
#[test]
fn another_user_who_reaches_the_socket_is_refused() {
    const NOBODY: u32 = 65534;
    let rig = Rig::new();
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let (socket, program) = (dir.path().join("admin.sock"), dir.path().join("canhub"));
    // The build folder may not be accessible to others.
    fs::copy(env!("CARGO_BIN_EXE_canhub"), &program).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
    listener.set_nonblocking(true).unwrap();

    let me = fs::metadata(dir.path()).unwrap().uid();
    let owner = if me == 0 { 0 } else { me + 1 };
    let admin = admin(&rig);
    let _server = served(move || async move {
        admin.answer_on(tokio::net::UnixListener::from_std(listener).unwrap(), owner).await;
    });
    let mut command = Command::new(&program);
    command.arg("status").env("CANHUB_ADMIN_SOCKET", &socket).current_dir("/");
    if me == 0 {
        command.uid(NOBODY).gid(NOBODY);
    }
    let run = command.output().unwrap();
    let complaint = String::from_utf8(run.stderr).unwrap();
    assert!(!run.status.success());
    assert!(
        complaint.contains("permission denied: only root and the user that runs canhub have access"),
        "{complaint}"
    );
    assert_eq!(String::from_utf8(run.stdout).unwrap(), "");
}

/// Anyone who reaches the port can scrape; while the kernel is slow, scrapes must not keep root out.
#[test]
fn scrapes_over_tcp_take_no_slots_of_the_admin_socket() {
    let (rig, kernel) = hanging::rig(Duration::from_secs(20));
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("admin.sock");
    let address: SocketAddr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (admin, path) = (admin(&rig), socket.clone());
    let _server = served(move || async move {
        tokio::join!(admin.clone().serve(path), admin.serve_metrics(address));
    });
    kernel.hold(Held::Links);
    let mut scrapes: Vec<TcpStream> = (0..3).map(|_| connect(address)).collect();
    for scrape in &mut scrapes {
        scrape.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    }
    kernel.until_waiting(1);
    thread::scope(|scope| {
        let asked: Vec<_> = (0..2).map(|_| scope.spawn(|| get(&socket, "/v1/status").status)).collect();
        // One scrape, and both of the requests on the socket.
        kernel.until_waiting(3);
        kernel.hold(Held::None);
        for asked in asked {
            assert_eq!(asked.join().unwrap(), 200);
        }
    });
}

fn connect(address: SocketAddr) -> TcpStream {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => return stream,
            Err(err) => assert!(Instant::now() < deadline, "{err}"),
        }
        thread::sleep(Duration::from_millis(5));
    }
}
