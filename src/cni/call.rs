//! What a runtime asks for in the environment.

use std::{collections::BTreeMap, hash::Hasher, path::PathBuf};

use siphasher::sip::SipHasher24;

use super::Error;
use crate::{attachment::CNI, names::IfName};

/// A call of a runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Attach a container.
    Add(Attachment),
    /// Detach a container. Its namespace may be gone.
    Del(Attachment),
    /// Check an attached container.
    Check(Attachment),
    /// Whether containers can be added now.
    Status,
    /// Detach all containers that the runtime no longer has.
    Gc,
    /// Which versions of the specification the plugin speaks.
    Version,
}

/// One container on one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The runtime's ID of the container, or of the pod's sandbox.
    pub container: String,
    /// The path of its network namespace. Only DEL may come without one.
    pub netns: Option<PathBuf>,
    /// The name that the runtime gives the interface.
    pub ifname: IfName,
    /// The name of the container for people: `NAMESPACE/POD` in Kubernetes, else its ID.
    pub name: String,
}

impl Call {
    /// Reads a call from the environment.
    ///
    /// # Errors
    /// [`Error::ENVIRONMENT`] if a variable is missing or wrong.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let get = |name: &str| variable(name).filter(|value| !value.is_empty());
        let attachment = || Attachment::read(&get);
        match get("CNI_COMMAND").as_deref() {
            Some("ADD") => Ok(Self::Add(attachment()?.in_a_namespace()?)),
            Some("CHECK") => Ok(Self::Check(attachment()?.in_a_namespace()?)),
            Some("DEL") => Ok(Self::Del(attachment()?)),
            Some("STATUS") => Ok(Self::Status),
            Some("GC") => Ok(Self::Gc),
            Some("VERSION") => Ok(Self::Version),
            Some(other) => {
                Err(wrong(&format!("CNI_COMMAND={other}: must be ADD, DEL, CHECK, STATUS, GC or VERSION")))
            }
            None => Err(wrong(
                "CNI_COMMAND is not set: canhub-cni is a CNI plugin, which container runtimes call; to attach a \
                 namespace by hand, use canhub attach",
            )),
        }
    }
}

impl Attachment {
    fn read(get: &impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let container = get("CNI_CONTAINERID").ok_or_else(|| wrong("CNI_CONTAINERID is not set"))?;
        is_identifier(&container).map_err(|why| wrong(&format!("CNI_CONTAINERID={container}: {why}")))?;
        let ifname = get("CNI_IFNAME").ok_or_else(|| wrong("CNI_IFNAME is not set"))?;
        let ifname = ifname.parse().map_err(|why| wrong(&format!("CNI_IFNAME={ifname}: {why}")))?;
        let args = args(&get("CNI_ARGS").unwrap_or_default())?;
        let name = match (args.get("K8S_POD_NAMESPACE"), args.get("K8S_POD_NAME")) {
            (Some(namespace), Some(pod)) => format!("{namespace}/{pod}"),
            (None, Some(pod)) => pod.clone(),
            (_, None) => container.clone(),
        };
        Ok(Self { container, netns: get("CNI_NETNS").map(PathBuf::from), ifname, name })
    }

    fn in_a_namespace(self) -> Result<Self, Error> {
        match self.netns {
            Some(_) => Ok(self),
            None => Err(wrong("CNI_NETNS is not set: it is the path of the container's network namespace")),
        }
    }

    /// The ID of the attachment.
    pub fn id(&self, network: &Network) -> String {
        network.id_of(&self.container, &self.ifname)
    }
}

/// A network of the runtime, and the bus that it is. A chain may have several.
#[derive(Debug, Clone, Copy)]
pub struct Network<'a> {
    /// The name of the network.
    pub name: &'a str,
    /// The name of the bus.
    pub bus: &'a str,
}

impl Network<'_> {
    /// How the IDs of its attachments begin.
    pub fn ids(&self) -> String {
        format!("{CNI}-{}-", digits(&[self.name, self.bus]))
    }

    /// The ID of an attachment, from what identifies it for the runtime.
    ///
    /// Digits instead of the words, which are too long for an ID.
    pub fn id_of(&self, container: &str, ifname: &IfName) -> String {
        self.ids() + &digits(&[container, ifname.as_str()])
    }
}

/// 64 bits of a hash. The words cannot contain the separator.
fn digits(words: &[&str]) -> String {
    let mut hasher = SipHasher24::new();
    hasher.write(words.join("/").as_bytes());
    format!("{:016x}", hasher.finish())
}

/// Names of networks and containers: a letter or digit, then also `_`, `.` and `-`. So they can be parts of an ID.
pub(super) fn is_identifier(text: &str) -> Result<(), String> {
    const MAX: usize = 128;
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    match first && text.len() <= MAX && text.chars().all(rest) {
        true => Ok(()),
        false => {
            Err(format!("must be 1 to {MAX} letters, digits, _, . or -, and begin with a letter or a digit"))
        }
    }
}

/// `K=V;K=V`. Kubernetes adds `IgnoreUnknown=1`.
fn args(text: &str) -> Result<BTreeMap<String, String>, Error> {
    let mut args = BTreeMap::new();
    for word in text.split(';').filter(|word| !word.is_empty()) {
        let (key, value) = word.split_once('=').ok_or_else(|| {
            wrong(&format!("CNI_ARGS={text}: {word:?} is not KEY=VALUE; separate them with ;"))
        })?;
        args.insert(key.to_owned(), value.to_owned());
    }
    Ok(args)
}

fn wrong(why: &str) -> Error {
    Error::new(Error::ENVIRONMENT, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Call, Error> {
        Call::read(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    const ADD: [(&str, &str); 4] = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "b0d1"),
        ("CNI_NETNS", "/run/netns/b0d1"),
        ("CNI_IFNAME", "eth0"),
    ];

    #[test]
    fn a_pod_is_called_by_its_name_and_a_container_by_its_id() {
        let Ok(Call::Add(container)) = read(&ADD) else { panic!() };
        assert_eq!(container.name, "b0d1");
        let args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=lab;K8S_POD_NAME=engine;K8S_POD_UID=";
        let Ok(Call::Add(pod)) = read(&[&ADD[..], &[("CNI_ARGS", args)]].concat()) else { panic!() };
        assert_eq!(pod.name, "lab/engine");
    }

    #[test]
    fn an_id_is_that_of_the_network_the_bus_the_container_and_the_interface() {
        let Ok(Call::Add(container)) = read(&ADD) else { panic!() };
        let network = Network { name: "powertrain", bus: "drive" };
        // Written down: a later version has to find what an earlier one attached.
        assert_eq!(container.id(&network), "cni-395ba84073f2e8f8-e5c423057c44c97f");
        let can0: IfName = "can0".parse().unwrap();
        let others = [
            Network { name: "powertrain", bus: "body" }.id_of("b0d1", &container.ifname),
            Network { name: "lab", bus: "drive" }.id_of("b0d1", &container.ifname),
            network.id_of("b0d2", &container.ifname),
            network.id_of("b0d1", &can0),
        ];
        assert!(others.iter().all(|other| *other != container.id(&network)), "{others:?}");
        assert!(network.id_of("b0d1", &can0).starts_with(&network.ids()));
    }

    #[test]
    fn only_del_may_come_without_a_namespace() {
        for command in ["ADD", "CHECK", "DEL"] {
            let call = read(&[("CNI_COMMAND", command), ADD[1], ADD[3], ("CNI_NETNS", "")]);
            assert_eq!(call.is_ok(), command == "DEL", "{command}");
        }
    }

    #[test]
    fn a_wrong_variable_is_named() {
        let with = |key: &str, value: &str| -> Error {
            let mut variables = ADD.to_vec();
            variables.retain(|(name, _)| *name != key);
            read(&[&variables[..], &[(key, value)]].concat()).unwrap_err()
        };
        for (key, value) in [
            ("CNI_COMMAND", ""),
            ("CNI_COMMAND", "add"),
            ("CNI_CONTAINERID", ""),
            ("CNI_CONTAINERID", "../b0d1"),
            ("CNI_NETNS", ""),
            ("CNI_IFNAME", ""),
            ("CNI_IFNAME", "sixteen-bytes-xx"),
            ("CNI_ARGS", "K8S_POD_NAME"),
        ] {
            let err = with(key, value);
            assert_eq!(err.code, 4, "{key}={value}");
            assert!(err.msg.starts_with(key), "{}", err.msg);
        }
    }
}
