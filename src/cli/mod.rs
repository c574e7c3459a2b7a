//! The command line: one file per command.

mod ask;
mod attach;
mod attachments;
mod bus;
mod buses;
mod cni;
mod doctor;
mod door;
mod events;
mod expect;
mod fault;
mod file;
mod hosts;
mod import;
pub mod lines;
pub mod man;
mod netavark;
mod options;
mod quantity;
mod record;
mod replay;
mod serve;
mod status;
mod stop;
mod watch;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

/// Self-healing CAN buses for containers: a Docker network plugin
#[derive(Debug, Parser)]
#[command(name = "canhub", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon (started by systemd or dockerd)
    Serve(serve::Serve),
    /// Show all buses, their members and problems
    Status(status::StatusCommand),
    /// Check everything, and print each problem and its fix; --fix applies the safe fixes
    #[command(visible_alias = "health")]
    Doctor(doctor::Doctor),
    /// Show events: heals, problems, joins and leaves
    Events(events::EventsCommand),
    // A text here would hide the long help of these structures.
    Watch(watch::Watch),
    Record(record::Record),
    Replay(replay::ReplayCommand),
    Door(door::DoorCommand),
    /// Tell when frames are missing that should be on a bus
    #[command(subcommand)]
    Expect(expect::ExpectCommand),
    Fault(fault::FaultCommand),
    /// Make, remove and list buses, without Docker
    #[command(subcommand)]
    Bus(buses::BusCommand),
    Attach(attach::Attach),
    Detach(attach::Detach),
    Hosts(hosts::Hosts),
    /// Import the networks of another plugin
    #[command(subcommand)]
    Import(import::Import),
    /// Print a shell completion script
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the man page, or write the pages of all commands to a folder
    #[command(hide = true)]
    Man(man::Man),
    // The names are Podman's.
    #[command(flatten)]
    Netavark(netavark::Netavark),
}

/// Why a command failed.
#[derive(Debug)]
enum Failed {
    /// The output shows a problem.
    Found,
    /// The command failed for this reason.
    Because(String),
    /// The daemon cannot be reached.
    Unreachable {
        /// For this reason.
        why: String,
        /// The command that fixes it, if there is one; the reason contains it too.
        fix: Option<&'static str>,
    },
}

impl From<String> for Failed {
    fn from(why: String) -> Self {
        Self::Because(why)
    }
}

impl Failed {
    /// The reason, unless the output shows it.
    fn why(&self) -> Option<&str> {
        match self {
            Self::Found => None,
            Self::Because(why) | Self::Unreachable { why, .. } => Some(why),
        }
    }

    /// 2 is used by clap for bad usage.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Found | Self::Because(_) => 1,
            Self::Unreachable { .. } => 3,
        }
    }
}

/// Runs the command of this process's arguments, or the CNI plugin if it is called by that name.
pub fn run() -> ExitCode {
    match cni::is_called() {
        true => cni::run(),
        false => Cli::parse().run(),
    }
}

impl Cli {
    /// Runs the command.
    fn run(self) -> ExitCode {
        let done = match self.command {
            Command::Serve(serve) => serve.run().map_err(Failed::from),
            Command::Status(status) => status.run(),
            Command::Doctor(doctor) => doctor.run(),
            Command::Events(events) => events.run(),
            Command::Watch(watch) => watch.run(),
            Command::Record(record) => record.run(),
            Command::Replay(replay) => replay.run(),
            Command::Door(door) => door.run(),
            Command::Expect(expect) => expect.run(),
            Command::Fault(fault) => fault.run(),
            Command::Bus(bus) => bus.run(),
            Command::Attach(attach) => attach.run(),
            Command::Detach(detach) => detach.run(),
            Command::Hosts(hosts) => hosts.run(),
            Command::Import(import) => import.run().map_err(Failed::from),
            Command::Completions { shell } => {
                clap_complete::generate(shell, &mut Self::command(), "canhub", &mut io::stdout());
                Ok(())
            }
            Command::Man(man) => man.run(Self::command()).map_err(Failed::from),
            Command::Netavark(netavark) => return netavark.run(),
        };
        let Err(failed) = done else { return ExitCode::SUCCESS };
        failed.why().into_iter().for_each(complain);
        ExitCode::from(failed.exit_code())
    }
}

/// Nobody may read it any more (`2>&1 | head`), which is no reason to end: `eprintln` would panic.
fn complain(why: &str) {
    let _ = writeln!(io::stderr(), "canhub: {why}");
}
