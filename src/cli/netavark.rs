//! `canhub create`, `setup`, `teardown` and `info`: this program as a netavark plugin, which Podman runs.

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    process::ExitCode,
};

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Failed, ask::AdminSocket, attachments, lines};
use crate::{
    attachment::AttachRequest,
    netavark::{self, Member},
};

#[derive(Debug, Subcommand)]
pub(super) enum Netavark {
    /// Podman: check a new network
    #[command(hide = true)]
    Create,
    /// Podman: attach a container
    #[command(hide = true)]
    Setup {
        /// The path of its network namespace
        netns: PathBuf,
    },
    /// Podman: detach a container
    #[command(hide = true)]
    Teardown {
        /// The path of its network namespace
        netns: PathBuf,
    },
    /// Podman: about this plugin
    #[command(hide = true)]
    Info,
}

impl Netavark {
    /// Prints the answer, or the error, on stdout as JSON.
    pub(super) fn run(self) -> ExitCode {
        match self.answer() {
            Ok(answer) => {
                if let Some(answer) = answer {
                    lines::print(&format!("{answer}\n"));
                }
                ExitCode::SUCCESS
            }
            Err(failed) => {
                let why = failed.why().unwrap_or("canhub refused");
                lines::print(&format!("{}\n", json!({ "error": why })));
                ExitCode::from(failed.exit_code())
            }
        }
    }

    fn answer(self) -> Result<Option<Value>, Failed> {
        let canhub = AdminSocket::from_env();
        match self {
            Self::Create => Ok(Some(netavark::create(&stdin()?)?)),
            Self::Setup { netns } => {
                let member = Member::parse(&stdin()?)?;
                let attached = canhub.attach(&AttachRequest {
                    bus: member.network.name.clone(),
                    bus_options: Some(member.bus_options()),
                    netns,
                    ifname: member.ifname().cloned(),
                    id: Some(member.id()?),
                    name: Some(member.container_name.clone()),
                    options: member.options()?,
                })?;
                Ok(Some(netavark::status(&attached.interface)))
            }
            Self::Teardown { .. } => {
                canhub.detach(Member::parse(&stdin()?)?.id()?)?;
                Ok(None)
            }
            Self::Info => Ok(serde_json::to_value(netavark::info()).ok()),
        }
    }
}

fn stdin() -> Result<Vec<u8>, String> {
    if io::stdin().is_terminal() {
        return Err(
            "Podman runs this command; to make a bus, use podman network create --driver canhub".into()
        );
    }
    attachments::stdin().map_err(|err| format!("cannot read Podman's request: {err}"))
}
