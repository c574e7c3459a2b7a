//! The result of a check.

use std::path::PathBuf;

use serde::{Serialize, Serializer};

/// The groups, in display order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// The kernel, its modules and limits, and the capabilities of this process.
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
    /// Works, but with a catch; or could not be checked.
    Warning,
    /// Broken.
    Error,
}

/// A fix that `canhub doctor --fix` can apply. In the order of application.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remedy {
    /// Load this kernel module.
    LoadModule(String),
    /// Load the modules at boot.
    LoadAtBoot,
    /// Raise the backlog to this many frames.
    RaiseBacklog(u32),
    /// Remove this stale socket.
    RemoveSocket(PathBuf),
    /// Import the networks from this file of rustycan4docker.
    Import(PathBuf),
    /// Heal all buses, and rewrite the records.
    Heal,
    /// Order canhub's unit before Docker's.
    Order,
    /// Enable canhub's units.
    Enable,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The display group.
    pub group: Group,
    /// The stable name of the check: `module-can-gw`, `null-ipam`, `bus`.
    pub check: String,
    /// The item, for checks that cover several: the name of a network, an adapter, a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How severe it is.
    pub level: Level,
    /// One sentence: what was found and, for a problem, why it matters.
    pub sentence: String,
    /// The shell command that fixes it, to be run as root. A test runs every one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// What a person can do if no single command fixes it: where to look, what to decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What `canhub doctor --fix` does about it, if anything; JSON only has whether it does.
    #[serde(rename = "fixable", serialize_with = "whether")]
    pub remedy: Option<Remedy>,
}

impl Finding {
    /// Nothing to do.
    pub fn pass(group: Group, check: &str, sentence: impl Into<String>) -> Self {
        Self::new(group, check, Level::Pass, sentence.into())
    }

    /// Works, but with a catch; or could not be checked.
    pub fn warning(group: Group, check: &str, sentence: impl Into<String>) -> Self {
        Self::new(group, check, Level::Warning, sentence.into())
    }

    /// Broken.
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

    /// Sets the subject.
    #[must_use]
    pub fn about(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }

    /// Sets the shell command that fixes it, ready to run: no placeholders, no comments.
    #[must_use]
    pub fn by(self, command: impl Into<String>) -> Self {
        Self { fix: Some(command.into()), ..self }
    }

    /// Sets the advice for a person.
    #[must_use]
    pub fn hint(self, advice: impl Into<String>) -> Self {
        Self { hint: Some(advice.into()), ..self }
    }

    /// Sets the remedy of `canhub doctor --fix`.
    #[must_use]
    pub fn by_doctor(self, remedy: Remedy) -> Self {
        Self { remedy: Some(remedy), ..self }
    }

    /// What is wrong and what to do, in one sentence.
    pub fn advice(&self) -> String {
        let command = self.fix.as_ref().map(|fix| format!("`{fix}`"));
        match command.as_ref().or(self.hint.as_ref()) {
            Some(what) => format!("{}: {what}", self.sentence),
            None => self.sentence.clone(),
        }
    }

    /// Whether `canhub doctor --fix` can fix it.
    pub fn is_fixable(&self) -> bool {
        self.remedy.is_some()
    }
}

#[allow(clippy::ref_option, reason = "the signature that serde requires")]
fn whether<S: Serializer>(remedy: &Option<Remedy>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(remedy.is_some())
}
