//! Frames in user space: who sent them, how they are counted, and the files that hold them.
//!
//! The data plane is the kernel's: no frame passes through canhub on its way between members. This module only listens,
//! and only while somebody asks it to. `canhub watch`, `canhub record`, `canhub replay` and `canhub door` stand on it.

mod bus;
pub mod ids;
mod record;
mod tap;

pub use bus::{Bus, Daemon};
pub use record::{Record, Sender, Timestamp};
pub use socketcan::CanAnyFrame;
pub use tap::{Tap, TapOptions};
