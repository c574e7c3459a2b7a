//! The program `canhub-span` under another name, for a test that builds it with another version of the protocol.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    canhub_span::cli::Cli::parse().run()
}
