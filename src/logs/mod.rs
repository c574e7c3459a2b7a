//! Logging: one line per change, with the same field names everywhere.
//!
//! If canhub's output is connected to the journal, log lines go there with priority and fields; otherwise to stdout as
//! text or JSON (dockerd logs a plugin's stderr as errors).

mod journald;

use std::io::{IsTerminal, stdout};

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// The journal if the output is connected to it, otherwise text
    Auto,
    /// Human-readable lines
    Text,
    /// One JSON object per line
    Json,
    /// The native protocol of the journal
    Journald,
}

/// Whether to use colours: only on a terminal, and not with NO_COLOR (no-color.org).
fn colours() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stdout().is_terminal() && !unwanted
}

/// Installs the logger for the whole process. `CANHUB_LOG` sets the level, such as `info` or `canhub=debug`.
pub fn init(format: LogFormat) {
    init_with("canhub", format, "info", None);
}

/// The same for another program, with the levels that are set if `CANHUB_LOG` is not, and a further layer, which sees
/// everything.
pub fn init_with(
    program: &'static str,
    format: LogFormat,
    levels: &str,
    further: Option<Box<dyn Layer<Registry> + Send + Sync>>,
) {
    let journal = match format {
        LogFormat::Auto if journald::is_our_output() => journald::Journal::connect(program).ok(),
        LogFormat::Journald => journald::Journal::connect(program).ok(),
        _ => None,
    };
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match (journal, format) {
        (Some(journal), _) => journal.boxed(),
        (None, LogFormat::Json) => fmt::layer().json().flatten_event(true).with_writer(stdout).boxed(),
        (None, _) => fmt::layer().with_target(false).with_ansi(colours()).with_writer(stdout).boxed(),
    };
    let filter = EnvFilter::try_from_env("CANHUB_LOG").unwrap_or_else(|_| EnvFilter::new(levels));
    // A second call (in tests) has no effect.
    let layers = further.into_iter().chain([layer.with_filter(filter).boxed()]).collect::<Vec<_>>();
    let _ = tracing_subscriber::registry().with(layers).try_init();
}
