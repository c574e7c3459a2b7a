//! Expectations: frames that should be on a bus, such as id 1A0 every 20 ms. Is the ECU that should speak speaking?
//!
//! An [`Expectation`] is asked for with `canhub expect add`, on the admin socket, or in the health policy. [`Expectations`]
//! holds them all with what is known of each. The task [`fn@watch`] lets the kernel listen ([`crate::kernel::BcmSocket`]): it
//! reads no frame, only when one is overdue or back, and a few times per cycle how many there were. From this a [`Judge`]
//! decides whether an expectation is met, and every change is told as a change of health.
//!
//! An expectation belongs to a bus by name, so it outlives its network: `docker compose down` and `up` create a new network
//! of the same name. While there is none, nothing is expected and nothing is wrong.

mod expectation;
mod finder;
mod judge;
mod listener;
mod registry;
mod watch;
mod watched;
mod watcher;

pub use expectation::{Expectation, FrameId, Wish, component, parse_every, parse_within};
pub use judge::{Judge, Miss, Verdict};
pub use registry::{Expectations, Source, State};
pub use watch::watch;
