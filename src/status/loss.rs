//! Lost frames in the status: by end, direction and cause.

use serde::{Deserialize, Serialize};

use crate::names::EndpointId;

/// Lost frames by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lost {
    /// A rule could not forward them: the destination was down or its queue was full.
    pub rule: u64,
    /// The other end of the pair was down.
    pub down: u64,
    /// The qdisc that paces the container dropped them; the sender got ENOBUFS.
    pub qdisc: u64,
    /// The kernel's backlog was full.
    pub backlog: u64,
    /// The adapter or its driver dropped them.
    pub adapter: u64,
    /// The adapter was not there.
    pub away: u64,
}

impl Lost {
    /// The count of one cause.
    pub fn of(&self, cause: LossCause) -> u64 {
        let mut lost = *self;
        *lost.of_mut(cause)
    }

    pub(crate) fn of_mut(&mut self, cause: LossCause) -> &mut u64 {
        match cause {
            LossCause::Rule => &mut self.rule,
            LossCause::Down => &mut self.down,
            LossCause::Qdisc => &mut self.qdisc,
            LossCause::Backlog => &mut self.backlog,
            LossCause::Adapter => &mut self.adapter,
            LossCause::Away => &mut self.away,
        }
    }

    /// The sum over all causes.
    pub fn total(&self) -> u64 {
        LossCause::ALL.iter().map(|cause| self.of(*cause)).sum()
    }
}

/// Why frames were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LossCause {
    /// A rule could not forward them: the destination was down or its queue was full.
    Rule,
    /// The other end of the pair was down.
    Down,
    /// The qdisc of the container end dropped them.
    Qdisc,
    /// The kernel's backlog was full.
    Backlog,
    /// The adapter or its driver dropped them.
    Adapter,
    /// The adapter was not there.
    Away,
}

impl LossCause {
    /// All causes, in order.
    pub const ALL: [Self; 6] =
        [Self::Rule, Self::Down, Self::Qdisc, Self::Backlog, Self::Adapter, Self::Away];

    /// As in JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Down => "down",
            Self::Qdisc => "qdisc",
            Self::Backlog => "backlog",
            Self::Adapter => "adapter",
            Self::Away => "away",
        }
    }

    /// What happened, as part of a sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Rule => "the destination was down or its queue was full",
            Self::Down => "the other end of the pair was down",
            Self::Qdisc => "the queue of the container's interface was full",
            Self::Backlog => "the kernel's backlog was full",
            Self::Adapter => "the adapter or its driver dropped them",
            Self::Away => "the adapter was not there",
        }
    }
}

/// Whether frames were on their way to an end or from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the end.
    In,
    /// From the end.
    Out,
}

impl Direction {
    /// As in JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }

    /// In a sentence, before the name of the end.
    pub fn preposition(self) -> &'static str {
        match self {
            Self::In => "to",
            Self::Out => "from",
        }
    }
}

/// Frames of one end of a bus that were lost for one cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The container's endpoint; `None`: the host.
    pub endpoint: Option<EndpointId>,
    /// The container's name, once Docker's API has told it.
    pub container: Option<String>,
    /// The interface in the container or on the host.
    pub interface: String,
    /// Whether they were on their way to this end or from it.
    pub direction: Direction,
    /// Why.
    pub cause: LossCause,
    /// How many.
    pub frames: u64,
    /// When the number was last seen to grow, in RFC 3339; `None`: not since canhub started.
    pub last_seen: Option<String>,
    /// The same in seconds ago.
    pub last_seen_s: Option<u64>,
}

impl Loss {
    /// The display name of the end.
    pub fn who(&self) -> &str {
        match (&self.container, &self.endpoint) {
            (Some(container), _) => container,
            (None, Some(endpoint)) => endpoint.short(),
            (None, None) => "the host",
        }
    }
}
