//! The `canhub` program: parse, run, exit.

use std::process::ExitCode;

fn main() -> ExitCode {
    canhub::cli::run()
}
