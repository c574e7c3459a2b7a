//! The only access to the buses: for the driver, the reconcile loop, and all queries.
//!
//! All methods of [`Manager`] are synchronous and may block for as long as the kernel does. One lock, the model's, orders
//! them, so there is one writer of rules and records. The other locks guard a value each, for as long as it takes to read
//! or write it. Asynchronous code gets a [`Handle`], which runs the methods on threads that may block.
//!
//! The methods, by who calls them:
//!
//! | part | does |
//! |---|---|
//! | `network` | CreateNetwork, DeleteNetwork |
//! | `endpoint`, `join` | CreateEndpoint, Join, Leave, DeleteEndpoint |
//! | `bus`, `attach` | the same without Docker: bus create and rm, attach and detach |
//! | `attachments` | what is attached, and what is wrong with it |
//! | `adapter` | remembers how an adapter was found, and leaves it so |
//! | `look` | reads the kernel, and plans |
//! | `adopt`, `records` | start-up, and records that could not be read or saved |
//! | `learn`, `collect` | what Docker tells in the background |
//! | `shares` | slows down containers that exceed an adapter's wire |
//! | `survey`, `frames` | what status and metrics show |
//! | `named` | which network somebody means |
//! | `spans` | which span ports `canhub-span` is told |
//! | `fault` | lets faults on purpose begin and end |
//! | `expect` | adds and removes expectations, and finds where to listen for them |

mod adapter;
mod adopt;
mod attach;
mod attachments;
mod bus;
mod collect;
mod endpoint;
mod expect;
mod fault;
mod frames;
mod handle;
mod join;
mod learn;
mod look;
mod named;
mod namespaces;
mod network;
mod records;
mod shares;
mod signals;
mod spans;
mod startup;
mod survey;

use std::{sync::Arc, time::Instant};

use parking_lot::{Mutex, MutexGuard};

pub(crate) use collect::SECOND_LOOK;
pub(crate) use expect::{Ears, Place};
pub use handle::Handle;
pub use join::Joined;
pub use learn::{DockerNetwork, DockerView};
pub use records::RecordsState;
pub(crate) use shares::Shares;
pub use signals::Signals;
pub use survey::Depth;

use crate::{
    apply::{StepResult, apply},
    checks::Files,
    clock::micros,
    error::{Code, Error},
    events::Events,
    expect::Expectations,
    kernel::Kernel,
    model::Model,
    names::NetworkId,
    network::Network,
    plan::{Action, Blocks, Plan, Problem, Step},
    span::Spans,
    state::Store,
    status::StartupValidation,
};
use frames::FrameCounts;
use startup::Startup;

/// Combines the model, the store and the kernel.
pub struct Manager {
    pub(crate) kernel: Arc<dyn Kernel>,
    store: Store,
    /// Where to find out about kernel modules.
    files: Files,
    model: Mutex<Model>,
    signals: Signals,
    /// Off for all networks with `--no-heal`.
    heal: bool,
    events: Events,
    startup: Startup,
    frames: FrameCounts,
    /// Containers that Docker failed to start because canhub was not running.
    late: Mutex<Vec<String>>,
    /// When the kernel was last found to lack the qdisc for pacing.
    unpaced: Mutex<Option<Instant>>,
    /// When it was last found to lack the one for shapes.
    unshaped: Mutex<Option<Instant>>,
    expectations: Expectations,
    /// The faults on purpose in effect, as shown.
    faults: fault::Shown,
    spans: Spans,
}

impl Manager {
    /// Loads the state folder and adopts what exists in the kernel.
    pub fn new(kernel: Arc<dyn Kernel>, store: Store, files: Files, heal: bool) -> Self {
        let manager = Self {
            kernel,
            store,
            files,
            model: Mutex::default(),
            signals: Signals::default(),
            heal,
            events: Events::default(),
            startup: Startup::now(),
            frames: FrameCounts::default(),
            late: Mutex::default(),
            unpaced: Mutex::default(),
            unshaped: Mutex::default(),
            expectations: Expectations::default(),
            faults: fault::Shown::default(),
            spans: Spans::default(),
        };
        manager.adopt();
        manager.load_expectations();
        manager.load_faults();
        manager
    }

    /// The signals between tasks.
    pub fn signals(&self) -> &Signals {
        &self.signals
    }

    /// The events.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Frames that should be on the buses.
    pub fn expectations(&self) -> &Expectations {
        &self.expectations
    }

    /// The spans.
    pub fn spans(&self) -> &Spans {
        &self.spans
    }

    /// Records that an audit has finished. `found` is only kept for the first one.
    pub(crate) fn audited(&self, found: impl FnOnce() -> StartupValidation) {
        self.startup.validated(found);
        self.events.counters().audited();
        self.signals.audited();
    }

    /// The result of start-up validation; `None` until it is done.
    pub fn startup_validation(&self) -> Option<StartupValidation> {
        self.startup.validation()
    }

    /// Retries pacing and shaping, although the kernel lacked a qdisc for it.
    pub(crate) fn pace_again(&self) {
        *self.unpaced.lock() = None;
        *self.unshaped.lock() = None;
    }

    /// The model, for reading.
    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock()
    }

    /// Whether the bus of a network is healed.
    pub(crate) fn heals(&self, network: &Network) -> bool {
        self.heal && network.options.heal
    }

    /// Carries out steps under the lock. Earlier readings of the kernel become invalid.
    pub(crate) fn carry_out(
        &self,
        model: &mut Model,
        steps: &[Step],
        mut done: impl FnMut(&Model, StepResult<'_>),
    ) {
        if steps.is_empty() {
            return;
        }
        model.outdate_looks();
        let model = &*model;
        apply(&*self.kernel, steps, |step| {
            let lacking = match step.step.action {
                Action::Pace { pace: Some(_), .. } => Some(&self.unpaced),
                Action::Netem { netem: Some(_), .. } => Some(&self.unshaped),
                _ => None,
            };
            if let Some(lacking) = lacking {
                *lacking.lock() = step.result.as_ref().is_err_and(Error::lacks_module).then(Instant::now);
            }
            done(model, step);
        });
        self.signals.steps_done();
    }
}

fn blocked(
    model: &Model,
    id: &NetworkId,
    plan: &Plan,
    matters: impl Fn(Blocks) -> bool,
) -> Result<(), Error> {
    match plan.problems.iter().find(|problem| matters(problem.blocks)) {
        Some(Problem { blocks: Blocks::Name, endpoint: Some(id), text, .. }) if id.is_attached() => {
            Err(Code::Taken.because(text))
        }
        Some(problem) => {
            Err(Error::Blocked { network: model.network_name(id).to_owned(), text: problem.text.clone() })
        }
        None => Ok(()),
    }
}

fn unknown_network(id: &NetworkId) -> Error {
    Error::Refused(format!("unknown network {id}"))
}

/// Microseconds since `started`, for the log.
pub(crate) fn took_us(started: Instant) -> u64 {
    micros(started.elapsed())
}
