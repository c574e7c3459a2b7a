//! Helpers of the tests: the guests, canhub on them, members of buses, and what these heard.

pub mod bus;
pub mod clocks;
#[path = "../../e2e/support/dice.rs"]
pub mod dice;
pub mod fleet;
pub mod flow;
pub mod guest;
pub mod readme;
#[path = "../../probe/report.rs"]
pub mod report;
#[path = "../../e2e/support/shell.rs"]
#[allow(dead_code, reason = "shared with the tests in one guest, which use more of it")]
pub mod shell;
