//! One bus on several hosts: what this canhub knows about spans.
//!
//! The frames travel in another program, `canhub-span`, which has no privileges. canhub plans the **span port** of each
//! network with `span=NAME`: a pair of which both ends stay on the host, one of them a member of the bus, the other one
//! for `canhub-span`. [`protocol`] is what both tell each other, [`keep`] keeps the connection, and [`Spans`] holds the
//! ports of this host and what is known about the others.

mod knowledge;
mod link;
pub mod protocol;
mod spans;
mod totals;

/// Days before its end from which a certificate is to be renewed.
pub const RENEW_DAYS: i64 = 30;

pub(crate) use knowledge::Link;
pub use link::keep;
pub use spans::Spans;
