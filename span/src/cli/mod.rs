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

impl Cli {
    /// Runs the command.
    pub fn run(self) -> ExitCode {
        let done = match self.command {
            Command::Serve(serve) => serve.run(),
            Command::Init(init) => init.run().and_then(|text| show(&text)),
            Command::Invite(invite) => invite.run().and_then(|text| show(&text)),
            Command::Join(join) => join.run().and_then(|text| show(&text)),
            Command::Renew(renew) => renew.run().and_then(|text| show(&text)),
            Command::Allow(allow) => allow.run().and_then(|text| show(&text)),
            Command::Revoke(revoke) => revoke.run().and_then(|text| show(&text)),
            Command::Leave(leave) => leave.run().and_then(|text| show(&text)),
            Command::List(list) => list.run().and_then(|text| show(&text)),
            Command::Completions { shell } => {
                clap_complete::generate(shell, &mut Self::command(), "canhub-span", &mut io::stdout());
                Ok(())
            }
            Command::Man(man) => man.run(Self::command()),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                note(&format!("canhub-span: {why}"));
                ExitCode::FAILURE
            }
        }
    }
}

fn show(text: &str) -> Result<(), String> {
    lines::try_print(text).map(|_| ())
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
