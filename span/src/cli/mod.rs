//! The command line: one file per command.

mod init;
mod invite;
mod join;
mod leave;
mod list;
mod places;
mod rights;
mod serve;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use canhub::cli::{lines, man};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

/// One CAN bus on several hosts: canhub's program for networks with span=NAME
///
/// The first host makes a fleet with `init` and invites the others with `invite`; each of them takes its invitation with
/// `join`. On all of them the service canhub-span.service then connects the buses.
#[derive(Debug, Parser)]
#[command(name = "canhub-span", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Init(init::Init),
    Invite(invite::Invite),
    Join(join::Join),
    Renew(invite::Renew),
    Allow(rights::Allow),
    Revoke(rights::Revoke),
    Leave(leave::Leave),
    List(list::ListCommand),
    /// Print a shell completion script
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the man page, or write the pages of all commands to a folder
    #[command(hide = true)]
    Man(man::Man),
}

/// Why a command failed.
#[derive(Debug)]
enum Failed {
    /// For this reason.
    Because(String),
    /// The service cannot start with these settings, and systemd need not try again: like bad usage, for which clap ends
    /// with 2.
    Settings(String),
}

impl From<String> for Failed {
    fn from(why: String) -> Self {
        Self::Because(why)
    }
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> ExitCode {
        let done = match self.command {
            Command::Serve(serve) => serve.run(),
            Command::Init(init) => show(init.run()),
            Command::Invite(invite) => show(invite.run()),
            Command::Join(join) => show(join.run()),
            Command::Renew(renew) => show(renew.run()),
            Command::Allow(allow) => show(allow.run()),
            Command::Revoke(revoke) => show(revoke.run()),
            Command::Leave(leave) => show(leave.run()),
            Command::List(list) => show(list.run()),
            Command::Completions { shell } => {
                clap_complete::generate(shell, &mut Self::command(), "canhub-span", &mut io::stdout());
                Ok(())
            }
            Command::Man(man) => man.run(Self::command()).map_err(Failed::from),
        };
        let (why, code) = match done {
            Ok(()) => return ExitCode::SUCCESS,
            Err(Failed::Because(why)) => (why, 1),
            Err(Failed::Settings(why)) => (why, 2),
        };
        note(&format!("canhub-span: {why}"));
        ExitCode::from(code)
    }
}

/// Prints what a command says.
fn show(said: Result<String, String>) -> Result<(), Failed> {
    lines::try_print(&said?)?;
    Ok(())
}

/// A line for the person at the terminal. Nobody may read it any more (`2>&1 | head`), which is no reason to end.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// How to start the service.
const START: &str = "systemctl enable --now canhub-span.service";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documented_commands_are_understood() {
        for line in [
            "init --listen 0.0.0.0 --name bench",
            "invite cell --span body --span seat --connect 192.168.1.10 -o cell.invitation",
            "join cell.invitation --listen [::]:7447",
            "join -",
            "renew",
            "renew cell",
            "allow cell --all",
            "allow cell --span body",
            "revoke cell",
            "leave",
            "list --json",
            "completions bash",
        ] {
            let words = std::iter::once("canhub-span").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
        for line in [
            "init --listen bench",
            "invite Cell",
            "invite cell --span a/b",
            "allow cell",
            "allow cell --all --span a",
        ] {
            let words = std::iter::once("canhub-span").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{} has no help", command.get_name());
        }
    }
}
