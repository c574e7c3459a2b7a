//! One bus on several hosts: guests on one Ethernet wire, each with its own kernel, Docker, canhub and canhub-span.
//!
//! Runs on the machine that the guests run on, and drives them; `tests/hosts/run` starts it:
//!
//! ```text
//! tests/hosts/run                  two guests, the short forms
//! tests/hosts/run long             three guests, everything: `make test-hosts`
//! tests/hosts/run long outages::   one topic
//! tests/hosts/run delay::          figures, a part of `make bench`
//! ```
//!
//! `CANHUB_HOSTS` has the names of the running guests. The first test that needs them installs canhub and makes them one
//! fleet, with the commands of `docs/hosts.md`. What cannot be tested prints `NOT RUN: name: reason`.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "the rules for canhub do not apply to its test program"
)]

mod adapters;
mod delay;
mod faults;
mod newcomer;
mod outages;
mod refused;
mod slow;
mod support;
mod swarm;
mod traffic;
mod tunnels;
mod upgrade;
