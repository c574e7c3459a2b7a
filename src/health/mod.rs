//! Whether all that canhub needs is well: looked at in the background, told at once to whoever asks.
//!
//! One task ([`Health::watch`]) looks at the kernel with all buses, at Docker and at the state folder, each on
//! its own and within a time limit. The [`Board`] keeps what each look came to, and by the [`policy`] makes of it
//! the [`HealthReport`] that `/v1/health` gives: who asks reads the last results and waits for nobody.

mod board;
mod component;
mod facts;
mod monitor;
pub mod policy;
mod slot;
mod survey;

pub use board::{Board, Change, CheckResult, Key};
pub use component::{Component, HealthReport};
pub use facts::Facts;
pub use monitor::{DOCKER_GRACE, Health, Watch};
pub use policy::Policy;

pub use crate::status::HealthStatus;
