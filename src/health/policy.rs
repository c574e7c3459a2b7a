//! The health policy: what is required, how often it is checked, and how long canhub waits.

mod file;

use std::time::Duration;

pub use file::load;

use crate::expect::Expectation;

/// Default path of the policy file.
pub const FILE: &str = "/etc/canhub/health.toml";

/// How much a component matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// canhub is unhealthy without it.
    Required,
    /// canhub is degraded without it.
    Optional,
    /// Does not count.
    Ignored,
}

/// The components that an entry of the policy applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// The component of this name.
    Exactly(String),
    /// All components of a kind: `bus` for `bus:*`.
    Every(String),
}

/// The policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The entries, in the order of the file.
    pub needs: Vec<(Pattern, Need)>,
    /// Time between checks.
    pub interval: Duration,
    /// A check without an answer counts as failed after this time.
    pub time_limit: Duration,
    /// Consecutive failed checks until a component counts as failed.
    pub threshold: u32,
    /// Frames that should be on the buses.
    pub expect: Vec<Expectation>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            needs: Vec::new(),
            interval: Duration::from_secs(30),
            time_limit: Duration::from_secs(5),
            threshold: 2,
            expect: Vec::new(),
        }
    }
}

impl Policy {
    /// How much a component matters: an exact name takes precedence over a wildcard, and that over the defaults.
    pub fn need(&self, component: &str) -> Need {
        let kind = component.split_once(':').map(|(kind, _)| kind);
        let exactly = self
            .needs
            .iter()
            .find(|(pattern, _)| matches!(pattern, Pattern::Exactly(name) if name == component));
        let every = || {
            self.needs
                .iter()
                .find(|(pattern, _)| matches!(pattern, Pattern::Every(every) if Some(every.as_str()) == kind))
        };
        match exactly.or_else(every) {
            Some((_, need)) => *need,
            None => match kind.unwrap_or(component) {
                "kernel" | "state" | "bus" => Need::Required,
                _ => Need::Optional,
            },
        }
    }

    /// Buses, adapters and expectations that must exist, by name.
    pub fn required_by_name(&self) -> impl Iterator<Item = &str> {
        self.needs.iter().filter_map(|(pattern, need)| match (pattern, need) {
            (Pattern::Exactly(name), Need::Required) if name.contains(':') => Some(name.as_str()),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_buses_kernel_and_state_are_required() {
        let policy = Policy::default();
        for (component, need) in [
            ("kernel", Need::Required),
            ("state", Need::Required),
            ("bus:body", Need::Required),
            ("docker", Need::Optional),
            ("adapter:can0", Need::Optional),
            ("policy", Need::Optional),
            ("expect:body:1A0", Need::Optional),
        ] {
            assert_eq!(policy.need(component), need, "{component}");
        }
    }

    #[test]
    fn an_exact_name_takes_precedence_over_a_wildcard() {
        let every = (Pattern::Every("bus".into()), Need::Optional);
        let one = (Pattern::Exactly("bus:body".into()), Need::Required);
        for needs in [vec![every.clone(), one.clone()], vec![one, every]] {
            let policy = Policy { needs, ..Policy::default() };
            assert_eq!((policy.need("bus:body"), policy.need("bus:seat")), (Need::Required, Need::Optional));
            assert_eq!(policy.need("adapter:body"), Need::Optional);
            assert_eq!(policy.required_by_name().collect::<Vec<_>>(), ["bus:body"]);
        }
    }
}
