//! HTTP/1: servers on canhub's own sockets, and a client for Docker's and canhub's.

pub(crate) mod client;
pub(crate) mod server;
pub mod socket;
mod write_timeout;
