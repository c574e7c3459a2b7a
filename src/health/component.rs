//! What `/v1/health` says: plain values, as JSON has them.
//!
//! A field may come; none changes its meaning while the path says `v1`.

use serde::{Deserialize, Serialize};

use super::facts::Facts;
use crate::status::HealthStatus;

/// All that was found out, and what it comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    /// `unhealthy` where a required component is unhealthy or unknown, else `degraded` where any component is
    /// not healthy, else `healthy`.
    pub status: HealthStatus,
    /// When this came to be, as RFC 3339 has it, in UTC.
    pub since: String,
    /// One sentence: all is well, or which components are not.
    pub reason: String,
    /// One for each thing that is watched.
    pub components: Vec<Component>,
    /// About canhub and its host.
    #[serde(flatten)]
    pub facts: Facts,
}

/// One thing that is watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// `kernel`, `docker`, `state`, `policy`; `bus:NAME` with the network's name, `adapter:NAME` with what
    /// the network's option `adapter` says.
    pub component: String,
    /// How it is.
    pub status: HealthStatus,
    /// Whether all is unhealthy without it.
    pub required: bool,
    /// One sentence: why it is so.
    pub reason: String,
    /// The shell command that fixes it, to be run as root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// What a person can do about it where no single command fixes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// When it was last looked at; `None` until then.
    pub last_check: Option<String>,
    /// When it came to be so.
    pub since: String,
    /// How long the last look took, in microseconds.
    pub took_us: Option<u64>,
    /// So many looks in a row found it not healthy. It counts as failed from the policy's threshold on.
    pub failures: u32,
}

impl HealthReport {
    /// The components that are not well, the worst and the required ones first.
    pub fn unwell(&self) -> Vec<&Component> {
        let mut unwell: Vec<_> = self.components.iter().filter(|one| !one.status.is_well()).collect();
        unwell.sort_by_key(|one| (!one.required, std::cmp::Reverse(one.status)));
        unwell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_an_older_canhub_without_facts_can_be_read() {
        let old = r#"{ "status": "healthy", "since": "then", "reason": "all is well", "components": [] }"#;
        let report: HealthReport = serde_json::from_str(old).unwrap();
        assert_eq!((report.status, report.facts), (HealthStatus::Healthy, Facts::default()));
    }

    #[test]
    fn a_status_is_one_word_everywhere() {
        use HealthStatus::{Degraded, Healthy, Unhealthy, Unknown, Unwatched};
        for status in [Unwatched, Healthy, Degraded, Unknown, Unhealthy] {
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        assert!(Unwatched.is_well() && Healthy.is_well() && !Unknown.is_well() && !Degraded.is_well());
    }
}
