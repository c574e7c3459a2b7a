//! A minimal ISO 15765-2 (ISO-TP) over classic frames: the guests' kernels have no module for it.
//!
//! First frame, flow control, consecutive frames in blocks. Nothing is optional, and every deviation is an error.

use std::{io, time::Duration};

use socketcan::{CanAnyFrame, CanFdSocket, CanFrame, EmbeddedFrame, Frame, StandardId};

use crate::{line, report::Message, socket};

const PATIENCE: Duration = Duration::from_secs(20);
/// The frame type, in the first nibble.
const SINGLE: u8 = 0x00;
const FIRST: u8 = 0x10;
const CONSECUTIVE: u8 = 0x20;
const FLOW: u8 = 0x30;

/// One end of a conversation.
pub struct Peer {
    socket: CanFdSocket,
    sends: u16,
    hears: u16,
}

impl Peer {
    /// Opens an end.
    pub fn open(interface: &str, sends: u16, hears: u16) -> io::Result<Self> {
        Ok(Self { socket: socket::open(interface)?, sends, hears })
    }

    /// Sends a message of each size.
    pub fn send_all(&self, sizes: &[usize]) -> io::Result<()> {
        sizes.iter().try_for_each(|size| self.send(&content(*size)))?;
        line(&serde_json::to_string(sizes)?)
    }

    /// Prints `ready`, receives this many messages and reports each.
    pub fn receive_all(&self, count: usize, block: u8) -> io::Result<()> {
        line("ready")?;
        for _ in 0..count {
            let message = self.receive(block)?;
            let report = Message { size: message.len(), intact: message == content(message.len()) };
            line(&serde_json::to_string(&report)?)?;
        }
        Ok(())
    }

    fn send(&self, message: &[u8]) -> io::Result<()> {
        let size = message.len();
        if size <= 7 {
            return self.put(&[&[SINGLE | size as u8], message].concat());
        }
        let (head, rest) = message.split_at(6);
        self.put(&[&[FIRST | (size >> 8) as u8, size as u8], head].concat())?;
        let mut chunks = rest.chunks(7).enumerate();
        while chunks.len() > 0 {
            let flow = self.get(FLOW)?;
            if flow[0] != FLOW {
                return Err(io::Error::other(format!("flow control {flow:02x?} does not say go on")));
            }
            let block = match flow.get(1) {
                Some(0) | None => usize::MAX,
                Some(block) => usize::from(*block),
            };
            for (number, chunk) in chunks.by_ref().take(block) {
                self.put(&[&[CONSECUTIVE | ((number + 1) & 0xf) as u8], chunk].concat())?;
            }
        }
        Ok(())
    }

    fn receive(&self, block: u8) -> io::Result<Vec<u8>> {
        let head = self.get_any(&[SINGLE, FIRST])?;
        if head[0] & 0xf0 == SINGLE {
            return Ok(head[1..=usize::from(head[0])].to_vec());
        }
        let size = usize::from(head[0] & 0xf) << 8 | usize::from(head[1]);
        let mut message = head[2..].to_vec();
        for number in 0.. {
            if message.len() >= size {
                break;
            }
            if number == 0 || (block > 0 && number % usize::from(block) == 0) {
                self.put(&[FLOW, block, 0])?;
            }
            let frame = self.get(CONSECUTIVE)?;
            if usize::from(frame[0] & 0xf) != (number + 1) & 0xf {
                return Err(io::Error::other(format!("part {} came as part {:x}", number + 1, frame[0])));
            }
            message.extend(&frame[1..]);
        }
        message.truncate(size);
        Ok(message)
    }

    fn put(&self, data: &[u8]) -> io::Result<()> {
        let frame = StandardId::new(self.sends).and_then(|id| CanFrame::new(id, data));
        socket::send(&self.socket, &frame.ok_or(io::ErrorKind::InvalidInput)?.into())
    }

    fn get(&self, wanted: u8) -> io::Result<Vec<u8>> {
        self.get_any(&[wanted])
    }

    fn get_any(&self, wanted: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            let frame = socket::receive(&self.socket, PATIENCE)?
                .ok_or_else(|| io::Error::other(format!("nothing like {wanted:02x?} came")))?;
            if !matches!(frame, CanAnyFrame::Normal(_)) || frame.raw_id() != u32::from(self.hears) {
                continue;
            }
            let data = frame.data();
            return match data.first() {
                Some(first) if wanted.contains(&(first & 0xf0)) => Ok(data.to_vec()),
                _ => Err(io::Error::other(format!("{data:02x?} came where {wanted:02x?} was due"))),
            };
        }
    }
}

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 7 + at / 251 + size) as u8).collect()
}
