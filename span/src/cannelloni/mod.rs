//! The formats of cannelloni (<https://github.com/mguentner/cannelloni>), for microcontrollers and existing tunnels: packets of
//! UDP ([`udp`], its version 2) and the byte stream of TCP ([`tcp`], its version 1). Written from the description of what
//! version 2.1.2 sends and accepts; no code of it is used.
//!
//! Neither has times, a usable sequence, nor the DLC of classic frames beyond 8, so a tunnel cannot tell what was lost or is
//! too old on the way.

mod frame;
pub mod tcp;
pub mod udp;

pub use frame::{FRAME_MAX, FrameError};
