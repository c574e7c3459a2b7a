//! The output of doctor: text in 80 columns, or JSON.

use serde::Serialize;

use super::worst;
use crate::{
    checks::{Finding, Group, Level, system::PRIVILEGES},
    cli::lines::{WIDTH, wrap},
};

/// The report. `docs/doctor.schema.json` describes it.
#[derive(Debug, Serialize)]
pub(super) struct DoctorReport {
    /// Version of this program.
    version: &'static str,
    /// The level of the worst finding.
    worst: Level,
    /// Number of errors.
    pub(super) errors: usize,
    /// Number of warnings.
    warnings: usize,
    /// Fixes that were applied before the checks, or would be.
    mended: Vec<RemedyResult>,
    /// The findings.
    findings: Vec<Finding>,
}

/// A fix that was applied, or would be.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct RemedyResult {
    /// The fix.
    pub(super) action: String,
    /// Its outcome.
    pub(super) outcome: RemedyOutcome,
    /// Why it failed, or more about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
}

/// The outcome of a fix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RemedyOutcome {
    /// Applied.
    Done,
    /// Failed.
    Failed,
    /// Would be applied without `--dry-run`.
    Would,
}

impl RemedyResult {
    pub(super) fn new(action: String, outcome: Result<(), String>) -> Self {
        match outcome {
            Ok(()) => Self { action, outcome: RemedyOutcome::Done, text: None },
            Err(why) => Self { action, outcome: RemedyOutcome::Failed, text: Some(why) },
        }
    }
}

/// ECMA-48, "SGR".
const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

const GROUPS: [(Group, &str); 4] = [
    (Group::System, "System"),
    (Group::Docker, "Docker"),
    (Group::Buses, "Buses"),
    (Group::Leftovers, "Leftovers"),
];

impl DoctorReport {
    pub(super) fn new(findings: Vec<Finding>, mended: Vec<RemedyResult>) -> Self {
        let count = |level| findings.iter().filter(|finding| finding.level == level).count();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            worst: worst(&findings),
            errors: count(Level::Error),
            warnings: count(Level::Warning),
            mended,
            findings,
        }
    }

    /// Renders the report as text.
    pub(super) fn render(&self, colours: bool) -> String {
        let paint = |colour: &str, text: &str| match colours {
            true => format!("{colour}{text}{PLAIN}"),
            false => text.to_owned(),
        };
        let mut text = String::new();
        if !self.mended.is_empty() {
            text += &(paint(BOLD, "Fixed") + "\n");
            for RemedyResult { action, outcome, text: why } in &self.mended {
                let (sign, colour) = match outcome {
                    RemedyOutcome::Done => ("✔", GREEN),
                    RemedyOutcome::Failed => ("✘", RED),
                    RemedyOutcome::Would => ("would", YELLOW),
                };
                let why = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                text += &wrap(&format!("  {sign} "), &format!("{action}{why}")).replacen(
                    sign,
                    &paint(colour, sign),
                    1,
                );
            }
            text.push('\n');
        }
        for (group, title) in GROUPS {
            let mut of_group = self.findings.iter().filter(|finding| finding.group == group).peekable();
            if of_group.peek().is_some() {
                text += &(paint(BOLD, title) + "\n");
            }
            for finding in of_group {
                let (sign, colour) = match finding.level {
                    Level::Pass => ("✔", GREEN),
                    Level::Warning => ("!", YELLOW),
                    Level::Error => ("✘", RED),
                };
                text +=
                    &wrap(&format!("  {sign} "), &finding.sentence).replacen(sign, &paint(colour, sign), 1);
                if let Some(hint) = finding.hint.as_ref().filter(|_| finding.level != Level::Pass) {
                    text += &wrap("      hint: ", hint);
                }
                if let Some(fix) = finding.fix.as_ref().filter(|_| finding.level != Level::Pass) {
                    let lines: Vec<String> = typed(fix).iter().map(|line| paint(BOLD, line)).collect();
                    text += &format!("      fix: {}\n", lines.join("\n           "));
                }
            }
        }
        text.push('\n');
        text + &wrap("", &self.verdict())
    }

    /// The last line: the overall result and the next step.
    fn verdict(&self) -> String {
        let fixable = self.findings.iter().filter(|finding| finding.is_fixable()).count();
        let counted = |count: usize, one: &str| match count {
            1 => format!("1 {one}"),
            count => format!("{count} {one}s"),
        };
        let found = match (self.errors, self.warnings) {
            (0, 0) => return "No problems found.".into(),
            (0, warnings) => format!("No errors; {}.", counted(warnings, "warning")),
            (errors, 0) => format!("{}.", counted(errors, "error")),
            (errors, warnings) => format!("{}, {}.", counted(errors, "error"), counted(warnings, "warning")),
        };
        if self.findings.iter().any(|finding| finding.check == PRIVILEGES && finding.level != Level::Pass) {
            return format!("{found} Some checks need root: `sudo canhub doctor`.");
        }
        let next = match (fixable, self.errors + self.warnings) {
            (0, _) => match self.findings.iter().any(|finding| finding.fix.is_some()) {
                true => "Run each fix above as root.".to_owned(),
                false => return found,
            },
            (fixable, all) if fixable == all => "`sudo canhub doctor --fix` fixes all of them.".to_owned(),
            (fixable, _) => format!("`sudo canhub doctor --fix` fixes {fixable}; the others need you."),
        };
        format!("{found} {next}")
    }
}

/// Splits a command into lines that fit, joined with backslashes.
fn typed(command: &str) -> Vec<String> {
    let room = WIDTH - "      fix: ".len();
    if command.chars().count() <= room || command.contains(" #") {
        return vec![command.to_owned()];
    }
    let (mut lines, mut line, mut quoted) = (Vec::new(), String::new(), false);
    for word in command.split(' ') {
        let longer = line.chars().count() + " ".len() + word.chars().count() + " \\".len();
        // A line break inside quotes would change the command.
        if !line.is_empty() && !quoted && longer > room {
            lines.push(std::mem::take(&mut line) + " \\");
        } else if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        quoted ^= word.matches('\'').count() % 2 == 1;
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Remedy;
    use crate::cli::doctor::schema;

    fn report() -> DoctorReport {
        let long = "word ".repeat(40);
        let findings = vec![
            Finding::pass(Group::System, "kernel", "Linux 6.12"),
            Finding::error(Group::Docker, "driver", long).about("canhub").by("systemctl start canhub"),
            Finding::warning(Group::Leftovers, leftovers(), "stale")
                .by("rm /x")
                .by_doctor(Remedy::RemoveSocket("/x".into())),
        ];
        let mended = vec![
            RemedyResult::new("load the kernel module can-gw".into(), Ok(())),
            RemedyResult::new("remove /x".into(), Err("busy".into())),
        ];
        DoctorReport::new(findings, mended)
    }

    fn leftovers() -> &'static str {
        crate::checks::leftovers::SOCKETS
    }

    #[test]
    fn a_report_fits_80_columns_and_has_no_unwanted_colours() {
        let text = report().render(false);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(!text.contains('\x1b'));
        for words in [
            "System\n  ✔ Linux 6.12\n",
            "\n      fix: systemctl start canhub\n",
            "  ✘ remove /x: busy\n",
            "\n1 error, 1 warning. `sudo canhub doctor --fix` fixes 1; the others need you.\n",
        ] {
            assert!(text.contains(words), "{words:?} is not in\n{text}");
        }
        assert!(report().render(true).contains("\x1b[31m✘\x1b[0m word"));
    }

    #[test]
    fn a_long_command_is_split_into_lines() {
        let command = format!(
            "docker network rm one && docker network create {}'two words' one",
            "-o key=value ".repeat(9)
        );
        let lines = typed(&command);
        assert!(lines.len() > 1 && lines.iter().all(|line| line.len() <= 69), "{lines:#?}");
        assert_eq!(lines.join("\n").replace(" \\\n", " "), command);
        let quoted = format!("echo '{}' end", "word ".repeat(20));
        assert_eq!(typed(&quoted).len(), 2, "{:#?}", typed(&quoted));
    }

    #[test]
    fn the_last_line_is_the_next_step() {
        let of = |finding: Finding| DoctorReport::new(vec![finding], Vec::new()).verdict();
        assert_eq!(of(Finding::pass(Group::System, "kernel", "")), "No problems found.");
        let trap = Finding::warning(Group::System, "kernel", "");
        assert_eq!(of(trap.clone()), "No errors; 1 warning.");
        assert_eq!(of(trap.clone().by("rm /x")), "No errors; 1 warning. Run each fix above as root.");
        assert!(of(trap.by_doctor(Remedy::Heal)).ends_with("fixes all of them."));
        let half = Finding::warning(Group::System, PRIVILEGES, "");
        assert!(of(half).ends_with("Some checks need root: `sudo canhub doctor`."));
    }

    #[test]
    fn json_matches_its_schema() {
        let schema = schema::of_doctor();
        let sound = DoctorReport::new(vec![Finding::pass(Group::Buses, "bus", "x")], Vec::new());
        for report in [report(), sound] {
            let value = serde_json::to_value(&report).unwrap();
            assert_eq!(schema::faults(&schema, &value, "$"), Vec::<String>::new());
        }
        // The schema check itself finds errors.
        let mut wrong = serde_json::to_value(report()).unwrap();
        wrong["findings"][0]["level"] = "odd".into();
        wrong["mended"][0]["more"] = 1.into();
        wrong["errors"] = "two".into();
        assert_eq!(schema::faults(&schema, &wrong, "$").len(), 3);
    }
}
