//! The command line: one file per command.

mod ask;
mod doctor;
mod events;
mod import;
mod lines;
mod man;
mod serve;
mod status;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

/// CAN buses for containers: a Docker network plugin that heals by itself.
#[derive(Debug, Parser)]
#[command(name = "canhub", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve Docker: what systemd or dockerd starts
    Serve(serve::Serve),
    /// Show all buses, who is on them, and whether they are well
    Status(status::StatusCommand),
    /// Look at everything, say what is wrong and how to mend it, and mend it with --fix
    #[command(visible_alias = "health")]
    Doctor(doctor::Doctor),
    /// Show what happened: heals, problems, who joined and who left
    Events(events::EventsCommand),
    /// Take over the networks of another plugin
    #[command(subcommand)]
    Import(import::Import),
    /// Print a completion script for a shell
    Completions {
        /// For which
        shell: Shell,
    },
    /// Print the man page, or write one for each command into a folder
    #[command(hide = true)]
    Man(man::Man),
}

/// Why a command did not end well.
#[derive(Debug)]
enum Failed {
    /// What was asked for is shown, and something is wrong with it.
    Found,
    /// It could not be done, for this reason.
    Because(String),
    /// There is no daemon to ask, for this reason.
    Unreachable(String),
}

impl From<String> for Failed {
    fn from(why: String) -> Self {
        Self::Because(why)
    }
}

impl Failed {
    /// 2 is bad usage, and clap's.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Found | Self::Because(_) => 1,
            Self::Unreachable(_) => 3,
        }
    }
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> ExitCode {
        let done = match self.command {
            Command::Serve(serve) => serve.run().map_err(Failed::from),
            Command::Status(status) => status.run(),
            Command::Doctor(doctor) => doctor.run(),
            Command::Events(events) => events.run(),
            Command::Import(import) => import.run().map_err(Failed::from),
            Command::Completions { shell } => {
                clap_complete::generate(shell, &mut Self::command(), "canhub", &mut std::io::stdout());
                Ok(())
            }
            Command::Man(man) => man.run(Self::command()).map_err(Failed::from),
        };
        let Err(failed) = done else { return ExitCode::SUCCESS };
        if let Failed::Because(why) | Failed::Unreachable(why) = &failed {
            complain(why);
        }
        ExitCode::from(failed.exit_code())
    }
}

#[allow(clippy::print_stderr, reason = "a command's last word to a person")]
fn complain(why: &str) {
    eprintln!("canhub: {why}");
}
