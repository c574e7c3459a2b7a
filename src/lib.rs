//! canhub puts CAN buses into containers and heals them by itself.
//!
//! One request reads from top to bottom: [`driver::server`] takes it off the socket, [`driver::routes`]
//! turns it into a call of the [`manager`], which knows in its [`model`] what Docker wants ([`network`],
//! [`endpoint`], [`options`], [`adapter`]). [`plan`] compares that with what the [`kernel`] has, in one pure function, and
//! [`apply`] carries out the steps. [`reconcile`] does the same for everything, whenever an event or the
//! audit says so. [`state`] keeps over crashes and reboots what Docker tells only once, [`lock`] keeps a second
//! canhub away from it and from the buses, and [`docker`] asks
//! Docker in the background for what it never tells. Whatever happens goes through [`events`]: one line in the
//! log, one event, one count in [`metrics`]; [`traffic`] adds up frames, and [`admin`] shows all of it and the
//! [`status`] of all buses on a socket.
//! [`health`] watches what canhub needs and makes one word of it, by the [`checks`] that a person can run too.
//! [`daemon`] wires all of it; [`cli`] is the front door.
//!
//! Only [`kernel`] knows netlink, and only the private module `system` holds unsafe code.

pub mod adapter;
pub mod admin;
pub mod apply;
pub mod checks;
pub mod cli;
pub mod clock;
pub mod daemon;
pub mod docker;
pub mod driver;
pub mod endpoint;
pub mod error;
pub mod events;
pub mod health;
mod http;
pub mod kernel;
pub mod lock;
pub mod logs;
pub mod manager;
pub mod metrics;
pub mod model;
pub mod names;
pub mod network;
pub mod options;
pub mod plan;
pub mod reconcile;
pub mod rustycan4docker;
pub mod state;
pub mod status;
mod system;
pub mod traffic;
