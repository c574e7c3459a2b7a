//! The libnetwork remote driver: what dockerd sees.
//!
//! [`server`] speaks HTTP on the plugin socket, [`routes`] turns a method into a call of the manager, and
//! [`messages`] holds the JSON exactly as Docker sends and expects it.

pub mod messages;
pub mod routes;
pub mod server;
