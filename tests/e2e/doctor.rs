//! Machines that are broken in one way each, and what `canhub doctor` reports.
//!
//! Each row breaks something for real, and doctor must report that and nothing else, with the right fix. What `--fix`
//! can fix is gone afterwards; every command that doctor prints is run as printed; a row without a command has a hint
//! instead. Each row restores what it broke, whatever happens.

mod docker_rows;
mod kernel_rows;
mod machine;
mod record_rows;
mod rows;

use std::{env, panic, time::Instant};

use crate::support::{
    canhub::{is_plugin, is_service, says},
    host::{ip_link, link},
    shell::{not_run, say},
};
use machine::{Found, Machine};

/// One way to break a machine.
pub struct Row {
    /// What is broken.
    name: &'static str,
    /// The expected check.
    check: &'static str,
    level: &'static str,
    /// Words that the sentence must contain.
    words: &'static [&'static str],
    /// What the fix, or the hint if a person must act, must contain.
    fix: &'static str,
    /// Other checks that fail as a consequence.
    also: &'static [&'static str],
    /// Who fixes it.
    by: By,
    /// Breaks it, and registers how to undo that.
    broken: fn(&Machine),
}

/// Who fixes a fault.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// `canhub doctor --fix`, and the command that doctor prints.
    Doctor,
    /// A person, with the command that doctor prints.
    Typing,
    /// A person, with a hint: there is no command, and the row undoes it.
    Person,
}

/// All rows; with `CANHUB_SHORT`, those whose result depends on the kernel or the engine.
fn table() -> impl Iterator<Item = &'static Row> {
    let everywhere: &[_] =
        if env::var_os("CANHUB_SHORT").is_some() { &[] } else { &[rows::ROWS, record_rows::ROWS] };
    everywhere.iter().copied().chain([kernel_rows::ROWS, docker_rows::ROWS]).flatten()
}

#[test]
fn all_broken_setups_are_reported_and_fixed() {
    if !is_service("doctor::all_broken_setups_are_reported_and_fixed") {
        return;
    }
    let started = Instant::now();
    let machine = Machine::new();
    machine.is_sound().unwrap_or_else(|err| panic!("a healthy machine: {err}"));
    let sound = machine.shown();

    let mut lines = Vec::new();
    let mut failures = Vec::new();
    for row in table() {
        let since = Instant::now();
        let done = panic::catch_unwind(panic::AssertUnwindSafe(|| machine.goes_through(row)));
        machine.put_back();
        let seconds = since.elapsed().as_secs_f32();
        match done {
            Ok(Ok(Found { sentence, fix, mended })) => lines.push(format!(
                "{} ({seconds:.1} s)\n    {} {}\n    fix: {fix}\n    {mended}",
                row.name, row.level, sentence
            )),
            Ok(Err(why)) => failures.push(format!("{}: {why}", row.name)),
            Err(_) => failures.push(format!("{}: panicked, see above", row.name)),
        }
    }
    if let Err(why) = machine.is_sound() {
        failures.push(format!("after all of it: {why}"));
    }
    say(&format!("a sound machine:\n{sound}"));
    say(&lines.join("\n"));
    say(&format!("{} broken setups reported and fixed, in {} s", lines.len(), started.elapsed().as_secs()));
    assert!(failures.is_empty(), "{} of {}: {failures:#?}", failures.len(), table().count());
    assert!(lines.len() >= 20);
}

#[test]
fn a_dry_run_prints_what_fix_would_do_and_does_nothing() {
    if !is_service("doctor::a_dry_run_prints_what_fix_would_do_and_does_nothing") {
        return;
    }
    let _machine = Machine::new();
    ip_link(&["del", machine::HUB]);
    let shown = says("doctor --dry-run");
    assert!(shown.contains("would heal the buses"), "{shown}");
    assert!(link(machine::HUB).is_none(), "it was healed");
    let shown = says("doctor --fix");
    assert!(shown.contains("create the vcan") && shown.contains("the hub was missing"), "{shown}");
    assert!(link(machine::HUB).is_some(), "{shown}");
}

#[test]
fn a_running_managed_plugin_is_healthy() {
    if !is_plugin() {
        let why = "canhub is installed as a service here; the table starts with a healthy one";
        return not_run("doctor::a_running_managed_plugin_is_healthy", why);
    }
    let machine = Machine::new();
    machine.is_sound().unwrap_or_else(|err| panic!("{err}"));
}
