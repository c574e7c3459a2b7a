//! What is wrong where a step is planned.

use std::fmt;

/// What a step repairs. Log lines, events and metrics have it in these words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// There is no hub.
    HubMissing,
    /// An adapter that is up has other settings than its network's options ask for.
    AdapterSettings,
    /// An adapter that its network's options set up is down.
    AdapterDown,
    /// There is no pair.
    PairMissing,
    /// The container end is in neither its sandbox nor on the host.
    ContainerEndMoved,
    /// The host end is not on the host.
    HostEndMoved,
    /// A link has another name than it should.
    LinkName,
    /// A link has another MTU than it should.
    LinkMtu,
    /// A link is down.
    LinkDown,
    /// A link has no alias or another one.
    LinkAlias,
    /// Rules of ours that nobody wants, or that exist twice.
    SurplusRules,
    /// Rules of a bus do not exist.
    RulesMissing,
    /// The link belongs to no known network or endpoint. The reconcile loop gives it a grace period.
    Leftover,
}

impl Reason {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HubMissing => "the hub was missing",
            Self::AdapterSettings => "the adapter's settings differed",
            Self::AdapterDown => "the adapter was down",
            Self::PairMissing => "the pair was missing",
            Self::ContainerEndMoved => "the container end was moved away",
            Self::HostEndMoved => "the host end was moved away",
            Self::LinkName => "the link had the wrong name",
            Self::LinkMtu => "the link had the wrong MTU",
            Self::LinkDown => "the link was down",
            Self::LinkAlias => "the link's alias was missing",
            Self::SurplusRules => "rules delivered frames twice",
            Self::RulesMissing => "rules were missing",
            Self::Leftover => "link belongs to no known network or endpoint",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
