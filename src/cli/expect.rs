//! `canhub expect`: frames that should be on a bus.

use clap::{Args, Subcommand};
use hyper::Method;
use serde::Deserialize;
use serde_json::json;

use super::{
    Failed,
    ask::{self, AdminSocket},
    lines::{self, WIDTH, cut},
};
use crate::{
    expect::{Expectation, FrameId, Source, Wish, parse_every, parse_within},
    status::ExpectationStatus,
};

const PATH: &str = "/v1/expectations";

/// Tell when frames are missing that should be on a bus
///
/// The kernel watches each frame that is expected. `canhub status`, `canhub health`, `canhub events` and metrics tell
/// when it does not come, comes too seldom or too often, and when it is well again. Whether canhub is then degraded or
/// unhealthy is up to /etc/canhub/health.toml.
#[derive(Debug, Subcommand)]
pub(super) enum ExpectCommand {
    /// Expect a frame on a bus again and again
    Add(Add),
    /// Expect it no longer
    #[command(visible_alias = "remove")]
    Rm(Rm),
    /// List what is expected, and whether it comes
    #[command(visible_alias = "list")]
    Ls(Ls),
}

/// Expect a frame on a bus again and again
#[derive(Debug, Args)]
pub(super) struct Add {
    #[command(flatten)]
    which: Which,
    /// Its cycle, from 1ms to 1h: 20ms, 1.5s, 2min
    #[arg(long, value_name = "CYCLE", value_parser = cycle)]
    every: String,
    /// How far the cycle may be off, in percent of it, from 1% to 100%
    #[arg(long, value_name = "PERCENT", default_value = "30%", value_parser = percent)]
    within: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: AdminSocket,
}

/// Expect it no longer
#[derive(Debug, Args)]
pub(super) struct Rm {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    socket: AdminSocket,
}

/// List what is expected, and whether it comes
#[derive(Debug, Args)]
pub(super) struct Ls {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: AdminSocket,
}

/// Which expectation.
#[derive(Debug, Args)]
struct Which {
    /// The network: its name, its ID, or the name of its interface on the host
    bus: String,
    /// The id of the frame: three hexadecimal digits (standard) or eight (extended)
    #[arg(value_name = "ID", value_parser = id)]
    id: String,
    /// The only container that counts as its sender
    #[arg(long, value_name = "CONTAINER")]
    from: Option<String>,
}

fn id(text: &str) -> Result<String, String> {
    text.parse::<FrameId>().map(|id| id.to_string())
}

fn cycle(text: &str) -> Result<String, String> {
    parse_every(text).map(|_| text.to_owned())
}

fn percent(text: &str) -> Result<String, String> {
    parse_within(text).map(|_| text.to_owned())
}

#[derive(Debug, Deserialize)]
struct Answer {
    expectations: Vec<ExpectationStatus>,
}

impl ExpectCommand {
    pub(super) fn run(self) -> Result<(), Failed> {
        match self {
            Self::Add(add) => add.run(),
            Self::Rm(rm) => rm.run(),
            Self::Ls(ls) => ls.run(),
        }
    }
}

impl Add {
    fn run(self) -> Result<(), Failed> {
        let Which { bus, id, from } = self.which;
        let wish = Wish { bus, id, every: self.every, from, within: Some(self.within) };
        let wanted = Expectation::try_from(wish)?;
        let on = |bus: &str| ask::to_json(&Expectation { bus: bus.to_owned(), ..wanted.clone() });
        let answer = self.socket.send_about(&wanted.bus, &Method::POST, PATH, on)?;
        let line = match self.json {
            true => String::from_utf8_lossy(&answer).into_owned(),
            false => format!("{wanted}: expected from now on"),
        };
        lines::print(&(line + "\n"));
        Ok(())
    }
}

impl Rm {
    fn run(self) -> Result<(), Failed> {
        let Which { bus, id, from } = self.which;
        let on = |bus: &str| json!({ "bus": bus, "id": id, "from": from }).to_string().into_bytes();
        self.socket.send_about(&bus, &Method::DELETE, PATH, on)?;
        lines::print(&format!("{id} on {bus}: not expected any more\n"));
        Ok(())
    }
}

impl Ls {
    fn run(self) -> Result<(), Failed> {
        ask::show(&self.socket.get(PATH)?, self.json, |answer: &Answer| table(&answer.expectations))?;
        Ok(())
    }
}

fn table(all: &[ExpectationStatus]) -> String {
    if all.is_empty() {
        return "Nothing is expected. To be told when a frame is missing: canhub expect add BUS ID --every 20ms\n"
            .to_owned();
    }
    let mut text = row(["BUS", "ID", "FROM", "EVERY", "WITHIN", "REAL", "STATE"]);
    for one in all {
        let real = one.cycle_ms.map_or("-".into(), |cycle| format!("{cycle:.1}ms"));
        let from = one.from.as_deref().unwrap_or("any");
        text += &row([&one.bus, &one.id, from, &one.every, &one.within, &real, one.state.as_str()]);
        if one.source == Source::Policy {
            text = format!("{} *\n", text.trim_end());
        }
    }
    if all.iter().any(|one| one.source == Source::Policy) {
        text += "* in the health policy\n";
    }
    text
}

fn row([bus, id, from, every, within, real, state]: [&str; 7]) -> String {
    let line = format!(
        "{:<16} {id:<8} {:<16} {every:>7} {within:>6} {real:>10} {state}",
        cut(bus, 16),
        cut(from, 16)
    );
    cut(line.trim_end(), WIDTH) + "\n"
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{cli::Cli, status::ExpectationState};

    #[test]
    fn bad_values_are_bad_usage_with_one_sentence() {
        for (args, words) in [
            (&["add", "body", "1A", "--every", "20ms"][..], "neither three nor eight digits"),
            (&["add", "body", "1A0", "--every", "0ms"], "out of range"),
            (&["add", "body", "1A0", "--every", "20ms", "--within", "101%"], "from 1% to 100%"),
            (&["add", "body", "1A0"], "--every"),
            (&["rm", "body", "9999"], "neither three nor eight digits"),
        ] {
            let args = [&["canhub", "expect"], args].concat();
            let err = Cli::try_parse_from(&args).unwrap_err();
            assert_eq!(err.exit_code(), 2);
            assert!(err.to_string().contains(words), "{args:?}: {err}");
        }
    }

    #[test]
    fn rows_stay_in_80_columns() {
        let one = ExpectationStatus {
            component: String::new(),
            bus: "x".repeat(60),
            network: None,
            id: "18FEF100".into(),
            from: Some("y".repeat(60)),
            every: "999999us".into(),
            within: "100%".into(),
            source: Source::Policy,
            state: ExpectationState::Unknown,
            reason: String::new(),
            since: String::new(),
            last_seen: None,
            cycle_ms: Some(3_600_000.0),
        };
        let text = table(&[one]);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.contains("unknown *") && text.contains("in the health policy"), "{text}");
        assert!(table(&[]).contains("canhub expect add"));
    }
}
