//! `canhub-span` makes the buses of several hosts one bus: all networks with the same `span=NAME` on all hosts that may
//! speak on that span.
//!
//! [`cli`] is the command line and [`config`] reads `/etc/canhub/span.toml`. [`fleet`] knows which hosts there are and what
//! each may do.
//!
//! What others send is bytes until [`batch`] has checked them, or [`cannelloni`], the format of tunnels. [`flow`] decides
//! about frames: it is pure, so that all of its paths are tested. [`parts`] takes frames apart.

pub mod batch;
pub mod cannelloni;
pub mod cli;
pub mod config;
pub mod fleet;
pub mod flow;
pub mod parts;
