//! Faults on purpose: what `canhub fault` does to a bus or a member so that others can be seen to cope with it.
//!
//! A [`Fault`] is one or more [`Effect`]s with an end. The [`Model`](crate::model::Model) holds those that last
//! ([`Faults`]), so the desired state contains them: [`plan`](crate::plan) leaves out the rules of a member that is cut off
//! and wants the interface of one that is down to be down, and the reconcile loop keeps it so and nobody heals it. When a
//! fault begins or ends, the manager carries out exactly the steps that this adds to the plan (`manager/fault.rs`). What a
//! program of canhub has to send, the frames of [`sources`](Source), is sent by a thread each while the fault lasts.
//!
//! Ends are points of `CLOCK_BOOTTIME`, which nobody sets, and the record (`state/faults.rs`) has the boot's ID. So a fault
//! ends on time if canhub was killed meanwhile, and with the boot in any case.

mod effect;
mod error_frames;
mod imposed;
mod keep;
mod request;
mod schedule;
mod source;

pub use effect::Effect;
pub use error_frames::ErrorKind;
pub use imposed::{Fault, Faults, Imposed};
pub use keep::keep;
pub use request::{Request, Which, Wish};
pub use schedule::{Schedule, ScheduleStep};
pub use source::{Place, Source};
