//! A person's first minute, in a real terminal: this test program runs itself there.

#![allow(clippy::disallowed_methods, reason = "the test runs itself in a terminal")]

use std::{env, process::Command};

use super::{super::samples, *};

#[path = "../../../../tests/e2e/support/terminal.rs"]
mod terminal;

use terminal::Terminal;

/// Which end the watching in the terminal is to have.
const END: &str = "CANHUB_TEST_END";

/// Frames that never end, or end badly.
struct Endless {
    end: Option<String>,
    reads: u32,
}

impl Source for Endless {
    fn read(&mut self, records: &mut Vec<Record>) -> Result<Lost, String> {
        thread::sleep(Duration::from_millis(20));
        self.reads += 1;
        let time = now();
        let data = [self.reads as u8, 2, 3];
        records.push(Record { time, ..samples::record(0, "door", samples::standard(0x1A0, &data)) });
        match self.end.as_deref() {
            Some("panic") if self.reads > 10 => panic!("a defect"),
            Some("error") if self.reads > 10 => Err("the bus is gone".into()),
            _ => Ok(Lost::default()),
        }
    }
}

/// No test by itself: what [`in_terminal`] runs.
#[test]
#[ignore = "runs in the terminals of the other tests"]
fn watch_until_the_end() {
    let database = samples::database();
    let (bitrate, title) = (None, "body (vcan-body)".into());
    let scene = Scene { title, choice: None, bitrate, note: None, database };
    let done = run(Endless { end: env::var(END).ok(), reads: 0 }, Table::default(), scene);
    println!("ended: {done:?}");
}

fn in_terminal(end: &str) -> Terminal {
    let mut command = Command::new(env::current_exe().unwrap());
    let test = "cli::watch::terminal::tests::watch_until_the_end";
    command.args([test, "--exact", "--ignored", "--nocapture"]).env(END, end).env("RUST_BACKTRACE", "0");
    Terminal::start(&mut command, (80, 24))
}

#[track_caller]
fn assert_clean(mut terminal: Terminal, last: &str) {
    terminal.end();
    let text = terminal.text();
    assert!(text.contains(last), "{last:?} is not on the screen:\n{text}");
    terminal.is_clean().unwrap_or_else(|why| panic!("{why}\n{text}"));
}

#[test]
fn the_first_minute_keys_help_a_row_and_the_end() {
    let mut terminal = in_terminal("");
    let screen = terminal.wait_for("Motion");
    assert!(
        screen.lines().last().is_some_and(|keys| keys.contains("q quit") && keys.contains("? help")),
        "{screen}"
    );
    assert!(terminal.is_clean().is_err(), "this test cannot fail");
    terminal.press("?");
    terminal.wait_for("Ctrl-C");
    terminal.press("?");
    terminal.wait_for("SENDER");
    terminal.press("\r");
    terminal.wait_for("km/h");
    terminal.press("\x1b");
    terminal.wait_for("SENDER");
    terminal.press("p");
    terminal.wait_for("PAUSED");
    terminal.press(" ");
    terminal.wait_until("it goes on", |screen| !screen.contains("PAUSED"));
    terminal.press("/nothing");
    terminal.wait_for("Nothing matches");
    terminal.press("\x1b");
    terminal.wait_for("Motion");
    terminal.press("q");
    assert_clean(terminal, "ended: Ok(())");
}

#[test]
fn the_terminal_is_clean_after_ctrl_c_and_signals() {
    let mut terminal = in_terminal("");
    terminal.wait_for("Motion");
    terminal.press("\x03");
    assert_clean(terminal, "ended: Ok(())");
    for signal in ["-TERM", "-INT", "-HUP"] {
        let terminal = in_terminal("");
        terminal.wait_for("Motion");
        terminal.signal(signal);
        assert_clean(terminal, "ended: Ok(())");
    }
}

#[test]
fn the_terminal_is_clean_and_the_reason_is_told_after_an_error_or_a_panic() {
    assert_clean(in_terminal("error"), "ended: Err(\"the bus is gone\")");
    let terminal = in_terminal("panic");
    assert_clean(terminal, "a defect");
}
