//! Health of everything that canhub needs: checked in the background, returned without delay.
//!
//! One task ([`Health::watch`]) checks the kernel with all buses, Docker, and the state folder, each independently and
//! within a time limit. The [`Board`] keeps the results and combines them by the [`policy`] into the [`HealthReport`]
//! of `/v1/health`. Requests return the last results and never wait.

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
