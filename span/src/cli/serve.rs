//! `canhub-span serve`.

use std::path::PathBuf;

use canhub::{
    logs::{self, LogFormat},
    span::protocol::CONTROL_SOCKET,
};
use clap::Args;
use tracing_subscriber::Layer as _;

use super::Failed;
use crate::{
    config::Config,
    daemon::{self, Options},
    engine::zenoh::{Troubles, runtime},
};

/// Connect this host's buses with those of the other hosts
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// File with the settings [default: /etc/canhub/span.toml, if it exists]
    #[arg(long, env = "CANHUB_SPAN_CONFIG", value_name = "PATH")]
    config: Option<PathBuf>,
    /// Socket on which canhub tells which buses are on a span, root only
    #[arg(long, env = "CANHUB_SPAN_SOCKET", default_value = CONTROL_SOCKET, value_name = "PATH")]
    socket: PathBuf,
    /// Log format
    #[arg(long, env = "CANHUB_LOG_FORMAT", default_value = "auto", value_enum)]
    log_format: LogFormat,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Failed> {
        let config = Config::load(self.config.as_deref()).map_err(Failed::Settings)?;
        let troubles = Troubles::default();
        let levels = format!("info,{}", Troubles::QUIET);
        logs::init_with("canhub-span", self.log_format, &levels, Some(troubles.layer().boxed()));
        let options = Options { config, file: self.config, socket: self.socket };
        runtime().block_on(daemon::serve(options, troubles)).map_err(Failed::from)
    }
}
