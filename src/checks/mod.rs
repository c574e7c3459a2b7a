//! What `canhub doctor` looks at, and what the daemon watches as its health: the same checks.
//!
//! A check reads and never changes. It comes to [`Finding`]s: one sentence each, with the command that mends
//! what is wrong, and whether `canhub doctor --fix` can do that.

mod bus;
mod finding;
mod room;

pub use bus::{ADAPTER_AWAY, adapter, bus};
pub use finding::{Finding, Group, Level};
pub use room::room;
