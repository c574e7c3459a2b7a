//! End to end: canhub as Docker uses it, on a real kernel with a real Docker Engine and real frames.
//!
//! Runs as root on a machine where canhub is installed and serves, normally a guest of `tests/guest`:
//!
//! ```text
//! /host/e2e --test-threads=1 --skip reboot_ --skip hardware::    every topic
//! /host/e2e --test-threads=1 hardware::                 in the guest `hardware`, with CAN adapters to unplug
//! /host/e2e --test-threads=1 traffic:: lifecycle::      two of them
//! /host/e2e --test-threads=1 reboot_before              then reboot the machine, then:
//! /host/e2e --test-threads=1 reboot_after
//! ```
//!
//! The program `probe` must be next to this one. `CANHUB_DRIVER` is the driver name: `canhub` (default; tests then also
//! kill and restart the systemd unit `canhub`) or `canhub:latest` for the managed plugin. What cannot be tested on a
//! machine prints `NOT RUN: name: reason`.
//!
//! Every test creates its own networks and containers in a [`support::scene::Scene`], which removes everything at the
//! end, and fails the test if anything is left on the machine.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "the rules for canhub do not apply to its test program"
)]

mod adapter;
mod admin;
mod attach;
mod bad_input;
mod cni;
mod crowd;
mod cycles;
mod doctor;
mod door;
mod expect;
mod fault;
mod filters;
mod formats;
mod giving_way;
mod hardware;
mod healing;
mod health;
mod kernel;
mod late;
mod lifecycle;
mod live_restore;
mod losses;
mod names;
mod odd;
mod pacing;
mod podman;
mod quadlet;
mod reboot;
mod replay;
mod restart;
mod serial;
mod shapes;
mod span;
mod storm;
mod support;
mod tap;
mod traffic;
mod unit;
mod watch;
mod wired;
