//! The result of a check.

use std::path::PathBuf;

use serde::{Serialize, Serializer};

/// Where a finding is shown, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// The kernel, its modules and limits, and what this process may.
    System,
    /// The engine, its networks and containers.
    Docker,
    /// Each bus, its members, its adapter.
    Buses,
    /// What other programs or an earlier canhub left behind.
    Leftovers,
}

/// How severe a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Nothing to do.
    Pass,
    /// Works, but with a limitation or a trap; also what could not be inspected.
    Warning,
    /// Does not work.
    Error,
}

/// What `canhub doctor --fix` does about a finding. In the order in which it is to be done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remedy {
    /// Load this kernel module.
    LoadModule(String),
    /// Have the modules loaded at each boot.
    LoadAtBoot,
    /// Remove this socket, which no process listens on.
    RemoveSocket(PathBuf),
    /// Import the networks in this file of rustycan4docker's.
    Import(PathBuf),
    /// Heal all buses, and write the records anew.
    Heal,
    /// Order canhub's unit before Docker's.
    Order,
    /// Enable canhub's units.
    Enable,
}

/// One result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Where it is shown.
    pub group: Group,
    /// Which check, in words that do not change: `module-can-gw`, `null-ipam`, `bus`.
    pub check: String,
    /// What it is about, where a check looks at several things: a network's name, an adapter, a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How severe it is.
    pub level: Level,
    /// What was found and, where it is wrong, why that matters: one sentence.
    pub sentence: String,
    /// The shell command that fixes it, to be run as root. A test runs each of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// What a person can do about it where no single command fixes it: where to look, what to decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What `canhub doctor --fix` does about it, if anything; JSON says whether it does.
    #[serde(rename = "fixable", serialize_with = "whether")]
    pub remedy: Option<Remedy>,
}

impl Finding {
    /// Nothing to do.
    pub fn pass(group: Group, check: &str, sentence: impl Into<String>) -> Self {
        Self::new(group, check, Level::Pass, sentence.into())
    }

    /// Works, but with a trap; or could not be inspected.
    pub fn warning(group: Group, check: &str, sentence: impl Into<String>) -> Self {
        Self::new(group, check, Level::Warning, sentence.into())
    }

    /// Does not work.
    pub fn error(group: Group, check: &str, sentence: impl Into<String>) -> Self {
        Self::new(group, check, Level::Error, sentence.into())
    }

    fn new(group: Group, check: &str, level: Level, sentence: String) -> Self {
        Self {
            group,
            check: check.into(),
            subject: None,
            level,
            sentence,
            fix: None,
            hint: None,
            remedy: None,
        }
    }

    /// Says what it is about.
    #[must_use]
    pub fn about(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }

    /// Gives the shell command that fixes it, as it stands: no placeholder, no comment.
    #[must_use]
    pub fn by(self, command: impl Into<String>) -> Self {
        Self { fix: Some(command.into()), ..self }
    }

    /// Gives advice for a person.
    #[must_use]
    pub fn hint(self, advice: impl Into<String>) -> Self {
        Self { hint: Some(advice.into()), ..self }
    }

    /// `canhub doctor --fix` does it too, by this remedy.
    #[must_use]
    pub fn by_doctor(self, remedy: Remedy) -> Self {
        Self { remedy: Some(remedy), ..self }
    }

    /// Whether `canhub doctor --fix` does something about it.
    pub fn is_fixable(&self) -> bool {
        self.remedy.is_some()
    }
}

#[allow(clippy::ref_option, reason = "serde hands it over so")]
fn whether<S: Serializer>(remedy: &Option<Remedy>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(remedy.is_some())
}
