//! Logs: one line per change of the world, with the same field names everywhere.
//!
//! To the journal with priority and fields where canhub's output goes there, else as text or JSON on the
//! standard output (dockerd marks a plugin's standard error as errors).

mod journald;

use std::io::{IsTerminal, stdout};

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// The journal where the output goes to it, else text.
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
    /// The journal's native protocol.
    Journald,
}

/// Only for people, and only for those who like them (no-color.org).
fn colours() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stdout().is_terminal() && !unwanted
}

/// Installs the log for the whole process. `CANHUB_LOG` sets levels, as `info` or `canhub=debug`.
pub fn init(format: LogFormat) {
    let journal = match format {
        LogFormat::Auto if journald::is_our_output() => journald::Journal::connect().ok(),
        LogFormat::Journald => journald::Journal::connect().ok(),
        _ => None,
    };
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match (journal, format) {
        (Some(journal), _) => journal.boxed(),
        (None, LogFormat::Json) => fmt::layer().json().flatten_event(true).with_writer(stdout).boxed(),
        (None, _) => fmt::layer().with_target(false).with_ansi(colours()).with_writer(stdout).boxed(),
    };
    let filter = EnvFilter::try_from_env("CANHUB_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A second call (in tests) leaves the first one's log in place.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
}
