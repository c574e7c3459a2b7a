//! A frame with its time and its sender.

use std::{
    convert::Infallible,
    fmt,
    str::FromStr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::CanAnyFrame;

/// A time of day in nanoseconds since 1970-01-01 00:00 UTC, as the kernel stamps frames (`SO_TIMESTAMPNS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The time since `earlier`; zero if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let nanos = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        Self(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_nanos(time.0)
    }
}

/// Who sent a frame.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sender {
    /// A container, by its name or, if that is unknown, by its endpoint's short ID. In a file written by another
    /// program: the interface.
    Member(Arc<str>),
    /// A program on the host, on the hub.
    Host,
    /// A node on the wire of the bus's adapter.
    Wire,
    /// It could not be determined.
    Unknown,
}

const HOST: &str = "(host)";
const WIRE: &str = "(wire)";
const UNKNOWN: &str = "(unknown)";

/// Without blanks, so that it fits into the interface column of a candump log. Docker allows no parentheses in the name
/// of a container.
impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Member(name) => name,
            Self::Host => HOST,
            Self::Wire => WIRE,
            Self::Unknown => UNKNOWN,
        })
    }
}

impl FromStr for Sender {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            HOST => Self::Host,
            WIRE => Self::Wire,
            UNKNOWN => Self::Unknown,
            name => Self::Member(name.into()),
        })
    }
}

/// A frame with its time and its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When the kernel received it.
    pub time: Timestamp,
    /// Who sent it.
    pub sender: Sender,
    /// The frame, with the flags as they were on the bus.
    pub frame: CanAnyFrame,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_are_parsed_as_they_are_printed() {
        for sender in [Sender::Member("door".into()), Sender::Host, Sender::Wire, Sender::Unknown] {
            assert_eq!(sender.to_string().parse(), Ok(sender));
        }
    }
}
