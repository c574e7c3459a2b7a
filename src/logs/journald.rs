//! The journal's native protocol (systemd, "Native Journal Protocol").
//!
//! tracing-journald puts an event's fields next to a message that does not contain them, so `journalctl -g healed`
//! would show that something was healed, but not what. Here the message is the whole line.

#![allow(clippy::disallowed_types, reason = "the errno of the journal socket, not of netlink")]

use std::{
    fmt::{Debug, Write as _},
    fs::File,
    io::{self, IoSlice, Write as _},
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::UnixDatagram,
    },
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::{
        memfd::{MFdFlags, memfd_create},
        socket::{ControlMessage, MsgFlags, sendmsg},
        stat::fstat,
    },
};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

const SOCKET: &str = "/run/systemd/journal/socket";
/// Maximum length in characters of a message that had to be truncated. It fits into any socket buffer.
const CUT: usize = 512;

/// A layer that writes each event to the journal.
pub(super) struct Journal {
    socket: UnixDatagram,
    /// The name of the program, as `journalctl -t` takes it.
    identifier: &'static str,
}

/// Whether the journal reads our stderr: systemd passes its device and inode.
pub(super) fn is_our_output() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    fstat(io::stderr().as_fd()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

impl Journal {
    pub(super) fn connect(identifier: &'static str) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(SOCKET)?;
        Ok(Self { socket, identifier })
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut entry = Entry::default();
        event.record(&mut entry);
        // A lost log line must not stop healing.
        let _ = self.send(&entry, *event.metadata().level());
    }
}

impl Journal {
    /// Sends an entry: as a datagram if it fits, otherwise as a file, otherwise truncated.
    fn send(&self, entry: &Entry, level: Level) -> io::Result<()> {
        let datagram = entry.datagram(self.identifier, level);
        match self.socket.send(&datagram) {
            Err(err) if is_too_large(&err) => {}
            sent => return sent.map(drop),
        }
        match self.send_file(&datagram) {
            Ok(()) => Ok(()),
            Err(why) => self.socket.send(&entry.cut(self.identifier, level, datagram.len(), &why)).map(drop),
        }
    }

    /// Sends an entry as a sealed memfd, like sd_journal_sendv(3): the journal only accepts files that the sender can
    /// no longer change.
    fn send_file(&self, datagram: &[u8]) -> io::Result<()> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let mut file = File::from(memfd_create("canhub-journal", flags)?);
        file.write_all(datagram)?;
        let seals =
            SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        let files = [file.as_raw_fd()];
        let message = [ControlMessage::ScmRights(&files)];
        sendmsg::<()>(self.socket.as_raw_fd(), &[IoSlice::new(&[])], &message, MsgFlags::empty(), None)?;
        Ok(())
    }
}

/// unix(7): larger than the socket buffer, or than a contiguous kernel allocation.
fn is_too_large(err: &io::Error) -> bool {
    let large = [Errno::EMSGSIZE, Errno::ENOBUFS].map(|errno| Some(errno as i32));
    large.contains(&err.raw_os_error())
}

/// One event: a message with its fields appended, and the fields on their own.
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

    fn datagram(&self, identifier: &str, level: Level) -> Vec<u8> {
        let mut datagram = head(identifier, level, &format!("{}{}", self.message, self.line));
        datagram.extend(&self.fields);
        datagram
    }

    /// The start of the message, with its full size and why the rest is missing.
    fn cut(&self, identifier: &str, level: Level, bytes: usize, why: &io::Error) -> Vec<u8> {
        let whole = format!("{}{}", self.message, self.line);
        let begins: String = whole.chars().take(CUT).collect();
        head(
            identifier,
            level,
            &format!(
                "{begins}... (cut: the entry has {bytes} bytes, and the journal did not take it: {why})"
            ),
        )
    }
}

/// The fields common to all entries.
fn head(identifier: &str, level: Level, message: &str) -> Vec<u8> {
    // syslog(3): err, warning, info, debug.
    let priority = match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    };
    let mut datagram = Vec::new();
    put(&mut datagram, "PRIORITY", priority);
    put(&mut datagram, "SYSLOG_IDENTIFIER", identifier);
    put(&mut datagram, "MESSAGE", message);
    datagram
}

/// `NAME=value`, or with an explicit length if the value has a line break.
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
    use std::{fs, os::fd::RawFd, time::Duration};

    use nix::sys::socket::{ControlMessageOwned, getsockopt, recvmsg, sockopt::SndBuf};

    use super::*;

    #[test]
    fn the_message_is_the_whole_line_and_fields_are_separate_too() {
        let mut entry = Entry::default();
        entry.add("message", "healed");
        entry.add("interface", "ch0123456789");
        entry.add("reason", "the hub was missing");
        let datagram = String::from_utf8(entry.datagram("canhub", Level::INFO)).unwrap();
        assert_eq!(
            datagram,
            "PRIORITY=6\nSYSLOG_IDENTIFIER=canhub\n\
             MESSAGE=healed interface=ch0123456789 reason=\"the hub was missing\"\n\
             INTERFACE=ch0123456789\nREASON=the hub was missing\n"
        );
    }

    /// A socket in place of journald's.
    fn journald() -> (UnixDatagram, Journal) {
        let (journald, socket) = UnixDatagram::pair().unwrap();
        journald.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        (journald, Journal { socket, identifier: "canhub" })
    }

    fn entry(bytes: usize) -> Entry {
        let mut entry = Entry::default();
        entry.add("message", "healed");
        entry.add("reason", &"\u{e9}".repeat(bytes / 2));
        entry
    }

    #[test]
    fn an_entry_larger_than_the_socket_buffer_is_sent_as_a_sealed_file() {
        let (journald, journal) = journald();
        let entry = entry(2 * getsockopt(&journal.socket, SndBuf).unwrap());
        journal.send(&entry, Level::WARN).unwrap();
        let mut space = nix::cmsg_space!(RawFd);
        let got = recvmsg::<()>(journald.as_raw_fd(), &mut [], Some(&mut space), MsgFlags::empty()).unwrap();
        assert_eq!(got.bytes, 0);
        let Some(ControlMessageOwned::ScmRights(files)) = got.cmsgs().unwrap().next() else {
            panic!("no file arrived")
        };
        let at = format!("/proc/self/fd/{}", files[0]);
        let seals = fcntl(File::open(&at).unwrap(), FcntlArg::F_GET_SEALS).unwrap();
        assert_eq!(seals, 0b1111, "seal, shrink, grow, write");
        assert_eq!(fs::read(at).unwrap(), entry.datagram("canhub", Level::WARN));
    }

    #[test]
    fn an_entry_that_fits_is_sent_as_a_datagram() {
        let (journald, journal) = journald();
        journal.send(&entry(100), Level::WARN).unwrap();
        let mut got = [0; 4096];
        let length = journald.recv(&mut got).unwrap();
        assert_eq!(got[..length], entry(100).datagram("canhub", Level::WARN));
    }

    #[test]
    fn a_truncated_message_says_so_and_fits() {
        let cut = entry(1 << 20).cut("canhub", Level::WARN, 1 << 20, &io::Error::from_raw_os_error(12));
        assert!(cut.len() < 4 * CUT);
        let text = String::from_utf8(cut).unwrap();
        assert!(text.starts_with("PRIORITY=4\n") && text.contains("MESSAGE=healed reason="), "{text}");
        assert!(text.contains("... (cut: the entry has 1048576 bytes") && text.contains("memory"), "{text}");
    }

    #[test]
    fn a_line_break_cannot_forge_a_field() {
        let mut datagram = Vec::new();
        put(&mut datagram, "REASON", "a\nPRIORITY=0");
        assert_eq!(datagram, b"REASON\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\n");
    }
}
