//! HTTP/1 as canhub speaks it: on sockets of its own, and as a client on Docker's and on its admin's.

pub(crate) mod client;
pub(crate) mod server;
pub(crate) mod socket;
mod write_timeout;
