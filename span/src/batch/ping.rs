//! The question what time it is on another host, and the answer.

use super::{VERSION, decode::Fields};
use crate::flow::Moment;

const PING: [u8; 4] = *b"CHSP";
const PONG: [u8; 4] = *b"CHSA";

/// "What time is it?" Sent as soon as it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ping {
    /// Of the host that asks: the answer goes to this run of its `canhub-span` only.
    pub instance: u64,
    /// When it was sent, by the clock of the host that asks.
    pub sent: Moment,
}

/// The answer. Sent as soon as it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pong {
    /// What it answers.
    pub ping: Ping,
    /// Of the host that answers.
    pub instance: u64,
    /// When the ping came, by the clock of the host that answers.
    pub received: Moment,
    /// When this was sent, by the clock of the host that answers.
    pub sent: Moment,
}

/// Why a ping or a pong is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PingError {
    /// Neither.
    #[error("{0} bytes that are neither a ping nor a pong")]
    Foreign(usize),
    /// The other host runs another version of `canhub-span`.
    #[error("the ping has version {0}, this host knows version {VERSION}: install the same canhub on both")]
    Version(u8),
}

impl Ping {
    /// Bytes of a ping.
    pub const BYTES: usize = 21;

    /// As it is sent.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        written(PING, &[self.instance, self.sent.0])
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is none, or one of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, PingError> {
        let mut fields = opened(bytes, PING, Self::BYTES)?;
        Ok(Self {
            instance: u64::from_be_bytes(fields.take()),
            sent: Moment(u64::from_be_bytes(fields.take())),
        })
    }
}

impl Pong {
    /// Bytes of a pong.
    pub const BYTES: usize = 45;

    /// As it is sent.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let Self { ping, instance, received, sent } = self;
        written(PONG, &[ping.instance, ping.sent.0, *instance, received.0, sent.0])
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is none, or one of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, PingError> {
        let mut fields = opened(bytes, PONG, Self::BYTES)?;
        let mut next = || u64::from_be_bytes(fields.take());
        let ping = Ping { instance: next(), sent: Moment(next()) };
        Ok(Self { ping, instance: next(), received: Moment(next()), sent: Moment(next()) })
    }
}

fn written<const N: usize>(magic: [u8; 4], fields: &[u64]) -> [u8; N] {
    let mut bytes = [0; N];
    let values = fields.iter().flat_map(|field| field.to_be_bytes());
    for (byte, value) in bytes.iter_mut().zip(magic.into_iter().chain([VERSION]).chain(values)) {
        *byte = value;
    }
    bytes
}

fn opened(bytes: &[u8], magic: [u8; 4], length: usize) -> Result<Fields<'_>, PingError> {
    let mut fields = Fields(bytes);
    let (found, [version]) = (fields.take(), fields.take());
    if found != magic {
        return Err(PingError::Foreign(bytes.len()));
    }
    match version {
        VERSION if bytes.len() == length => Ok(fields),
        VERSION => Err(PingError::Foreign(bytes.len())),
        version => Err(PingError::Version(version)),
    }
}
