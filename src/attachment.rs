//! Attachments: network namespaces that somebody put on a bus without Docker, and what is asked and told about them.
//!
//! An attachment is an endpoint with a namespace, planned and healed like those of Docker. It ends when its namespace
//! ends, and no list of Docker's can end it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    names::{AttachmentId, BusName, IfName},
    network::AliasEndpoint,
    options::RawOptions,
};

/// How the IDs of Podman's attachments begin, followed by a hyphen.
pub const PODMAN: &str = "podman";
/// How the IDs of those begin that a container runtime attached by CNI.
pub const CNI: &str = "cni";

/// What an endpoint has if it was attached without Docker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// Chosen by whoever attached it.
    pub id: AttachmentId,
    /// The display name of the member, where containers have theirs.
    pub name: String,
    /// The options as they were given.
    #[serde(default, skip_serializing_if = "RawOptions::is_empty")]
    pub options: RawOptions,
}

/// What a member of a bus is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberKind {
    /// A container of Docker's.
    #[default]
    Container,
    /// A container of Podman's.
    Podman,
    /// A container whose runtime uses CNI, such as containerd.
    Cni,
    /// A pod of Kubernetes.
    Pod,
    /// A namespace that somebody attached with `canhub attach` or over the admin socket.
    Namespace,
}

impl MemberKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Container, Self::Podman, Self::Cni, Self::Pod, Self::Namespace];

    /// As in the API, and the field of its name in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Podman => "podman",
            Self::Cni => "cni",
            Self::Pod => "pod",
            Self::Namespace => "namespace",
        }
    }

    /// One of them, in a sentence.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Podman => "Podman container",
            Self::Cni => "CNI container",
            Self::Pod => "pod",
            Self::Namespace => "namespace",
        }
    }
}

impl Attached {
    /// What it is: canhub's plugins choose IDs that begin with their names, and call a pod `NAMESPACE/POD`.
    pub fn kind(&self) -> MemberKind {
        match self.id.as_ref().split_once('-') {
            Some((PODMAN, _)) => MemberKind::Podman,
            Some((CNI, _)) if self.name.contains('/') => MemberKind::Pod,
            Some((CNI, _)) => MemberKind::Cni,
            _ => MemberKind::Namespace,
        }
    }

    /// What an alias tells of it, if its record is lost.
    pub(crate) fn recovered(alias: &AliasEndpoint) -> Self {
        let id = alias.attached.clone().unwrap_or_else(|| (&alias.id).into());
        let name = alias.sandbox.as_deref().map_or_else(|| id.to_string(), name_of);
        Self { id, name, options: RawOptions::new() }
    }
}

/// The process of `/proc/PID/ns/net`.
pub fn pid_of(netns: &Path) -> Option<&str> {
    let pid = netns.to_str()?.strip_prefix("/proc/")?.strip_suffix("/ns/net")?;
    pid.bytes().all(|byte| byte.is_ascii_digit()).then_some(pid)
}

/// The display name of a member of which only the path of its namespace is known: `ecu1` for `/run/netns/ecu1`.
pub fn name_of(netns: &Path) -> String {
    match (pid_of(netns), netns.file_name()) {
        (Some(pid), _) => format!("pid-{pid}"),
        (None, Some(name)) => name.to_string_lossy().into_owned(),
        (None, None) => netns.display().to_string(),
    }
}

/// A request to attach a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachRequest {
    /// The bus, by its name, its ID, or its interface on the host.
    pub bus: String,
    /// If no bus has this name: make one with these options, which is removed with its last attachment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus_options: Option<RawOptions>,
    /// The absolute path of the namespace, such as `/run/netns/ecu1` or `/proc/4711/ns/net`.
    pub netns: PathBuf,
    /// The wanted interface name; that of the bus if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ifname: Option<IfName>,
    /// The ID of the attachment; canhub makes one if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<AttachmentId>,
    /// The display name of the member; made from the path if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The options of an endpoint.
    #[serde(default, skip_serializing_if = "RawOptions::is_empty")]
    pub options: RawOptions,
}

/// Which attachment to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum WhichAttachment {
    /// The one with this ID.
    Id {
        /// The ID.
        id: AttachmentId,
    },
    /// The one of this namespace on this bus.
    Place {
        /// The bus, as in [`AttachRequest`].
        bus: String,
        /// The namespace, as in [`AttachRequest`].
        netns: PathBuf,
        /// The interface name; needed if the namespace is on the bus more than once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ifname: Option<IfName>,
    },
}

/// An attachment as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentStatus {
    /// Its ID.
    pub id: AttachmentId,
    /// The name of the bus.
    pub bus: String,
    /// The path of the namespace.
    pub netns: PathBuf,
    /// The name of the interface inside.
    pub interface: String,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// The display name of the member.
    pub name: String,
    /// The options as they were given.
    pub options: RawOptions,
    /// What differs from the desired state right now, one sentence each; empty if all is well or was not asked.
    pub problems: Vec<String>,
}

/// A request to make a bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusRequest {
    /// Its name.
    pub name: BusName,
    /// The options of a network.
    #[serde(default, skip_serializing_if = "RawOptions::is_empty")]
    pub options: RawOptions,
}

/// Which bus to remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhichBus {
    /// The bus, as in [`AttachRequest`].
    pub name: String,
}

/// A bus, whoever made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusOutline {
    /// Its name; the start of its ID while that of a Docker network is not known.
    pub name: String,
    /// Its ID.
    pub id: String,
    /// Its interface on the host, or the selector of its adapter.
    pub interface: String,
    /// Whether it is a Docker network; otherwise `canhub bus create` made it.
    pub docker: bool,
    /// Whether it is removed with its last attachment.
    pub transient: bool,
    /// The options as they were given.
    pub options: RawOptions,
    /// The display names of its members; the start of its endpoint's ID for one whose name is not known.
    pub members: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_what_attached_it() {
        for (id, name, kind) in [
            ("podman-0123-4567", "door", MemberKind::Podman),
            ("cni-0123-4567", "b0d1", MemberKind::Cni),
            ("cni-0123-4567", "lab/engine", MemberKind::Pod),
            ("cni", "ecu1", MemberKind::Namespace),
            ("bench.2", "lab/engine", MemberKind::Namespace),
        ] {
            let id = id.to_owned().try_into().unwrap();
            assert_eq!(Attached { id, name: name.into(), options: RawOptions::new() }.kind(), kind, "{name}");
        }
    }

    #[test]
    fn a_member_without_a_name_is_called_as_its_namespace() {
        for (path, name) in [
            ("/run/netns/ecu1", "ecu1"),
            ("/proc/4711/ns/net", "pid-4711"),
            ("/proc/self/ns/net", "net"),
            ("/", "/"),
        ] {
            assert_eq!(name_of(Path::new(path)), name);
        }
    }
}
