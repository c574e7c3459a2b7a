//! The threads on which zenoh and this program carry frames.

use std::{env, thread};

use tokio::runtime::Handle;
use zenoh_runtime::{ZENOH_RUNTIME_ENV, ZRuntime};

/// The most threads that carry frames. More would only take turns: the work is in the kernel.
const THREADS: usize = 2;

/// Starts the threads. Nothing of zenoh was used before, and no other thread runs.
///
/// Zenoh has five runtimes of its own by default, and a frame would wake a thread of three of them on its way through a host,
/// which takes longer than all that they do with it. On one runtime the task that takes the frame in, and the one that sends it on,
/// run one after the other on the thread that was woken.
///
/// Zenoh warns of that: a thread that waits for room in the queue of a connection keeps the task of that queue from making some.
/// Frames and hellos do not wait but for a millisecond, then they are dropped; for the rest see `config`.
pub fn runtime() -> Handle {
    let threads = thread::available_parallelism().map_or(1, Into::into).min(THREADS);
    let handed_over =
        ["acc", "net", "rx", "tx"].map(|runtime| format!("{runtime}: (handover: app)")).join(", ");
    let wanted = format!("({handed_over}, app: (worker_threads: {threads}))");
    // SAFETY: no other thread runs that could read the environment meanwhile.
    #[expect(unsafe_code, reason = "zenoh has no other way to be told")]
    unsafe {
        env::set_var(ZENOH_RUNTIME_ENV, wanted);
    }
    (*ZRuntime::Application).clone()
}
