//! Vector's text format (CANoe, CANalyzer, python-can): one event a line, with a channel number.
//!
//! Comments give the channels their names and error frames their content, for which the format has no place:
//!
//! ```text
//! // canhub channel 1 is door
//!    0.000125 1  1A0             Rx   d 2 01 02
//! // canhub error 20000004#000C000000000000
//!    0.000250 1  ErrorFrame
//! ```

mod date;
mod read;
mod write;

pub(super) use read::Reader;
pub(super) use write::Encoder;

/// Precedes an error frame.
const ERROR_COMMENT: &str = "canhub error ";
