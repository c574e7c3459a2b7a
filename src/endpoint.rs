//! An endpoint: what Docker sent about it, and the name of its interface.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    attachment::{Attached, MemberKind},
    filters::Filters,
    kernel::Cookie,
    names::{EndpointId, IfName, NetworkId},
    options::Naming,
    pace::Rate,
    shape::Shapes,
};

/// A namespace on a bus. Docker creates a new one at every start of a container; others attach theirs with `canhub attach`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Docker's ID, or canhub's own.
    pub id: EndpointId,
    /// The network it belongs to.
    pub network: NetworkId,
    /// The interface name in the container.
    pub ifname: Naming,
    /// The rate for this container, if it differs from the network's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// What the container may send and hear, if that differs from the network's.
    #[serde(flatten)]
    pub filters: Filters,
    /// What happens to its frames, as far as that differs from the network's.
    #[serde(flatten)]
    pub shapes: Shapes,
    /// Its lifecycle stage.
    pub stage: Stage,
    /// Who attached it, if it was not Docker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attached: Option<Attached>,
    /// The namespace in which its container end was last seen. Another one at the same path is another container's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Cookie>,
}

/// The lifecycle stage of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "lowercase")]
pub enum Stage {
    /// After CreateEndpoint: no sandbox and no links yet.
    Created,
    /// After Join: the pair must exist.
    Joined {
        /// `SandboxKey`: where the container's namespace is, or (Docker ≤ 27, at start) will be.
        sandbox: PathBuf,
    },
    /// After Leave: DeleteEndpoint will delete the pair.
    Left,
}

impl Endpoint {
    /// The sandbox while the endpoint is joined.
    pub fn sandbox(&self) -> Option<&Path> {
        self.stage.sandbox()
    }

    /// What it is.
    pub fn kind(&self) -> MemberKind {
        self.attached.as_ref().map_or(MemberKind::Container, Attached::kind)
    }

    /// Whether another endpoint is in the same namespace.
    pub fn shares_namespace_with(&self, other: &Self) -> bool {
        self.is_in(other.sandbox(), other.namespace)
    }

    /// Whether it is in this namespace: by its cookie if both are known, else by its path.
    pub fn is_in(&self, netns: Option<&Path>, cookie: Option<Cookie>) -> bool {
        let same = self.namespace.zip(cookie).map(|(one, other)| one == other);
        same.unwrap_or_else(|| netns.is_some() && self.sandbox() == netns)
    }
}

impl Stage {
    /// The sandbox while the endpoint is joined.
    pub fn sandbox(&self) -> Option<&Path> {
        match self {
            Self::Joined { sandbox } => Some(sandbox),
            Self::Created | Self::Left => None,
        }
    }
}

impl Naming {
    /// The name to use, given the names that are taken.
    pub fn choose(&self, taken: &[String]) -> IfName {
        match self {
            Self::Exact(name) => name.clone(),
            Self::Prefix(prefix) => (0..)
                .filter_map(|number| format!("{prefix}{number}").parse::<IfName>().ok())
                .find(|name| !taken.iter().any(|other| other == name.as_str()))
                .unwrap_or_else(|| prefix.clone()),
        }
    }

    /// Whether an interface may keep its name.
    pub fn accepts(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact.as_str() == name,
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
        }
    }

    /// Whether two interfaces of one container could want the same name, so that it depends on which came first.
    pub fn collides_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(one), Self::Exact(other)) | (Self::Prefix(one), Self::Prefix(other)) => one == other,
            // The only one of its prefix has the number 0.
            (Self::Exact(name), Self::Prefix(prefix)) | (Self::Prefix(prefix), Self::Exact(name)) => {
                name.as_str().strip_prefix(prefix.as_str()) == Some("0")
            }
        }
    }

    /// The prefix to which Docker appends a number, if Docker names the interface (`DstPrefix`).
    ///
    /// The first number is 0, so the prefix `can` yields `can0`. Docker ≤ 27 cannot assign any other name, so the
    /// container end gets a name that cannot be confused with one of another bus (`can1_0`), and the reconcile loop
    /// renames it as soon as Docker has moved it.
    pub fn docker_prefix(&self) -> String {
        match self {
            Self::Prefix(prefix) => prefix.to_string(),
            Self::Exact(name) => match name.as_str().strip_suffix('0') {
                Some(prefix) if !prefix.is_empty() && prefix.len() <= 14 => prefix.to_owned(),
                _ => name.as_str().chars().take(12).chain(['_']).collect(),
            },
        }
    }
}

impl std::fmt::Display for Naming {
    /// `can0`, or `can*` for a prefix.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(name) => write!(f, "{name}"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

impl std::str::FromStr for Naming {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_suffix('*') {
            Some(prefix) => prefix.parse().map(Self::Prefix),
            None => text.parse().map(Self::Exact),
        }
    }
}

impl Serialize for Naming {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Naming {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naming(text: &str) -> Naming {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_takes_the_lowest_free_number() {
        assert_eq!(naming("can*").choose(&[]).as_str(), "can0");
        assert_eq!(naming("can*").choose(&["can0".into(), "lo".into(), "can2".into()]).as_str(), "can1");
        assert_eq!(
            naming("can4").choose(&["can4".into()]).as_str(),
            "can4",
            "an exact name is never changed"
        );
    }

    #[test]
    fn names_that_depend_on_the_join_order_collide() {
        for (one, other) in [("can0", "can0"), ("p*", "p*"), ("p0", "p*")] {
            assert!(naming(one).collides_with(&naming(other)), "{one} and {other}");
            assert!(naming(other).collides_with(&naming(one)), "{other} and {one}");
        }
        for (one, other) in [("can0", "can1"), ("p*", "q*"), ("p1", "p*"), ("p", "p*"), ("p*", "p1*")] {
            assert!(!naming(one).collides_with(&naming(other)), "{one} and {other}");
            assert!(!naming(other).collides_with(&naming(one)), "{other} and {one}");
        }
    }

    #[test]
    fn dockers_prefix_yields_the_name_or_an_unmistakable_one() {
        assert_eq!(naming("can0").docker_prefix(), "can");
        assert_eq!(naming("can1").docker_prefix(), "can1_");
        assert_eq!(naming("can10").docker_prefix(), "can1");
        assert_eq!(naming("0").docker_prefix(), "0_");
        assert_eq!(naming("vcanp*").docker_prefix(), "vcanp");
        assert!(naming("fifteen-bytes-x").docker_prefix().len() <= 14, "Docker appends a digit");
    }
}
