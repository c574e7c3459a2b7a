//! `canhub fault`: faults on purpose.

mod run;

use clap::{Args, Subcommand};
use hyper::Method;
use serde::Deserialize;

use super::{
    Failed,
    ask::{self, AdminSocket, to_json},
    lines::{self, WIDTH, cut},
};
use crate::{
    fault::{Effect, Request, Which, Wish},
    status::FaultStatus,
};

const PATH: &str = "/v1/faults";

/// Break a bus on purpose, for a time
///
/// A fault begins at once and ends by itself, also if canhub is killed meanwhile, and with the next boot in any case.
/// canhub keeps it in place like the rest of the bus, and `canhub status`, `canhub events`, `canhub health` and metrics
/// say that it is there on purpose.
///
///   cut              as if unplugged: MEMBER neither hears nor is heard, and its interface stays up
///   down             its interface is down: programs get ENETDOWN
///   bus-off          it hears the error frame of a bus-off, is cut off, and at the end hears that it was restarted
///   error=KIND       it hears that its controller is in error state `warning` or `passive`, and at the end that it is
///                    `active` again
///   error=KIND@RATE  it hears `ack`, `bit`, `form`, `stuff`, `crc`, `arbitration` or `overflow` errors, so many per
///                    second [default: 1]
///   loss=5% delay=2ms jitter=1ms duplicate=1% corrupt=1%
///                    happens to what it sends; each with rx-, such as rx-loss=5%, to what it is to hear
///   flood=ID@RATE    a babbling idiot: it sends this id so many times per second, at most 20000; without MEMBER, the
///                    host does
///
/// Error frames reach MEMBER's programs only, as from their own controller.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, verbatim_doc_comment)]
pub(super) struct FaultCommand {
    #[command(subcommand)]
    command: Option<Other>,
    #[command(flatten)]
    begin: Begin,
}

#[derive(Debug, Subcommand)]
enum Other {
    /// List the faults in effect
    #[command(visible_alias = "ls")]
    List(List),
    /// End faults now: all of them, those of a bus, those of one member, or one
    Clear(Clear),
    Run(run::Run),
}

#[derive(Debug, Args)]
struct Begin {
    /// The network: its name, its ID, or the name of its interface on the host
    #[arg(required = true)]
    bus: Option<String>,
    /// A container on it, then what happens to it; without a container, it happens to all
    #[arg(required = true, value_name = "[MEMBER] FAULT")]
    words: Vec<String>,
    /// How long it lasts, from 10ms to 24h [default: 10s]
    #[arg(long = "for", value_name = "TIME", conflicts_with = "until_cleared")]
    lasts: Option<String>,
    /// Let it last until `canhub fault clear` or the next boot
    #[arg(long)]
    until_cleared: bool,
    /// What it is for, as shown by `canhub status` and `canhub events`
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: AdminSocket,
}

#[derive(Debug, Args)]
struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: AdminSocket,
}

#[derive(Debug, Args)]
struct Clear {
    /// A bus, or the number of a fault. Before MEMBER, or with --bus, a number is the name of a bus
    #[arg(value_name = "BUS|ID")]
    what: Option<String>,
    /// A container on the bus
    #[arg(requires = "what")]
    member: Option<String>,
    /// BUS is the name of a bus, even if it is a number
    #[arg(long, requires = "what")]
    bus: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: AdminSocket,
}

#[derive(Debug, Deserialize)]
struct Begun {
    fault: FaultStatus,
}

#[derive(Debug, Deserialize)]
struct Cleared {
    cleared: Vec<FaultStatus>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    faults: Vec<FaultStatus>,
}

impl FaultCommand {
    pub(super) fn run(self) -> Result<(), Failed> {
        match self.command {
            None => self.begin.run(),
            Some(Other::List(list)) => list.run(),
            Some(Other::Clear(clear)) => clear.run(),
            Some(Other::Run(run)) => run.run(),
        }
    }
}

/// The member and the effects among the words after the bus.
fn split(mut words: Vec<String>) -> (Option<String>, Vec<String>) {
    match words.first() {
        Some(first) if !Effect::is_meant(first) => (Some(words.remove(0)), words),
        _ => (None, words),
    }
}

impl Begin {
    fn run(self) -> Result<(), Failed> {
        let (member, effects) = split(self.words);
        if let (Some(member), []) = (&member, &effects[..]) {
            // Either the fault is missing or the word was meant as one.
            let why = member.parse::<Effect>().err().unwrap_or_default();
            return Err(Failed::Because(format!("{why}, after the name of a member or without one")));
        }
        if let (None, [effects @ .., last]) = (&member, &effects[..])
            && !effects.is_empty()
            && !Effect::is_meant(last)
            && effects.iter().all(|word| Effect::is_meant(word))
        {
            let (bus, effects) = (self.bus.unwrap_or_default(), effects.join(" "));
            return Err(Failed::Because(format!(
                "{last:?} is not a fault; a container comes before what happens to it: canhub fault {bus} {last} {effects}"
            )));
        }
        let (lasts, until_cleared, label) = (self.lasts, self.until_cleared, self.label);
        let wish = Wish { bus: self.bus.unwrap_or_default(), member, effects, lasts, until_cleared, label };
        Request::try_from(wish.clone())?;
        let on = |bus: &str| to_json(&Wish { bus: bus.to_owned(), ..wish.clone() });
        let answer = self.socket.send_about(&wish.bus, &Method::POST, PATH, on)?;
        ask::show(&answer, self.json, |Begun { fault }: &Begun| {
            lines::wrap("", &format!("fault {}: {}", fault.id, fault.reason))
        })?;
        Ok(())
    }
}

impl List {
    fn run(self) -> Result<(), Failed> {
        ask::show(&self.socket.get(PATH)?, self.json, |listed: &Listed| table(&listed.faults))?;
        Ok(())
    }
}

impl Clear {
    /// A number is a fault's, unless it can only be a bus.
    fn which(&self) -> Which {
        let is_bus = self.bus || self.member.is_some();
        let id = self.what.as_deref().filter(|_| !is_bus).and_then(|what| what.parse().ok());
        Which { id, bus: self.what.clone().filter(|_| id.is_none()), member: self.member.clone() }
    }

    fn run(self) -> Result<(), Failed> {
        let which = self.which();
        let answer = match &which.bus {
            Some(bus) => {
                let on = |bus: &str| to_json(&Which { bus: Some(bus.to_owned()), ..which.clone() });
                self.socket.send_about(bus, &Method::DELETE, PATH, on)?
            }
            None => self.socket.send(Method::DELETE, PATH, to_json(&which))?,
        };
        let line = |one: &FaultStatus| {
            format!("fault {}: {} cleared on {}\n", one.id, one.effects.join(" "), target(one))
        };
        ask::show(&answer, self.json, |Cleared { cleared }: &Cleared| match &cleared[..] {
            [] => "No faults are in effect.\n".to_owned(),
            some => some.iter().map(line).collect(),
        })?;
        Ok(())
    }
}

fn target(fault: &FaultStatus) -> String {
    let member = fault.member.as_ref().map(|member| format!("{member} on ")).unwrap_or_default();
    format!("{member}{}", fault.network_name)
}

fn table(all: &[FaultStatus]) -> String {
    if all.is_empty() {
        return "No faults are in effect. To cut off a container for two seconds: canhub fault BUS MEMBER cut --for 2s\n"
            .to_owned();
    }
    let mut text = row(["ID", "BUS", "MEMBER", "UNTIL", "FAULT"]);
    for one in all {
        let member = one.member.as_deref().unwrap_or("(all)");
        // The date is today's or tomorrow's.
        let until = one.until.as_deref().and_then(|until| until.get(11..19)).unwrap_or("cleared");
        text += &row([&one.id.to_string(), &one.network_name, member, until, &one.effects.join(" ")]);
    }
    text
}

fn row([id, bus, member, until, effects]: [&str; 5]) -> String {
    let line = format!("{id:>4} {:<16} {:<16} {until:<8} {effects}", cut(bus, 16), cut(member, 16));
    cut(line.trim_end(), WIDTH) + "\n"
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn the_first_word_that_is_no_fault_is_the_member() {
        let split = |words: &[&str]| split(words.iter().map(|&word| word.to_owned()).collect());
        assert_eq!(split(&["cut"]), (None, vec!["cut".to_owned()]));
        assert_eq!(split(&["door", "cut"]), (Some("door".to_owned()), vec!["cut".to_owned()]));
        assert_eq!(split(&["flod=1"]), (None, vec!["flod=1".to_owned()]), "a typing error is no member");
    }

    #[test]
    fn a_fault_needs_a_bus_and_what_happens_and_the_other_commands_do_not() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["canhub", "fault"], args].concat());
        for good in [
            &["body", "door", "cut", "--for", "2s"][..],
            &["body", "flood=7DF@10", "cut"],
            &["list"],
            &["clear"],
            &["clear", "7"],
            &["clear", "body", "door"],
        ] {
            parse(good).unwrap_or_else(|err| panic!("{good:?}: {err}"));
        }
        for bad in [&[][..], &["body"], &["body", "cut", "--for", "2s", "--until-cleared"]] {
            assert_eq!(parse(bad).unwrap_err().exit_code(), 2, "{bad:?}");
        }
    }

    #[test]
    fn a_number_is_a_fault_unless_a_bus_is_meant() {
        let which = |id, bus: Option<&str>, member: Option<&str>| Which {
            id,
            bus: bus.map(str::to_owned),
            member: member.map(str::to_owned),
        };
        for (args, expected) in [
            (&[][..], which(None, None, None)),
            (&["7"], which(Some(7), None, None)),
            (&["body"], which(None, Some("body"), None)),
            (&["7", "--bus"], which(None, Some("7"), None)),
            (&["--bus", "7"], which(None, Some("7"), None)),
            (&["7", "door"], which(None, Some("7"), Some("door"))),
        ] {
            let cli = Clearing::try_parse_from([&["clear"], args].concat()).unwrap();
            assert_eq!(cli.clear.which(), expected, "{args:?}");
        }
        assert!(Clearing::try_parse_from(["clear", "--bus"]).is_err());
    }

    #[derive(Debug, Parser)]
    struct Clearing {
        #[command(flatten)]
        clear: Clear,
    }

    #[test]
    fn rows_stay_in_80_columns() {
        let one = FaultStatus {
            id: 12,
            network: "a1".repeat(32).try_into().unwrap(),
            network_name: "x".repeat(60),
            member: Some("y".repeat(60)),
            effects: vec!["flood=18FEF100@20000".into(); 6],
            since: "2026-11-28T14:05:00.250Z".into(),
            until: Some("2026-11-28T14:05:10.250Z".into()),
            label: None,
            reason: String::new(),
        };
        let text = table(&[one]);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.contains(" 14:05:10 flood=18FEF100@20000 "), "{text}");
        assert!(table(&[]).contains("canhub fault BUS"));
    }
}
