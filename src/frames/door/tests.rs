//! The door over real sockets, to an interface that does not exist: what needs no CAN. The rest is in `tests/e2e/door.rs`.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use super::*;

/// Runs a door for this many clients while `talk` talks to it.
fn with_door(clients: usize, talk: impl FnOnce(SocketAddr)) {
    let (address, addressed) = mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = thread::spawn(move || {
        let options = Options { write: true, fd: false, clients };
        let door = Arc::new(Door::new("nowhere0".into(), vec!["body".into()], options, |_| {}));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            address.send(listener.local_addr().unwrap()).unwrap();
            door.serve(listener, async { drop(stopped.await) }).await;
        });
    });
    talk(addressed.recv().unwrap());
    drop(stop);
    serving.join().unwrap();
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

#[track_caller]
fn expect(stream: &mut TcpStream, answer: &str) {
    let mut heard = vec![0; answer.len()];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(String::from_utf8_lossy(&heard), answer);
}

#[test]
fn a_client_is_greeted_and_told_what_it_does_wrong() {
    with_door(2, |address| {
        let mut stream = connect(address);
        expect(&mut stream, "< hi >");
        for (request, answer) in [
            ("< rawmode >", "< error not now >"),
            ("< open other >", "< error could not open bus >"),
            ("< open body >", "< ok >"),
            ("< send 123 0 >", "< error not now >"),
            ("garbage< echo >", "< echo >"),
            ("< bcmode >", "< error this door has raw mode only >"),
            ("< rawmode >", "< error the bus has no interface at the moment >"),
        ] {
            stream.write_all(request.as_bytes()).unwrap();
            expect(&mut stream, answer);
        }
    });
}

#[test]
fn one_client_too_many_is_refused_until_another_leaves() {
    with_door(1, |address| {
        let mut first = connect(address);
        expect(&mut first, "< hi >");
        expect(&mut connect(address), "< error too many clients >");
        drop(first);
        // The door learns at some time that it left.
        let is_let_in = (0..100).any(|_| {
            thread::sleep(Duration::from_millis(50));
            let mut heard = [0; 6];
            connect(address).read_exact(&mut heard).unwrap();
            heard == *b"< hi >"
        });
        assert!(is_let_in);
    });
}

#[test]
fn a_client_that_asks_and_never_reads_is_dropped() {
    with_door(1, |address| {
        let mut stream = connect(address);
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        // Each element is answered with a longer one, until the door has enough and closes.
        let requests = b"<x>".repeat(1000);
        assert!((0..100_000).any(|_| stream.write_all(&requests).is_err()));
    });
}
