//! Commands, waiting, and messages for the person who runs the tests.

use std::{
    io::{self, Write},
    os::unix::process::CommandExt as _,
    process::{Command, Output, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread::{sleep, spawn},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// Generous: guests are slow and share their host. Only failing tests take this long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a command. Returns its output or error.
pub fn attempt(program: &str, args: &[&str]) -> Result<String, String> {
    let what = format!("{program} {}", args.join(" "));
    finished(&what, output(Command::new(program).args(args)))
}

/// What a command prints; one that hangs, and all that it started, is killed. (`timeout` would cost another process, which
/// takes a guest as long as many a command.)
pub fn output(command: &mut Command) -> io::Result<Output> {
    const LIMIT: Duration = Duration::from_secs(180);
    let streams = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = streams.process_group(0).spawn()?;
    let group = Pid::from_raw(i32::try_from(child.id()).expect("it is a PID"));
    let (ended, hangs) = mpsc::channel::<()>();
    let watchdog = spawn(move || {
        if hangs.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
            let _ = killpg(group, Signal::SIGKILL);
        }
    });
    let output = child.wait_with_output();
    drop(ended);
    let _ = watchdog.join();
    output
}

/// Runs a command, which must succeed.
#[track_caller]
pub fn run(program: &str, args: &[&str]) -> String {
    attempt(program, args).unwrap_or_else(|err| panic!("{err}"))
}

/// Runs a shell command, which must succeed.
#[track_caller]
pub fn sh(line: &str) -> String {
    run("sh", &["-c", line])
}

/// The output of a finished command, or an error with everything that it printed.
pub fn finished(what: &str, output: io::Result<Output>) -> Result<String, String> {
    let output = output.map_err(|err| format!("{what}: {err}"))?;
    let out = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    let err = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    if output.status.success() { Ok(out) } else { Err(format!("{what}: {}: {err} {out}", output.status)) }
}

/// Asserts that it failed with an error that has all these words.
#[track_caller]
pub fn assert_refused<T: std::fmt::Debug>(result: Result<T, String>, words: &[&str]) {
    let sentence = result.expect_err("this was to be refused");
    for word in words {
        assert!(sentence.contains(word), "{word:?} is not in: {sentence}");
    }
}

/// Retries until it succeeds; panics with the last error if it never does.
#[track_caller]
pub fn eventually<T>(what: &str, attempt: impl FnMut() -> Result<T, String>) -> T {
    match within(PATIENCE, attempt) {
        Ok(value) => value,
        Err(err) => panic!("{what}: still not after {} s: {err}", PATIENCE.as_secs()),
    }
}

/// Retries until it succeeds or the time is up.
pub fn within<T>(limit: Duration, mut attempt: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let started = Instant::now();
    loop {
        match attempt() {
            Err(_) if started.elapsed() < limit => sleep(Duration::from_millis(50)),
            tried => return tried,
        }
    }
}

/// The number in an environment variable, if set.
#[track_caller]
pub fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Prints a line for the person who runs the tests, even if the test passes (the harness hides `println!`).
pub fn say(text: &str) {
    let _ = writeln!(io::stdout(), "\n{text}");
}

/// A test that cannot run on this machine prints this, and counts as neither passed nor failed.
pub fn not_run(test: &str, reason: &str) {
    let line = format!("NOT RUN: {test}: {reason}");
    say(&line);
    let list = std::fs::OpenOptions::new().create(true).append(true).open(host_folder().join("not-run.txt"));
    let _ = list.and_then(|mut list| writeln!(list, "{line}"));
}

/// The folder of this program, which also contains `probe`.
pub fn host_folder() -> std::path::PathBuf {
    let exe = std::env::current_exe().expect("/proc is mounted");
    exe.parent().expect("a program is in a folder").to_owned()
}
