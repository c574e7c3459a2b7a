//! What a check came to.

use serde::{Deserialize, Serialize};

/// Where a finding is shown, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// The kernel, its modules and limits, and what this process may.
    System,
    /// The engine, its networks and containers.
    Docker,
    /// Each bus, its members, its adapter.
    Buses,
    /// What others or an earlier canhub left behind.
    Leftovers,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Pass,
    /// Works, with less than it could have or with a trap in it; also what could not be looked at.
    Warning,
    /// Does not work.
    Error,
}

/// One result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Where it is shown.
    pub group: Group,
    /// Which check, in words that do not change: `module-can-gw`, `null-ipam`, `bus`.
    pub check: String,
    /// What it is about, where a check looks at several things: a network's name, an adapter, a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How bad it is.
    pub level: Level,
    /// What was found and, where it is wrong, why that matters: one sentence.
    pub sentence: String,
    /// What mends it, as one types it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// Whether `canhub doctor --fix` does that.
    pub fixable: bool,
}

impl Finding {
    /// As it should be.
    pub fn pass(group: Group, check: &str, sentence: impl Into<String>) -> Self {
        Self::new(group, check, Level::Pass, sentence.into())
    }

    /// Works, with a trap in it; or could not be looked at.
    pub fn warning(group: Group, check: &str, sentence: impl Into<String>) -> Self {
        Self::new(group, check, Level::Warning, sentence.into())
    }

    /// Does not work.
    pub fn error(group: Group, check: &str, sentence: impl Into<String>) -> Self {
        Self::new(group, check, Level::Error, sentence.into())
    }

    fn new(group: Group, check: &str, level: Level, sentence: String) -> Self {
        Self { group, check: check.into(), subject: None, level, sentence, fix: None, fixable: false }
    }

    /// Says what it is about.
    #[must_use]
    pub fn about(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }

    /// Says what mends it, for a person to type.
    #[must_use]
    pub fn by(self, command: impl Into<String>) -> Self {
        Self { fix: Some(command.into()), ..self }
    }

    /// `canhub doctor --fix` does it too.
    #[must_use]
    pub fn by_doctor(self) -> Self {
        Self { fixable: true, ..self }
    }
}

/// The command in a sentence, between backticks: where there are several, the last is the one that mends.
pub(crate) fn command_in(sentence: &str) -> Option<&str> {
    sentence.split('`').skip(1).step_by(2).last()
}
