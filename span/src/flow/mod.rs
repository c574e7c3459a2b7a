//! What decides about frames between hosts. Nothing here waits, reads a clock or touches a socket: time comes as an argument,
//! so that tests can take any path (`simulation.rs` sends frames over a wire that delays, loses, repeats and is cut).
//!
//! A frame passes through, on the sender's host [`Outbound`] (what is too old does not leave), on the receiver's
//! [`Inbound`] (each frame once, in order, and none that is too old, which [`PeerClock`] makes it possible to say), and
//! [`Waiting`] (what gets too old while the bus cannot take it is dropped). [`LoopGuard`] notices when frames come back.
//! [`Taken`] finds what no run of this program took in. Each place counts what it drops: what was sent is what was delivered and
//! what was counted, by place.
//!
//! Places are `kept` in numbers, and `restored` by the next run of this program, however this one ends.

mod clock;
mod delays;
mod inbound;
mod loops;
mod outbound;
#[cfg(test)]
mod simulation;
mod taken;
mod time;
mod waiting;

pub use clock::{Offset, PeerClock, Ping, Pong};
pub use delays::{Delays, Quantiles};
pub use inbound::{Arrived, Inbound, Outcome, Received};
pub use loops::{LoopGuard, Looped};
pub use outbound::{HEARTBEAT, Outbound, Sent};
pub use taken::Taken;
pub use time::{Clocks, Entries, Moment};
pub use waiting::{Dropped, Waiting};

/// How many frames wait at most, in each place. Some 700 KiB; a bus at 10,000 frames/s fills it in 0.8 s, long after they
/// are too old.
pub const QUEUE: usize = 8192;
/// A queue that had this many frames gives memory back when it is empty again.
const QUEUE_KEPT: usize = 256;
