//! The journal's native protocol (systemd, "Native Journal Protocol").
//!
//! tracing-journald sends an event's fields beside a message that does not name them, so that
//! `journalctl -g healed` would tell that something was healed and not what. Here the message is the whole line.

use std::{
    fmt::{Debug, Write as _},
    io,
    os::{fd::AsFd, unix::net::UnixDatagram},
};

use nix::sys::stat::fstat;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

const SOCKET: &str = "/run/systemd/journal/socket";

/// A layer that writes each event to the journal.
pub(super) struct Journal {
    socket: UnixDatagram,
}

/// Whether the journal reads our standard error: systemd names its device and inode.
pub(super) fn is_our_output() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    fstat(io::stderr().as_fd()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

impl Journal {
    pub(super) fn connect() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(SOCKET)?;
        Ok(Self { socket })
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut entry = Entry::default();
        event.record(&mut entry);
        // A lost line is no reason to stop healing.
        let _ = self.socket.send(&entry.into_datagram(*event.metadata().level()));
    }
}

/// One event: the message, and the fields both behind it and as fields of their own.
#[derive(Default)]
struct Entry {
    message: String,
    line: String,
    fields: Vec<u8>,
}

impl Entry {
    fn add(&mut self, name: &str, value: &str) {
        if name == "message" {
            value.clone_into(&mut self.message);
            return;
        }
        let quoted = value.is_empty() || value.contains(|c: char| c.is_whitespace() || c == '"');
        let _ = if quoted {
            write!(self.line, " {name}={value:?}")
        } else {
            write!(self.line, " {name}={value}")
        };
        put(&mut self.fields, &name.to_ascii_uppercase().replace('.', "_"), value);
    }

    fn into_datagram(self, level: Level) -> Vec<u8> {
        // syslog(3): err, warning, info, debug.
        let priority = match level {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "6",
            Level::DEBUG | Level::TRACE => "7",
        };
        let mut datagram = Vec::new();
        put(&mut datagram, "PRIORITY", priority);
        put(&mut datagram, "SYSLOG_IDENTIFIER", "canhub");
        put(&mut datagram, "MESSAGE", &(self.message + &self.line));
        datagram.extend(self.fields);
        datagram
    }
}

/// `NAME=value`, or with an explicit length where the value has a line break.
fn put(datagram: &mut Vec<u8>, name: &str, value: &str) {
    datagram.extend(name.as_bytes());
    if value.contains('\n') {
        datagram.push(b'\n');
        datagram.extend((value.len() as u64).to_le_bytes());
    } else {
        datagram.push(b'=');
    }
    datagram.extend(value.as_bytes());
    datagram.push(b'\n');
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field.name(), &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_holds_the_whole_line_and_the_fields_stand_beside_it() {
        let mut entry = Entry::default();
        entry.add("message", "healed");
        entry.add("interface", "ch0123456789");
        entry.add("reason", "the hub was missing");
        let datagram = String::from_utf8(entry.into_datagram(Level::INFO)).unwrap();
        assert_eq!(
            datagram,
            "PRIORITY=6\nSYSLOG_IDENTIFIER=canhub\n\
             MESSAGE=healed interface=ch0123456789 reason=\"the hub was missing\"\n\
             INTERFACE=ch0123456789\nREASON=the hub was missing\n"
        );
    }

    #[test]
    fn a_line_break_cannot_forge_a_field() {
        let mut datagram = Vec::new();
        put(&mut datagram, "REASON", "a\nPRIORITY=0");
        assert_eq!(datagram, b"REASON\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\n");
    }
}
