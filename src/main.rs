//! The `canhub` program: parse, run, exit.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    canhub::cli::Cli::parse().run()
}
