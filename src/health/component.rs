//! The body of `/v1/health`: plain values, serialized to JSON.
//!
//! Fields may be added; no field changes its meaning within `v1`.

use serde::{Deserialize, Serialize};

use super::facts::Facts;
use crate::status::HealthStatus;

/// The health report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    /// `unhealthy` if a required component is unhealthy or unknown, otherwise `degraded` if any component is not
    /// healthy, otherwise `healthy`.
    pub status: HealthStatus,
    /// When the status last changed, in RFC 3339, UTC.
    pub since: String,
    /// One sentence: all is well, or the components that are not healthy.
    pub reason: String,
    /// One per component.
    pub components: Vec<Component>,
    /// About canhub and its host.
    #[serde(flatten)]
    pub facts: Facts,
}

/// A monitored component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// `kernel`, `docker`, `state`, `policy`; `bus:NAME` with the name of the network, `adapter:NAME` with the value of
    /// the network's option `adapter`, `span:NAME`, `host:NAME`, `expect:BUS:ID`.
    pub component: String,
    /// Its status.
    pub status: HealthStatus,
    /// Whether the overall status is unhealthy if this component is.
    pub required: bool,
    /// One sentence: the reason for the status.
    pub reason: String,
    /// The shell command that fixes it, to be run as root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// What a person can do if no single command fixes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// When it was last checked; `None` if never.
    pub last_check: Option<String>,
    /// When the status last changed.
    pub since: String,
    /// Duration of the last check, in microseconds.
    pub took_us: Option<u64>,
    /// Consecutive checks that found it not healthy. It counts as failed once the policy's threshold is reached.
    pub failures: u32,
}

impl HealthReport {
    /// The components that are not healthy, required and worst ones first.
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
