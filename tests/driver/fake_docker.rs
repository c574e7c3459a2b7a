//! A Docker whose API returns what a test configures.

#![allow(dead_code, reason = "the tests and those of the admin socket use different parts")]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde_json::Value;

/// Exists as long as the test program.
pub struct FakeDocker {
    dir: tempfile::TempDir,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    answers: BTreeMap<String, Value>,
    asked: Vec<String>,
    held: Option<&'static str>,
    /// Clients that follow events.
    followers: Vec<UnixStream>,
}

impl FakeDocker {
    /// Knows no networks and no containers.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let listener = UnixListener::bind(dir.path().join("docker.sock")).unwrap();
        let docker = Self { dir, shared: shared.clone() };
        docker.answer("/networks", Value::Array(Vec::new()));
        docker.answer("/info", serde_json::json!({ "ID": "engine-of-the-host" }));
        docker.answer("/containers/json", Value::Array(Vec::new()));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                thread::spawn(move || serve(stream, &shared));
            }
        });
        docker
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    /// Sets the response of a path, for any query.
    pub fn answer(&self, path: &str, answer: Value) {
        self.shared.lock().answers.insert(path.to_owned(), answer);
    }

    /// Delays the responses of a path from now on.
    pub fn hold(&self, held: Option<&'static str>) {
        self.shared.lock().held = held;
    }

    /// Waits until this many clients follow events.
    #[track_caller]
    pub fn until_following(&self, followers: usize) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.shared.lock().followers.len() < followers {
            assert!(Instant::now() < deadline, "no client follows the events");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends an event to all followers.
    pub fn tell(&self, event: &Value) {
        let line = format!("{event}\n");
        for stream in &self.shared.lock().followers {
            let mut stream = stream;
            let _ = write!(stream, "{:x}\r\n{line}\r\n", line.len());
        }
    }

    /// Number of requests for a path.
    pub fn asked(&self, path: &str) -> usize {
        self.shared.lock().asked.iter().filter(|asked| *asked == path).count()
    }

    /// Waits for this many requests for a path.
    #[track_caller]
    pub fn until_asked(&self, path: &str, times: usize) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.asked(path) < times {
            assert!(Instant::now() < deadline, "{path} was requested {} times", self.asked(path));
            thread::sleep(Duration::from_millis(2));
        }
    }
}

fn serve(stream: UnixStream, shared: &Mutex<Shared>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    let target = head.split(' ').nth(1).unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default().to_owned();
    shared.lock().asked.push(path.clone());
    while shared.lock().held == Some(&path) {
        thread::sleep(Duration::from_millis(1));
    }
    if path == "/events" {
        let _ = (&stream).write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        shared.lock().followers.push(stream);
        return;
    }
    let answer = shared.lock().answers.get(&path).cloned();
    let (status, body) = match answer {
        Some(answer) => ("200 OK", answer.to_string()),
        None => ("404 Not Found", r#"{"message":"not found"}"#.to_owned()),
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = (&stream).write_all((head + &body).as_bytes());
}
