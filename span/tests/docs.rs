//! The canhub-span command lines in the pages for people parse.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../tests/docs/commands.rs"]
mod commands;
#[path = "../../tests/docs/pages.rs"]
#[allow(dead_code, reason = "links and anchors are canhub's business")]
mod pages;

use canhub_span::cli::Cli;
use clap::CommandFactory;

#[test]
fn every_canhub_span_command_line_in_the_pages_parses() {
    commands::all_parse("canhub-span", &Cli::command(), 3);
}
