//! Frames in user space: who sent them, how they are counted, and the files that hold them.
//!
//! The data plane is the kernel's: no frame passes through canhub on its way between members. This module only listens,
//! and only while somebody asks it to. [`formats`] are the files, [`ids`] the sets of CAN ids that people name, [`dbc`] tells
//! what the data mean, [`table`] counts by id and sender, and [`wire`] knows how long a frame takes. `canhub watch`,
//! `canhub record`, `canhub replay` and `canhub door` stand on it.

mod bus;
pub mod dbc;
pub mod door;
pub mod formats;
pub mod ids;
mod record;
pub mod replay;
pub mod table;
mod tap;
pub mod wire;

pub use bus::{Bus, Daemon};
pub use record::{Record, Sender, Timestamp};
pub use socketcan::CanAnyFrame;
pub use tap::{Lost, Tap, TapOptions};
