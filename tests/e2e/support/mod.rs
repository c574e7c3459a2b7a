//! Helpers of the tests: commands, the host, members of a bus, scenes that clean up after themselves.

pub mod canhub;
pub mod cni;
pub mod compose;
pub mod cost;
pub mod dice;
pub mod docker;
pub mod frames;
pub mod hardware;
pub mod host;
pub mod member;
pub mod netns;
pub mod podman;
#[path = "../../probe/report.rs"]
pub mod report;
pub mod scene;
pub mod shell;
pub mod slcan;
pub mod strangers;
pub mod terminal;
pub mod usb;
pub mod watchdog;
