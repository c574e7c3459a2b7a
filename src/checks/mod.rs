//! What `canhub doctor` checks and the daemon monitors as its health: the same checks.
//!
//! A check reads and never changes anything. It returns [`Finding`]s: one sentence each, with the command that fixes
//! the problem or a hint for a person, and whether `canhub doctor --fix` can fix it. Files are read under a root
//! ([`Files`]), so that tests can build a machine in a folder.

pub mod backlog;
mod bus;
pub mod buses;
pub mod docker;
pub mod driver;
mod engines;
pub mod expectations;
pub mod faults;
mod files;
mod finding;
pub mod foreign_rules;
pub mod leftovers;
mod losses;
pub mod modules;
mod networks;
mod obstacles;
mod packages;
mod ports;
pub mod records;
pub mod span;
pub mod system;
pub mod units;

pub use bus::{ADAPTER_AWAY, adapter, bus};
pub use files::Files;
pub use finding::{Finding, Group, Level, Remedy};
