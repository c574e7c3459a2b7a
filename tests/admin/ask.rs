//! Client of the admin socket.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::Value;

use super::{
    client::{Client, Reply},
    rig::Rig,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A GET request.
pub fn get(socket: &Path, path: &str) -> Reply {
    request(socket, "GET", path)
}

/// A request without a body.
pub fn request(socket: &Path, method: &str, path: &str) -> Reply {
    let mut client = Client::connect(socket);
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
    client.reply().unwrap()
}

/// A request with a body.
pub fn send(socket: &Path, method: &str, path: &str, body: &str) -> Reply {
    Client::connect(socket).ask(method, path, body)
}

impl Rig {
    /// `/v1/status`.
    pub fn status(&self) -> Value {
        get(&self.admin(), "/v1/status").json()
    }

    /// The value of a sample in `/metrics`, such as `canhub_leaves_total`; zero if there is none.
    pub fn sample(&self, name: &str) -> f64 {
        let text = get(&self.admin(), "/metrics").body;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or(0.0)
    }
}

/// An event listener.
pub struct Listener {
    lines: BufReader<UnixStream>,
}

impl Listener {
    /// Starts listening, preceded by up to this many kept events.
    pub fn start(socket: &Path, last: usize) -> Self {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // HTTP/1.0, so that events are not sent in chunks.
        write!(stream, "GET /v1/events?last={last} HTTP/1.0\r\n\r\n").unwrap();
        let mut listener = Self { lines: BufReader::new(stream) };
        let mut head = String::new();
        while listener.lines.read_line(&mut head).unwrap() > 2 {}
        assert!(head.starts_with("HTTP/1.0 200") && head.contains("text/event-stream"), "{head}");
        listener
    }

    /// The data of the next event; `None` at the end.
    pub fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).unwrap_or_else(|err| panic!("{err}: {line}")));
            }
            line.clear();
        }
        None
    }

    /// Whether nothing arrives for a while.
    pub fn is_silent(&mut self) -> bool {
        self.lines.get_mut().set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut rest = Vec::new();
        let ended = self.lines.read_to_end(&mut rest);
        matches!(ended, Err(err) if err.kind() == ErrorKind::WouldBlock) && rest.trim_ascii().is_empty()
    }
}
