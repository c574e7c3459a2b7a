//! The driver through its socket, as dockerd speaks to it: raw HTTP/1.1 bytes in, bytes out.
//!
//! The server and the manager are the real ones; the kernel is the one in memory, so no root is needed.
//! "Trap N" in a test's comment is a known surprise of dockerd that the test guards against; each such
//! comment says which. `CANHUB_FUZZ_CASES=20000 cargo test --release --test driver random` is the long form
//! of the fuzzing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests are tests")]

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
