//! Listening for frames without reading them: sockets of the kernel's broadcast manager (`CAN_BCM`, `net/can/bcm.c`).
//!
//! The kernel reports the first frame of an id. If there is a limit, it restarts a timer with every frame, and reports when
//! the timer has run out, and the first frame after that. It also counts the frames, and shows the counts of a socket in
//! `/proc/net/can-bcm`.
//!
//! A socket is bound to one interface. Bound to all of them, it would go on listening to nothing when an interface is
//! deleted and made again under the same index; bound to one, it reports `ENODEV`.

use std::{
    fs::File,
    io::{self, Write as _},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    os::unix::fs::FileExt,
    time::Duration,
};

use nix::{
    errno::Errno,
    libc::{AF_CAN, CAN_BCM, CAN_EFF_FLAG, c_long},
    sys::{
        socket::{MsgFlags, recv, send},
        stat::fstat,
    },
};
use socket2::{Domain, Protocol, Socket, Type};
use socketcan::CanAddr;

/// Opcodes of `struct bcm_msg_head` (`include/uapi/linux/can/bcm.h`).
const RX_SETUP: u32 = 5;
const RX_DELETE: u32 = 6;
const RX_TIMEOUT: u32 = 11;
const RX_CHANGED: u32 = 12;
/// Flags.
const SETTIMER: u32 = 0x0001;
const RX_ANNOUNCE_RESUME: u32 = 0x0100;
const CAN_FD_FRAME: u32 = 0x0800;
/// The folder with a file per socket.
const COUNTS: &str = "/proc/net/can-bcm";
/// `sizeof(struct can_frame)` and `sizeof(struct canfd_frame)`.
const FRAME: usize = 16;
const FD_FRAME: usize = 72;
/// In `struct bcm_msg_head`: three words, padded to the alignment of `long`, two times of two longs, the id, the number
/// of frames; the frames begin at a multiple of eight.
const LONG: usize = size_of::<c_long>();
const TIMES: usize = 12_usize.next_multiple_of(LONG);
const ID: usize = TIMES + 4 * LONG;
const HEAD: usize = (ID + 8).next_multiple_of(8);

/// What to listen for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BcmId {
    /// The id's bits, without flags.
    pub bits: u32,
    /// Whether it has 29 bits.
    pub extended: bool,
    /// Whether the frames are CAN FD's.
    pub fd: bool,
}

impl BcmId {
    fn raw(self) -> u32 {
        self.bits | if self.extended { CAN_EFF_FLAG } else { 0 }
    }

    fn parse(raw: u32, fd: bool) -> Self {
        Self { bits: raw & !CAN_EFF_FLAG, extended: raw & CAN_EFF_FLAG != 0, fd }
    }
}

/// What the kernel reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BcmNews {
    /// No frame within the limit.
    Overdue(BcmId),
    /// The first frame, or the first after it was overdue.
    Heard(BcmId),
}

/// A listener on one interface.
#[derive(Debug)]
pub struct BcmSocket {
    socket: OwnedFd,
    counts: File,
    text: Vec<u8>,
}

impl BcmSocket {
    /// Opens a listener on the interface with this index. The kernel loads can-bcm if it can.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT` if the kernel has no can-bcm, `EAFNOSUPPORT` if it has no CAN, `ENODEV` if there is no such
    /// interface; one sentence if the kernel does not show the counts.
    pub fn open(index: u32) -> io::Result<Self> {
        let socket =
            Socket::new(Domain::from(AF_CAN), Type::DGRAM.nonblocking(), Some(Protocol::from(CAN_BCM)))?;
        socket.connect(&CanAddr::new(index).into_sock_addr())?;
        let socket = OwnedFd::from(socket);
        let path = format!("{COUNTS}/{}", fstat(&socket)?.st_ino);
        let counts = File::open(&path).map_err(|err| {
            io::Error::other(format!(
                "{COUNTS}, where the kernel shows how many frames came, cannot be read: {err}"
            ))
        })?;
        Ok(Self { socket, counts, text: vec![0; 4096] })
    }

    /// Listens for frames, which must not come later than `limit` after the one before, if there is one. The next frame is
    /// news, also if the socket did listen for them.
    ///
    /// The content filter has no bits, so no frame is news besides the first one and the first after a silence.
    ///
    /// # Errors
    /// `ENODEV` if the interface is gone.
    pub fn listen(&self, id: BcmId, limit: Option<Duration>) -> io::Result<()> {
        let frame = [0; FD_FRAME];
        let frame = if id.fd { &frame[..] } else { &frame[..FRAME] };
        let flags = if limit.is_some() { SETTIMER | RX_ANNOUNCE_RESUME } else { 0 };
        self.request(RX_SETUP, id, flags, limit.unwrap_or_default(), frame)
    }

    /// Listens for it no longer.
    ///
    /// # Errors
    /// `EINVAL` if it did not.
    pub fn ignore(&self, id: BcmId) -> io::Result<()> {
        self.request(RX_DELETE, id, 0, Duration::ZERO, &[])
    }

    fn request(&self, opcode: u32, id: BcmId, flags: u32, limit: Duration, frame: &[u8]) -> io::Result<()> {
        let flags = flags | if id.fd { CAN_FD_FRAME } else { 0 };
        let message = head(opcode, flags, limit, id.raw(), u32::from(!frame.is_empty()));
        let message = [&message[..], frame].concat();
        send(self.socket.as_raw_fd(), &message, MsgFlags::empty())?;
        Ok(())
    }

    /// The next news; `None` if there are none.
    ///
    /// # Errors
    /// `ENODEV` if the interface is gone: the listener hears nothing any more.
    pub fn news(&self) -> io::Result<Option<BcmNews>> {
        let mut message = [0; HEAD + FD_FRAME];
        loop {
            let read = match recv(self.socket.as_raw_fd(), &mut message, MsgFlags::empty()) {
                Ok(read) => read,
                Err(Errno::EAGAIN) => return Ok(None),
                // It is down, and may come up again.
                Err(Errno::EINTR | Errno::ENETDOWN) => continue,
                Err(err) => return Err(err.into()),
            };
            if let Some(news) = parse(&message[..read]) {
                return Ok(Some(news));
            }
        }
    }

    /// The number of frames of each id so far, into `counts`. Ids without frames are missing.
    ///
    /// # Errors
    /// If the kernel does not show them.
    pub fn counts(&mut self, counts: &mut Vec<(BcmId, u64)>) -> io::Result<()> {
        counts.clear();
        let mut length = 0;
        loop {
            if length == self.text.len() {
                self.text.resize(length * 2, 0);
            }
            // The kernel writes the whole text for every read, so a read that does not fill the buffer was the last one.
            let read = self.counts.read_at(&mut self.text[length..], length as u64)?;
            length += read;
            if length < self.text.len() {
                break;
            }
        }
        counts.extend(self.text[..length].split(|byte| *byte == b'\n').filter_map(parse_count));
        Ok(())
    }
}

/// Readable when there is news.
impl AsFd for BcmSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn head(opcode: u32, flags: u32, limit: Duration, id: u32, frames: u32) -> Vec<u8> {
    let long = |number: u64| c_long::try_from(number).unwrap_or(c_long::MAX);
    let mut head = vec![0; HEAD];
    let mut put = |at: usize, bytes: &[u8]| {
        let _ = (&mut head[at..]).write_all(bytes);
    };
    put(0, &opcode.to_ne_bytes());
    put(4, &flags.to_ne_bytes());
    put(TIMES, &long(limit.as_secs()).to_ne_bytes());
    put(TIMES + LONG, &long(limit.subsec_micros().into()).to_ne_bytes());
    put(ID, &id.to_ne_bytes());
    put(ID + 4, &frames.to_ne_bytes());
    head
}

fn parse(message: &[u8]) -> Option<BcmNews> {
    let word = |at: usize| message.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let id = BcmId::parse(word(ID)?, word(4)? & CAN_FD_FRAME != 0);
    match word(0)? {
        RX_TIMEOUT => Some(BcmNews::Overdue(id)),
        RX_CHANGED => Some(BcmNews::Heard(id)),
        _ => None,
    }
}

/// `rx_op: 1A0 vcan0 [1]  timeo=26000 # recv 1 (532) => reduction: near 99%`; FD frames have round brackets
/// (`bcm_proc_show`).
fn parse_count(line: &[u8]) -> Option<(BcmId, u64)> {
    const RECEIVED: &[u8] = b"# recv ";
    // Names of interfaces may have it, what follows has not.
    let received = line.get(line.iter().rposition(|byte| *byte == b'#')?..)?.strip_prefix(RECEIVED)?;
    let line = line.strip_prefix(b"rx_op: ")?;
    let (id, rest) = number(line, 16)?;
    let interface = rest.trim_ascii_start().iter().position(|byte| *byte == b' ')?;
    let fd = rest.trim_ascii_start()[interface..].trim_ascii_start().first() == Some(&b'(');
    let (_, rest) = number(received, 10)?;
    let (frames, rest) = number(rest.strip_prefix(b" (")?, 10)?;
    rest.starts_with(b")").then_some((BcmId::parse(id.try_into().ok()?, fd), frames))
}

/// The number at the start, and what follows. A reading has thousands of them per second, so there is no text in between.
fn number(text: &[u8], radix: u32) -> Option<(u64, &[u8])> {
    let digit = |byte: &u8| char::from(*byte).to_digit(radix);
    let digits = text.iter().take_while(|byte| digit(byte).is_some()).count();
    let (number, rest) = text.split_at(digits);
    let number = number
        .iter()
        .filter_map(digit)
        .try_fold(0_u64, |number, digit| number.checked_mul(radix.into())?.checked_add(digit.into()))?;
    (digits > 0).then_some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_parsed_as_the_kernel_prints_them() {
        let id = |bits, extended, fd| BcmId { bits, extended, fd };
        for (line, count) in [
            (
                "rx_op: 1A0 vcan0 [1]  timeo=26000 # recv 1 (532) => reduction: near 99%",
                Some((id(0x1A0, false, false), 532)),
            ),
            (
                "rx_op: 98FEF100 ch0123456789 (1)  timeo=26000 # recv 3 (7) => reduction: 58%",
                Some((id(0x18FE_F100, true, true), 7)),
            ),
            ("rx_op: 001 v(c  [0]  # recv 1 (2) => reduction: 50%", Some((id(1, false, false), 2))),
            ("rx_op: 001 any [0]  # recv 1 (2) => reduction: 50%", Some((id(1, false, false), 2))),
            (">>> socket 0000000000000000 / sk 0 / bo 0 / dropped 0 / bound vcan0 <<<", None),
            ("rx_op: 1A0 vcan0", None),
            ("rx_op: 1A0 vcan0 [1]  # recv 1 (", None),
            ("rx_op: 1A0 vcan0 [1]  # recv 1 (99999999999999999999) => reduction: 1%", None),
        ] {
            assert_eq!(parse_count(line.as_bytes()), count, "{line}");
        }
    }

    #[test]
    fn a_message_has_the_layout_of_the_kernel() {
        let message = head(RX_SETUP, SETTIMER, Duration::from_micros(1_500_000), 0x1A0, 1);
        #[cfg(target_pointer_width = "64")]
        {
            assert_eq!((message.len(), TIMES, ID), (56, 16, 48));
            assert_eq!(message[24..32], 500_000_i64.to_ne_bytes());
        }
        assert_eq!(parse(&message), None, "not a report");
        let silent = head(RX_TIMEOUT, CAN_FD_FRAME, Duration::ZERO, 0x1A0 | CAN_EFF_FLAG, 0);
        assert_eq!(parse(&silent), Some(BcmNews::Overdue(BcmId { bits: 0x1A0, extended: true, fd: true })));
        assert_eq!(parse(&silent[..20]), None);
    }
}
