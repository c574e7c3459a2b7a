//! The reasons for steps.

use std::fmt;

/// What a step repairs. Used in log lines, events and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The hub does not exist.
    HubMissing,
    /// The settings of an adapter that is up differ from the network's options.
    AdapterSettings,
    /// An adapter that canhub should bring up is down.
    AdapterDown,
    /// The pair does not exist.
    PairMissing,
    /// The container end is neither in its sandbox nor on the host.
    ContainerEndMoved,
    /// The host end is not on the host.
    HostEndMoved,
    /// A link has the wrong name.
    LinkName,
    /// A link has the wrong MTU.
    LinkMtu,
    /// A link is down.
    LinkDown,
    /// A link has no alias, or the wrong one.
    LinkAlias,
    /// The queue of an adapter is too short for a bus with paced members. Nobody requested it, and no bus depends on it.
    AdapterQueue,
    /// An end does not pace or shape frames as requested.
    QdiscMissing,
    /// A container end that Docker has just moved is not paced or shaped yet. Not a fault.
    EndArrived,
    /// An end has a qdisc that is not canhub's.
    QdiscReplaced,
    /// A container end has the wrong pace.
    QdiscRate,
    /// An end delays, loses, duplicates or corrupts frames differently than requested.
    QdiscShape,
    /// An end paces or shapes frames and should not.
    QdiscUnwanted,
    /// Rules of canhub that are not needed, or are duplicated.
    SurplusRules,
    /// Rules of a bus do not exist.
    RulesMissing,
    /// A fault that was asked for and has not ended is not in place: something undid it, or its container was started again.
    FaultUndone,
    /// The link belongs to no known network or endpoint. The reconcile loop gives it a grace period.
    Leftover,
}

impl Reason {
    /// As text.
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
            Self::AdapterQueue => "the adapter's queue was too short",
            Self::QdiscMissing => "the qdisc was missing",
            Self::EndArrived => "the container end arrived",
            Self::QdiscReplaced => "the qdisc was replaced",
            Self::QdiscRate => "the qdisc had the wrong rate",
            Self::QdiscShape => "the qdisc had the wrong shape",
            Self::QdiscUnwanted => "the qdisc was not needed",
            Self::SurplusRules => "rules delivered frames twice",
            Self::RulesMissing => "rules were missing",
            Self::FaultUndone => "a fault on purpose was not in place",
            Self::Leftover => "link belongs to no known network or endpoint",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
