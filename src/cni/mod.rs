//! The Container Network Interface (CNI), as far as a plugin has to know it: what a runtime asks for in the environment
//! and on stdin ([`Call`], [`Conf`]), and what it is told ([`added`], [`Error`]).
//!
//! Source: the CNI specification 1.1.0. `canhub-cni` does not create interfaces itself. It asks the daemon to attach the
//! container's namespace to a bus; see `src/cli/cni.rs`.

mod call;
mod conf;
mod error;
mod result;

pub use call::{Attachment, Call, Network};
pub use conf::{Conf, ValidAttachment};
pub use error::Error;
pub use result::{added, interface_of, versions};

/// The versions of the specification that this plugin speaks. Before 0.3.0 results had no interfaces.
pub const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// The latest of [`VERSIONS`].
const LATEST: &str = "1.1.0";
