//! The driver through its socket, as dockerd speaks to it: raw HTTP/1.1 bytes in, bytes out.
//!
//! The server and the manager are real; the kernel is the one in memory, so no root is needed. "Trap N" in a comment is
//! a known pitfall of dockerd that the test guards against, explained there. `CANHUB_FUZZ_CASES=20000 cargo test
//! --release --test driver random` runs the fuzzing for longer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod bodies;
mod bus;
mod client;
mod collect;
mod create;
mod daemon;
mod failures;
mod fake_docker;
mod fuzz;
mod hang;
mod hanging;
mod http;
mod join;
mod parallel;
mod process;
mod protocol;
mod recovery;
mod rename;
mod replay;
mod rig;
