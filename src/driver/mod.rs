//! The libnetwork remote driver, which is what dockerd sees.
//!
//! [`server`] serves HTTP on the plugin socket, [`routes`] maps methods to calls of the manager, and [`messages`]
//! defines the JSON exactly as Docker sends and expects it.

pub mod messages;
pub mod routes;
pub mod server;
