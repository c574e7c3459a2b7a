//! `canhub fault run`: plays a schedule.

mod ends;

use std::{
    fs,
    path::PathBuf,
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

use clap::Args;
use hyper::Method;
use serde::Serialize;

use super::{Begun, PATH, to_json};
use crate::{
    cli::{
        Failed,
        ask::{self, AdminSocket},
        complain, lines,
        stop::Stop,
    },
    clock::rfc3339,
    fault::{Schedule, ScheduleStep, Which, Wish},
    status::FaultStatus,
};
use ends::Ends;

/// How soon an interruption is noticed.
const NOTICES: Duration = Duration::from_millis(50);
/// How much later than planned canhub may tell that a fault ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// Shown below the options.
const EXAMPLE: &str = "A schedule:

  bus = \"body\"
  [[step]]
  at = \"500ms\"
  member = \"door\"
  fault = \"cut\"
  for = \"2s\"
  label = \"door goes silent\"
  repeat = 3
  every = \"5s\"";

/// Play a schedule of faults
///
/// FILE says when which fault begins, relative to the start, and how long it lasts; steps and the whole schedule can be
/// repeated. Prints when each step began and ended, to be laid beside a recording. Ctrl-C and SIGTERM end what has not
/// ended yet; after kill -9 each fault still ends with its time. Exit codes: 0 all was done, 1 not all, 2 bad usage, 3
/// canhub cannot be reached.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub(super) struct Run {
    /// The schedule, a TOML file
    file: PathBuf,
    /// Only print what would be done, and when
    #[arg(long)]
    dry_run: bool,
    /// Print the report as JSON at the end
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: AdminSocket,
}

/// What happened.
#[derive(Debug, Serialize)]
struct Report {
    /// The schedule.
    file: String,
    /// When it began, in RFC 3339, UTC; absent for `--dry-run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    /// `planned`, `done`, `interrupted` or `failed`.
    result: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    steps: Vec<Played>,
}

/// A step, and when it really happened.
#[derive(Debug, Serialize)]
struct Played {
    /// Its planned time in ms after the start.
    at_ms: f64,
    label: Option<String>,
    #[serde(flatten)]
    wish: Option<Wish>,
    /// The number of its fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<u64>,
    /// When it was in place, in RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    began: Option<String>,
    /// When it is to end by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// When it had ended, by itself or because somebody cleared it.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<String>,
    /// How much later than planned it was in place, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    late_ms: Option<f64>,
}

impl Run {
    pub(super) fn run(self) -> Result<(), Failed> {
        let file = self.file.display().to_string();
        let text = fs::read_to_string(&self.file).map_err(|err| format!("cannot read {file}: {err}"))?;
        let Schedule(steps) = Schedule::parse(&self.file, &text)?;
        if self.dry_run {
            let steps: Vec<Played> = steps.iter().map(Played::planned).collect();
            if !self.json {
                lines::print(&steps.iter().map(Played::line).collect::<String>());
            }
            self.report(Report { file, started: None, result: "planned", error: None, steps });
            return Ok(());
        }
        let stop = Stop::on_signals()?;
        let started = Some(rfc3339(SystemTime::now()));
        let mut played = Vec::new();
        let ends = Ends::listen(self.socket.clone());
        let ended = self.play(&steps, &stop, &ends, &mut played);
        let (result, error, failed) = match ended {
            Ok(true) => ("done", None, None),
            Ok(false) => ("interrupted", None, Some(Failed::Found)),
            Err(failed) => ("failed", failed.why().map(str::to_owned), Some(failed)),
        };
        if result != "done" {
            self.clear(&played);
            let until = Instant::now() + PATIENCE;
            while self.note_ends(&ends, &mut played) > 0 && Instant::now() < until {
                sleep(NOTICES);
            }
        }
        if !self.json {
            let latest = played.iter().filter_map(|step| step.late_ms).fold(0.0, f64::max);
            lines::print(&format!(
                "{result}: {} of {} steps, the latest {latest:.1} ms late\n",
                played.len(),
                steps.len()
            ));
        }
        self.report(Report { file, started, result, error, steps: played });
        failed.map_or(Ok(()), Err)
    }

    fn report(&self, report: Report) {
        if self.json {
            ask::print_json(&to_json(&report));
        }
    }

    /// Returns whether all was done, rather than interrupted.
    fn play(
        &self,
        steps: &[ScheduleStep],
        stop: &Stop,
        ends: &Ends,
        played: &mut Vec<Played>,
    ) -> Result<bool, Failed> {
        let start = Instant::now();
        let mut end = start;
        for step in steps {
            let due = start + step.at;
            if !wait(due, stop, || _ = self.note_ends(ends, played)) {
                return Ok(false);
            }
            let mut done = Played::planned(step);
            match step.fault.as_ref().map(|wish| self.begin(wish)).transpose()? {
                Some((fault, lasts)) => {
                    end = end.max(Instant::now() + lasts);
                    (done.fault, done.began, done.until) = (Some(fault.id), Some(fault.since), fault.until);
                }
                None => done.began = Some(rfc3339(SystemTime::now())),
            }
            done.late_ms = Some(ms(due.elapsed()));
            if !self.json {
                lines::print(&done.line());
            }
            played.push(done);
        }
        loop {
            match self.note_ends(ends, played) {
                0 => return Ok(true),
                _ if stop.is_set() => return Ok(false),
                lasting if Instant::now() > end + PATIENCE => {
                    return Err(Failed::Because(format!(
                        "canhub does not tell that {lasting} of the faults ended; `canhub fault list` shows those in effect"
                    )));
                }
                _ => sleep(NOTICES),
            }
        }
    }

    /// Notes and prints what has ended. Returns how many faults still last.
    fn note_ends(&self, ends: &Ends, played: &mut [Played]) -> usize {
        let mut lasting = 0;
        for step in played.iter_mut().filter(|step| step.ended.is_none()) {
            let Some(fault) = step.fault else { continue };
            step.ended = ends.of(fault);
            match &step.ended {
                Some(ended) if !self.json => {
                    lines::print(&format!("{ended} ended:{}\n", step.what()));
                }
                Some(_) => {}
                None => lasting += 1,
            }
        }
        lasting
    }

    fn begin(&self, wish: &Wish) -> Result<(FaultStatus, Duration), Failed> {
        let on = |bus: &str| to_json(&Wish { bus: bus.to_owned(), ..wish.clone() });
        let answer = self.socket.send_about(&wish.bus, &Method::POST, PATH, on)?;
        let Begun { fault } = ask::parsed(&answer)?;
        Ok((fault, wish.lasts_for().unwrap_or_default()))
    }

    /// Those that have ended by themselves are refused, which is as good.
    fn clear(&self, played: &[Played]) {
        for id in played.iter().filter(|step| step.ended.is_none()).filter_map(|step| step.fault) {
            let which = to_json(&Which { id: Some(id), ..Which::default() });
            if let Err(Failed::Unreachable { why, .. }) = self.socket.send(Method::DELETE, PATH, which) {
                complain(&format!("faults could not be cleared, and end with their time: {why}"));
                return;
            }
        }
    }
}

impl Played {
    fn planned(step: &ScheduleStep) -> Self {
        let (label, wish) = (step.label.clone(), step.fault.clone());
        let wish = wish.map(|wish| Wish { label: None, ..wish });
        Self {
            at_ms: ms(step.at),
            label,
            wish,
            fault: None,
            began: None,
            until: None,
            ended: None,
            late_ms: None,
        }
    }

    /// `2026-11-28T14:05:00.250Z +0.500 s door on body: cut for 2s (door goes silent)`.
    fn line(&self) -> String {
        let began = self.began.as_ref().map(|began| format!("{began} ")).unwrap_or_default();
        format!("{began}+{:.3} s{}\n", self.at_ms / 1000.0, self.what())
    }

    /// ` door on body: cut for 2s (door goes silent)`.
    fn what(&self) -> String {
        let label = self.label.as_ref().map(|label| format!(" ({label})")).unwrap_or_default();
        let what = match &self.wish {
            Some(wish) => {
                let member = wish.member.as_ref().map(|member| format!("{member} on ")).unwrap_or_default();
                let lasts = wish.lasts.as_deref().unwrap_or_default();
                format!(" {member}{}: {} for {lasts}", wish.bus, wish.effects.join(" "))
            }
            None => String::new(),
        };
        what + &label
    }
}

fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e5).round() / 100.0
}

/// Waits until then, and looks at times. Returns false if it was interrupted.
fn wait(due: Instant, stop: &Stop, mut look: impl FnMut()) -> bool {
    loop {
        look();
        if stop.is_set() {
            return false;
        }
        match due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            Some(left) => sleep(left.min(NOTICES)),
            None => return true,
        }
    }
}
