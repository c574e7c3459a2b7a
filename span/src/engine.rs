//! The mesh between hosts, as the rest of the program sees it. [`zenoh`] is the only engine.
//!
//! An engine connects hosts of one fleet, proves who each of them is, and carries payloads between those that may. It
//! keeps the payloads of one sender and topic in order, never repeats one, and drops rather than waits: a slow host
//! loses, and nobody else notices. What is lost is found by whoever numbers the payloads.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use crate::{batch, fleet, hello};

pub mod zenoh;

/// What a payload is about. Its sender is the host of the certificate with which it came, for all but
/// [`Fleet`](Self::Fleet) and [`Refusal`](Self::Refusal): there it is what the sender says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Frames of the span of this name: from and to hosts that may use it.
    Data(Arc<str>),
    /// How a host is: from and to hosts of the fleet list.
    Hello,
    /// The signed fleet list: to hosts of the list, from everybody with a certificate of the fleet. A host that the list of
    /// others does not have yet brings the list that has it.
    Fleet,
    /// Why a host is refused: from and to everybody with a certificate of the fleet.
    Refusal,
}

impl Topic {
    /// The most bytes of a payload.
    pub fn longest(&self) -> usize {
        match self {
            Self::Data(_) => batch::BYTES_MAX,
            Self::Hello => hello::BYTES_MAX,
            Self::Fleet => fleet::LARGEST,
            Self::Refusal => hello::REFUSAL_MAX,
        }
    }
}

/// A connection to another host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The other end's session. A host that starts again, or reopens, has another.
    pub session: String,
    /// The host's name in its certificate.
    pub host: String,
    /// The certificate's serial number in the fleet list.
    pub serial: String,
    /// `ADDRESS:PORT` of the other end.
    pub address: String,
}

/// What an engine tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A payload came.
    Received {
        /// What it is about.
        topic: Topic,
        /// Its sender.
        host: String,
        /// The payload. One that is [too long](Topic::longest) is cut off after one byte more than it may have.
        payload: Vec<u8>,
    },
    /// A host is connected.
    Connected(Link),
    /// The connection is gone: closed, or not a sign for the lease time.
    Disconnected(Link),
    /// A connection was refused, by this end or the other.
    Refused {
        /// `ADDRESS:PORT` of the other end; `None` if the engine does not know it.
        address: Option<String>,
        /// Why.
        reason: String,
    },
    /// A host could not be reached.
    Unreachable {
        /// Its `ADDRESS:PORT`.
        address: String,
        /// Why.
        reason: String,
    },
}

/// Takes the events of an engine, on threads of the engine: it must not wait.
pub type Sink = Arc<dyn Fn(Event) + Send + Sync>;

/// An open engine.
pub trait Engine: fmt::Debug + Send + Sync {
    /// Sends a payload to all hosts that want the topic, without waiting for any.
    ///
    /// # Errors
    /// One sentence. No error does not mean that anybody got it.
    fn send(&self, topic: &Topic, payload: Vec<u8>) -> Result<(), String>;

    /// From now on the payloads of this span are wanted, and may be sent.
    ///
    /// # Errors
    /// One sentence.
    fn join(&self, span: &str) -> Result<(), String>;

    /// The opposite of [`join`](Self::join).
    fn leave(&self, span: &str);

    /// Ends it: when this is done, other hosts know, and its addresses are free.
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}
