//! The fleet: the hosts whose CAN buses may become one.
//!
//! One host has the CA ([`Authority`]): it signs a certificate for each host, and the [`List`] that says on which spans
//! each may speak and listen. An [`Invitation`] carries both to a new host, which keeps them in its [`Store`]. Hosts pass
//! the [`SignedList`] on to each other, the newest wins, and so no host has to be up for another to be let in or kept out.
//! Whose certificate is on no list has no rights: TLS alone says only that somebody was in the fleet once.

mod authority;
mod certificate;
mod files;
mod invitation;
mod list;
mod name;
mod signed;
mod store;
pub mod time;

pub use authority::{Authority, random};
pub use canhub::names::SpanName;
pub use certificate::{CaCertificate, HostCertificate};
pub use files::{replace as write_secret, write_for_all};
pub use invitation::Invitation;
pub use list::{Certificate, Host, List, Revoked, Spans, common_name};
pub use name::HostName;
pub use signed::{LARGEST, SignedList};
pub use store::{Identity, Offered, Stamp, Store};
