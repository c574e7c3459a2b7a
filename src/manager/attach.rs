//! Attach and detach: a namespace on a bus without Docker. It becomes an endpoint like Docker's, and its pair is made by the
//! same plan.

use std::{hash::BuildHasher, path::Path, time::Instant};

use super::{
    Manager,
    attachments::outline,
    collect::NAMESPACE_ENDED,
    endpoint::SETTLE_CALL,
    join::refuse_taken_name,
    named::{Unknown, find},
};
use crate::{
    attachment::{AttachRequest, Attached, AttachmentStatus, WhichAttachment, name_of, pid_of},
    endpoint::{Endpoint, Stage},
    error::{Code, Error},
    kernel::{Cookie, Namespace, is_alone},
    model::Model,
    names::{AttachmentId, EndpointId, NetworkId, check_name},
    options::{DOCKER_IFNAME, EndpointOptions, RawOptions},
};

impl Manager {
    /// Puts a namespace on a bus. Asking twice for the same changes nothing.
    ///
    /// # Errors
    /// One sentence; nothing is left behind. [`Code::Exists`] if an attachment of this ID, or of this interface in this
    /// namespace, exists and is another.
    pub fn attach(&self, asked: &AttachRequest) -> Result<AttachmentStatus, Error> {
        self.try_attach(asked).inspect_err(|_| self.events.counters().join_failed())
    }

    fn try_attach(&self, asked: &AttachRequest) -> Result<AttachmentStatus, Error> {
        let started = Instant::now();
        let options = endpoint_options(asked).map_err(Error::Refused)?;
        if let Some(name) = &asked.name {
            check_name("name", name).map_err(Error::Refused)?;
        }
        let known = self.bus_soon(&asked.bus);
        if asked.bus_options.is_none() {
            known?;
        }
        self.signals.settle_at_least(SETTLE_CALL);
        let mut model = self.model.lock();
        let namespace = self.namespace_at(&asked.netns)?;
        // First, because a bus can go with it.
        if let Some(ended) = asked.id.as_ref().and_then(|id| self.ended(&model, id)) {
            self.remove_member(&mut model, &ended, Some(NAMESPACE_ENDED), started);
        }
        let network = self.bus_for(&mut model, asked, started)?;
        let attached = self.attach_to(&mut model, network.clone(), asked, options, namespace, started);
        if attached.is_err() {
            self.remove_unused(&mut model, &network);
        }
        attached
    }

    fn attach_to(
        &self,
        model: &mut Model,
        network: NetworkId,
        asked: &AttachRequest,
        options: EndpointOptions,
        namespace: Namespace,
        started: Instant,
    ) -> Result<AttachmentStatus, Error> {
        let id =
            free_id(|id: &EndpointId| model.endpoints().any(|other| other.id.host_end() == id.host_end()));
        let attached = Attached {
            id: asked.id.clone().unwrap_or_else(|| (&id).into()),
            name: asked.name.clone().unwrap_or_else(|| name_of(&asked.netns)),
            options: asked.options.clone(),
        };
        let endpoint = Endpoint {
            stage: Stage::Joined { sandbox: asked.netns.clone() },
            attached: Some(attached),
            namespace: namespace.cookie,
            ..self.new_endpoint(model, network, id, options)?
        };
        if let Some(known) = existing(model, &endpoint, asked.id.as_ref()) {
            refuse_another(model, known, &endpoint, asked)?;
            return self.outline_of(model, known);
        }
        refuse_taken_name(model, &endpoint)?;
        self.make_joined(model, &endpoint, started).inspect_err(|_| {
            model.remove_endpoint(&endpoint.id);
            self.store.remove_endpoint(&endpoint.id);
        })?;
        // The pair is made at the path, where another namespace may be by now: names and process IDs are used again.
        if self.cookie(&asked.netns) != endpoint.namespace {
            self.remove_member(model, &endpoint.id, Some(NAMESPACE_ENDED), started);
            return Err(Error::Refused(format!(
                "the network namespace at {} ended while it was being attached; if another one is there now, attach it again",
                asked.netns.display()
            )));
        }
        self.outline_of(model, &endpoint)
    }

    /// Takes a namespace off a bus, and returns what the attachment was.
    ///
    /// # Errors
    /// [`Code::UnknownAttachment`] if it is not there, which may be what the caller wants.
    pub fn detach(&self, which: &WhichAttachment) -> Result<AttachmentStatus, Error> {
        let started = Instant::now();
        let network = match which {
            WhichAttachment::Id { .. } => None,
            WhichAttachment::Place { bus, .. } => Some(self.bus_soon(bus)?),
        };
        self.signals.settle_at_least(SETTLE_CALL);
        let mut model = self.model.lock();
        let endpoint = match (which, network) {
            (WhichAttachment::Place { bus, netns, ifname }, Some(network)) => {
                let cookie = self.cookie(netns);
                let is_there =
                    |one: &&Endpoint| one.network == network && one.is_in(Some(netns.as_path()), cookie);
                let is_called =
                    |one: &&Endpoint| ifname.as_ref().is_none_or(|name| one.ifname.accepts(name.as_str()));
                let found: Vec<&Endpoint> = model.attachments().filter(is_there).filter(is_called).collect();
                one_of(&found, bus, netns)?.clone()
            }
            (WhichAttachment::Id { id }, _) => model.attachment(id).ok_or_else(|| unknown(id))?.clone(),
            (WhichAttachment::Place { bus, .. }, None) => return Err(unknown(bus)),
        };
        let status = outline(&model, &endpoint);
        self.remove_member(&mut model, &endpoint.id, None, started);
        Ok(status)
    }

    /// The bus of this name, which Docker's API may provide in a moment.
    pub(super) fn bus_soon(&self, bus: &str) -> Result<NetworkId, Error> {
        let is_unnamed = |model: &Model| model.networks().any(|network| network.name.is_none());
        let look = || {
            let model = self.model.lock();
            find(&model, bus)
                .map(|network| network.id.clone())
                .map_err(|why: Unknown| why.advice(&model, bus))
        };
        self.soon(is_unnamed, look).map_err(|why| Code::UnknownBus.because(why))
    }

    fn namespace_at(&self, netns: &Path) -> Result<Namespace, Error> {
        if !netns.is_absolute() {
            return Err(Error::Refused(format!(
                "{} is not an absolute path: name the namespace as /run/netns/NAME or /proc/PID/ns/net",
                netns.display()
            )));
        }
        if pid_of(netns).is_some() && is_alone() {
            return Err(no_namespace(netns));
        }
        let found = self.kernel.namespace(netns).map_err(|err| {
            Error::Refused(format!(
                "cannot enter {} as a network namespace: {err}; name one as /run/netns/NAME or /proc/PID/ns/net",
                netns.display()
            ))
        })?;
        let namespace = found.ok_or_else(|| no_namespace(netns))?;
        if namespace.is_host {
            return Err(Error::Refused(format!(
                "{} is the host's own network namespace, which is on every bus: use the bus's interface on the host, which `canhub bus ls` shows",
                netns.display()
            )));
        }
        Ok(namespace)
    }

    /// The endpoint of an attachment whose path no longer leads to its namespace.
    fn ended(&self, model: &Model, id: &AttachmentId) -> Option<EndpointId> {
        let endpoint = model.attachment(id)?;
        let joined = endpoint.namespace?;
        (self.cookie(endpoint.sandbox()?) != Some(joined)).then(|| endpoint.id.clone())
    }

    fn cookie(&self, netns: &Path) -> Option<Cookie> {
        self.kernel.namespace(netns).ok()??.cookie
    }
}

/// A random ID that is not taken.
pub(super) fn free_id<T: From<u64>>(is_taken: impl Fn(&T) -> bool) -> T {
    // The keys of each state are random.
    let random = || std::hash::RandomState::new().hash_one(0);
    std::iter::repeat_with(|| T::from(random())).find(|id| !is_taken(id)).unwrap_or_else(|| T::from(random()))
}

/// The options of the endpoint; `--ifname` is short for one of them.
fn endpoint_options(asked: &AttachRequest) -> Result<EndpointOptions, String> {
    let mut raw = asked.options.clone();
    if let Some(name) = &asked.ifname {
        let is_name =
            |key: &str| [DOCKER_IFNAME, "ifname", "vxcan.peer"].contains(&key.to_ascii_lowercase().as_str());
        if let Some((key, other)) = raw.iter().find(|(key, _)| is_name(key)) {
            return Err(format!(
                "option {key}={other}: the interface name is already given as {name}; remove one of them"
            ));
        }
        raw.insert("ifname".into(), name.to_string());
    }
    EndpointOptions::parse(&raw)
}

/// The attachment of this ID, or without one that of the same interface in the same namespace.
fn existing<'a>(model: &'a Model, wanted: &Endpoint, id: Option<&AttachmentId>) -> Option<&'a Endpoint> {
    let is_same = |known: &&Endpoint| {
        known.network == wanted.network
            && known.ifname == wanted.ifname
            && known.shares_namespace_with(wanted)
    };
    id.and_then(|id| model.attachment(id)).or_else(|| model.attachments().find(is_same))
}

/// Refuses a request that names an attachment which exists and is another.
fn refuse_another(
    model: &Model,
    known: &Endpoint,
    wanted: &Endpoint,
    asked: &AttachRequest,
) -> Result<(), Error> {
    let (now, then) = (outline(model, known), outline(model, wanted));
    let mut differs = Vec::new();
    let mut compare = |what: &str, is_same: bool, now: &str, then: &str| {
        differs.extend((!is_same).then(|| format!("{what} {now}, not {then}")));
    };
    compare("its id is", asked.id.is_none() || now.id == then.id, now.id.as_ref(), then.id.as_ref());
    compare("its bus is", known.network == wanted.network, &now.bus, &then.bus);
    let netns = |status: &AttachmentStatus| status.netns.display().to_string();
    compare("its namespace is", known.shares_namespace_with(wanted), &netns(&now), &netns(&then));
    compare("its interface is", known.ifname == wanted.ifname, &now.interface, &then.interface);
    compare("its name is", asked.name.is_none() || now.name == then.name, &now.name, &then.name);
    let settings = |one: &Endpoint| (one.rate, one.filters.clone(), one.shapes);
    let (own, other) = (words(&now.options), words(&then.options));
    compare("its options are", settings(known) == settings(wanted), &own, &other);
    if differs.is_empty() {
        return Ok(());
    }
    Err(Code::Exists.because(format!(
        "attachment {} exists already, and {}: `canhub detach {}` first, or attach with another id or interface name",
        now.id,
        differs.join(", "),
        now.id
    )))
}

/// `rate=125000 loss=1%`, or `none`.
pub(super) fn words(options: &RawOptions) -> String {
    let words: Vec<String> = options.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(" ") }
}

fn one_of<'a>(found: &[&'a Endpoint], bus: &str, netns: &Path) -> Result<&'a Endpoint, Error> {
    let netns = netns.display();
    match found {
        [one] => Ok(one),
        [] => Err(Code::UnknownAttachment.because(format!(
            "{netns} is not attached to bus {bus}; `canhub attach ls` lists what is attached"
        ))),
        several => {
            let names: Vec<String> = several.iter().map(|one| one.ifname.to_string()).collect();
            Err(Error::Refused(format!(
                "{netns} is on bus {bus} several times, as {}: say which with --ifname",
                names.join(", ")
            )))
        }
    }
}

pub(super) fn unknown(id: impl std::fmt::Display) -> Error {
    Code::UnknownAttachment
        .because(format!("there is no attachment {id}; `canhub attach ls` lists what is attached"))
}

pub(super) fn no_namespace(netns: &Path) -> Error {
    Error::Refused(why_not_there(netns, is_alone()))
}

fn why_not_there(netns: &Path, is_alone: bool) -> String {
    let path = netns.display();
    match (pid_of(netns), is_alone) {
        (Some(pid), true) => format!(
            "cannot attach process {pid}: as a managed plugin, or in a container, canhub sees no process of the host; install it as a service instead"
        ),
        (None, true) => format!(
            "there is no network namespace at {path}, as canhub sees it: as a managed plugin it sees those of Docker's containers only; install it as a service for others"
        ),
        (Some(pid), false) => {
            format!("there is no process {pid}: it has ended, or runs in another PID namespace than canhub")
        }
        (None, false) => format!(
            "there is no network namespace at {path}, as canhub sees it: `ip netns` lists those of /run/netns, and that of a process is /proc/PID/ns/net"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_managed_plugin_says_that_only_the_service_sees_the_host() {
        for (netns, words) in [
            ("/proc/4711/ns/net", "cannot attach process 4711: as a managed plugin"),
            ("/run/netns/ecu1", "at /run/netns/ecu1, as canhub sees it: as a managed plugin"),
        ] {
            let (alone, beside) =
                (why_not_there(Path::new(netns), true), why_not_there(Path::new(netns), false));
            assert!(alone.contains(words) && alone.contains("as a service"), "{alone}");
            assert!(!beside.contains("plugin"), "{beside}");
        }
    }
}
