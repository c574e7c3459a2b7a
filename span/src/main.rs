//! The program `canhub-span`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    canhub_span::cli::Cli::parse().run()
}
