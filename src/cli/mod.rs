//! The command line: one file per command.

mod import;
mod serve;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

/// Something was found wrong, or could not be done.
const FOUND_WRONG: u8 = 1;

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
    /// Take over the networks of another plugin
    #[command(subcommand)]
    Import(import::Import),
    /// Print a completion script for a shell
    Completions {
        /// For which
        shell: Shell,
    },
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> ExitCode {
        let done = match self.command {
            Command::Serve(serve) => serve.run(),
            Command::Import(import) => import.run(),
            Command::Completions { shell } => {
                clap_complete::generate(shell, &mut Self::command(), "canhub", &mut std::io::stdout());
                Ok(())
            }
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                complain(&why);
                ExitCode::from(FOUND_WRONG)
            }
        }
    }
}

#[allow(clippy::print_stderr, reason = "a command's last word to a person")]
fn complain(why: &str) {
    eprintln!("canhub: {why}");
}
