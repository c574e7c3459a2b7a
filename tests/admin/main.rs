//! The admin socket, as used by `canhub status`, monitoring systems and people.
//!
//! The servers and the manager are real; the kernel is the one in memory, so no root is needed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

#[path = "../driver/bodies.rs"]
mod bodies;
#[allow(dead_code, reason = "the tests of the driver use all of it")]
#[path = "../driver/bus.rs"]
mod bus;
#[path = "../driver/client.rs"]
mod client;
#[path = "../driver/fake_docker.rs"]
mod fake_docker;
#[path = "../driver/hanging.rs"]
mod hanging;
#[path = "../driver/process.rs"]
mod process;
#[path = "../driver/rig.rs"]
mod rig;

mod ask;
mod attachments;
mod commands;
mod daemon;
mod events;
mod expectations;
mod faults;
mod gate;
mod heal;
mod health;
mod hosts;
mod losses;
mod metrics;
mod monitoring;
mod openapi;
mod openmetrics;
mod places;
mod schema;
mod status;
