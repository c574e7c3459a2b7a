//! dockerd's side of the conversation, byte for byte as captured from 20.10 to 29. Also used by the benchmark.

#![allow(dead_code, reason = "the tests and the bench use different halves of it")]

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::Value;

/// No response takes longer than this; otherwise the test has found a hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection from dockerd.
pub struct Client {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
    /// The `Host` header: empty for Docker 20.10 and some builds up to 24.
    pub host: &'static str,
}

/// The response.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Client {
    pub fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader, host: "plugin.moby.localhost" }
    }

    /// Calls a method like dockerd: the JSON ends with a newline.
    pub fn call(&mut self, method: &str, body: &Value) -> Reply {
        self.call_raw(method, format!("{body}\n").as_bytes())
    }

    /// Calls a method with any body.
    pub fn call_raw(&mut self, method: &str, body: &[u8]) -> Reply {
        let mut request = self.head(method, &format!("Content-Length: {}", body.len()));
        request.extend_from_slice(body);
        self.send(&request);
        self.reply().unwrap_or_else(|| panic!("{method}: the connection was closed without an answer"))
    }

    /// A request with a body, like a client of the admin socket.
    pub fn ask(&mut self, method: &str, path: &str, body: &str) -> Reply {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
        self.send(&[head.as_bytes(), body.as_bytes()].concat());
        self.reply().unwrap_or_else(|| panic!("{method} {path}: the connection was closed without an answer"))
    }

    /// The head of a request: no `Content-Type`, and the media type that every version sends.
    pub fn head(&self, method: &str, length: &str) -> Vec<u8> {
        format!(
            "POST /{method} HTTP/1.1\r\nHost: {}\r\nUser-Agent: Go-http-client/1.1\r\n{length}\r\n\
             Accept: application/vnd.docker.plugins.v1.2+json\r\n\r\n",
            self.host
        )
        .into_bytes()
    }

    /// Sends bytes. The other side may already have answered and hung up; the response shows.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Shuts down the sending half, like a client that dies in the middle of a request.
    pub fn hang_up(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// Reads only the head of a response: one to HEAD has a length but no body.
    pub fn reply_head(&mut self) -> Option<String> {
        let mut head = String::new();
        loop {
            let mut line = String::new();
            match self.reader.read_line(&mut line) {
                Ok(0) => return None,
                Ok(_) if line == "\r\n" => return Some(head),
                Ok(_) => head.push_str(&line),
                Err(err) if err.kind() == ErrorKind::ConnectionReset => return None,
                Err(err) => panic!("no answer within {PATIENCE:?}, only {head:?}: {err}"),
            }
        }
    }

    /// Reads a response; `None` if the connection was closed before it started.
    pub fn reply(&mut self) -> Option<Reply> {
        let head = self.reply_head()?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        self.reader.read_exact(&mut body).unwrap();
        let status = status.unwrap_or_else(|| panic!("not an HTTP answer: {head:?}"));
        Some(Reply { status, head, body: String::from_utf8(body).unwrap() })
    }
}

impl Reply {
    /// The JSON, if dockerd would read it: only with status 200.
    pub fn json(&self) -> Value {
        assert_eq!(self.status, 200, "dockerd takes only 200: {self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|err| panic!("{err}: {self:?}"))
    }

    /// The error message for the user, if the call was refused.
    pub fn err(&self) -> Option<String> {
        self.json().get("Err").map(|err| err.as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned())
    }

    /// The JSON of a successful call.
    pub fn ok(&self) -> Value {
        assert_eq!(self.err(), None);
        self.json()
    }

    /// The error message of a refused call.
    pub fn refused(&self) -> String {
        self.err().unwrap_or_else(|| panic!("the call was not refused: {self:?}"))
    }
}
