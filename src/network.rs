//! A network: one Docker network is one bus.
//!
//! Also the alias of links that canhub owns. It holds what is needed to identify the bus, so that after the loss of the
//! state file everything that still exists can be adopted.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    adapter::Adapter,
    attachment::Attached,
    endpoint::{Endpoint, Stage},
    filters::Filters,
    names::{AttachmentId, BusName, EndpointId, IfName, NetworkId},
    options::{HubChoice, Naming, NetworkOptions, RawOptions, SpanOptions, looks_like_hardware},
    pace::Rate,
    shape::Shapes,
};

/// A bus as requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Docker's ID, or canhub's own.
    pub id: NetworkId,
    /// The options as they were given.
    pub raw: RawOptions,
    /// The parsed options.
    pub options: NetworkOptions,
    /// Docker knows the network but canhub has lost its record: the options are defaults until Docker's API provides them.
    pub provisional: bool,
    /// It was made for an attachment, and is removed with the last one.
    pub transient: bool,
    /// The state of its adapter before canhub first changed it.
    pub found: Option<Found>,
    /// The network name. Docker does not send it to drivers, so it comes from Docker's API, and is saved for the log of
    /// the next boot. A bus that canhub made always has one.
    pub name: Option<String>,
    /// The engine (`ID` of `docker info`) that listed it last. No other engine's list can say that it is gone.
    pub engine: Option<String>,
}

/// The original state of an adapter, to be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The original values of the settings that canhub was asked to change, as options.
    pub settings: RawOptions,
    /// Whether it was up.
    pub up: bool,
}

/// The interface of a bus on the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hub {
    /// A vcan that canhub creates, maintains and deletes.
    Owned(IfName),
    /// An existing interface: never created and never deleted by canhub.
    Adapter(Adapter),
    /// As in rustycan4docker: an existing interface, or else a vcan that canhub creates.
    Shared(IfName),
}

impl Hub {
    /// The name of its interface; `None` for an adapter that is selected by hardware identity.
    pub fn name(&self) -> Option<&IfName> {
        match self {
            Self::Owned(name) | Self::Shared(name) | Self::Adapter(Adapter::Name(name)) => Some(name),
            Self::Adapter(Adapter::Known { .. }) => None,
        }
    }

    /// Who owns it.
    pub fn ownership(&self) -> Ownership {
        match self {
            Self::Owned(_) => Ownership::Owned,
            Self::Adapter(_) => Ownership::Adapter,
            Self::Shared(_) => Ownership::Shared,
        }
    }
}

/// Who owns a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ownership {
    /// canhub creates, maintains and deletes it.
    Owned,
    /// An existing interface: never created and never deleted by canhub.
    Adapter,
    /// As in rustycan4docker: an existing interface, or else a vcan that canhub creates.
    Shared,
}

impl fmt::Display for Hub {
    /// Its name, or the selector of the adapter.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owned(name) | Self::Shared(name) => write!(f, "{name}"),
            Self::Adapter(adapter) => write!(f, "{adapter}"),
        }
    }
}

impl Network {
    /// A network with the options that Docker sent.
    ///
    /// # Errors
    /// The sentence of [`NetworkOptions::parse`].
    pub fn new(id: NetworkId, raw: RawOptions) -> Result<Self, String> {
        let options = NetworkOptions::parse(&raw)?;
        Ok(Self {
            id,
            raw,
            options,
            provisional: false,
            transient: false,
            found: None,
            name: None,
            engine: None,
        })
    }

    /// A bus that canhub makes.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn made(id: NetworkId, name: &BusName, raw: RawOptions) -> Result<Self, String> {
        Ok(Self { name: Some(name.to_string()), ..Self::new(id, raw)? })
    }

    /// A network that Docker knows but canhub has no record of.
    ///
    /// # Errors
    /// None in practice: no options parse as the defaults.
    pub fn provisional(id: NetworkId) -> Result<Self, String> {
        Ok(Self { provisional: true, ..Self::new(id, RawOptions::new())? })
    }

    /// This network; `lost`: it has `allow-tx` or `allow-rx`, but their record is lost.
    pub fn with_lists_lost(mut self, lost: bool) -> Self {
        self.options.filters.lost = lost;
        self
    }

    /// What happens to the frames of this endpoint's container.
    pub fn shapes_of(&self, endpoint: &Endpoint) -> Shapes {
        let shapes = endpoint.shapes.or(&self.options.shapes);
        // Whether its options are known or not, a provisional network has only defaults so far.
        Shapes { lost: shapes.lost || self.provisional, ..shapes }
    }

    /// Its name, if canhub made it. Docker's names are not canhub's to keep.
    fn made_name(&self) -> Option<&str> {
        self.name.as_deref().filter(|_| self.id.is_made())
    }

    /// The interface of this bus on the host.
    pub fn hub(&self) -> Hub {
        match &self.options.hub {
            HubChoice::Made => Hub::Owned(self.id.hub_name()),
            HubChoice::Named(name) => Hub::Owned(name.clone()),
            HubChoice::Adapter(adapter) => Hub::Adapter(adapter.clone()),
            // If the hardware is late at boot, a vcan with its name would be a bus without hardware.
            HubChoice::Shared(name) if looks_like_hardware(name) => Hub::Adapter(Adapter::Name(name.clone())),
            HubChoice::Shared(name) => Hub::Shared(name.clone()),
        }
    }

    /// The alias of this bus's hub.
    pub fn hub_alias(&self) -> String {
        let span = self.options.span.as_ref().map(SpanOptions::words).unwrap_or_default();
        let mut alias = self.alias(false) + &span;
        // Docker's API tells the names of its networks. A name of full length may not fit; then the ID has to do.
        if let Some(name) = self.made_name().map(|name| format!(" bus={name}"))
            && alias.len() + name.len() + SPAN_PORT_WORDS <= ALIAS_MAX
        {
            alias.push_str(&name);
        }
        alias
    }

    /// The alias of both ends of this bus's span port; `None` if it has none. On a bus of an adapter, no other alias names
    /// the span.
    pub fn span_port_alias(&self) -> Option<String> {
        self.options.span.as_ref().map(|_| format!("{} ep={SPAN_PORT}", self.hub_alias()))
    }

    /// The words about the network. `lacks`: whether they are to say that options are missing among them.
    fn alias(&self, lacks: bool) -> String {
        let hub_word = match &self.options.hub {
            HubChoice::Made => String::new(),
            HubChoice::Named(name) => format!(" hub={name}"),
            HubChoice::Adapter(Adapter::Name(name)) => format!(" adapter={name}"),
            HubChoice::Adapter(Adapter::Known { .. }) => String::new(),
            HubChoice::Shared(name) => format!(" vxcan={name}"),
        };
        let options = &self.options;
        let heal = if options.heal { "" } else { " heal=off" };
        let known = matches!(options.hub, HubChoice::Adapter(Adapter::Known { .. }));
        let more = known
            || !options.settings.is_empty()
            || !options.adapter_wait
            || options.rate.is_some()
            || !options.shapes.say_nothing()
            || lacks;
        let more = match (more, options.filters.are_open()) {
            (_, false) => MORE_WITH_LISTS,
            (true, true) => " more",
            (false, true) => "",
        };
        format!(
            "canhub net={}{hub_word} name={} frames={}{heal}{more}",
            self.id,
            options.ifname,
            options.frames.as_str()
        )
    }

    /// The alias of both ends of an endpoint's pair.
    pub fn pair_alias(&self, endpoint: &Endpoint) -> String {
        // There is no room for the name of a span here.
        let network = self.alias(self.options.span.is_some());
        let mut alias = format!("{network} ep={} if={}", endpoint.id, endpoint.ifname);
        // There is no room for lists, but they must not be forgotten: without them the container could send anything.
        if !endpoint.filters.are_open() {
            alias.push_str(OWN_LISTS);
        }
        if let Some(path) = endpoint.sandbox() {
            let sandbox = format!(" sb={}", path.strip_prefix(DOCKER_NETNS).unwrap_or(path).display());
            // Without Docker's folder this always fits; a longer path is set again at the next Join.
            if alias.len() + sandbox.len() <= ALIAS_MAX {
                alias.push_str(&sandbox);
            }
        }
        // Without it, the attachment gets its endpoint's ID.
        if let Some(id) = endpoint.attached.as_ref().map(|attached| format!(" at={}", attached.id))
            && alias.len() + id.len() <= ALIAS_MAX
        {
            alias.push_str(&id);
        }
        // It fits unless all names have their full length; otherwise the network's rate is used instead.
        if let Some(rate) = endpoint.rate.map(|rate| format!(" rate={rate}"))
            && alias.len() + rate.len() <= ALIAS_MAX
        {
            alias.push_str(&rate);
        }
        // As the rate. What the kernel does to the frames then stays as it is.
        if !endpoint.shapes.say_nothing() && alias.len() + OWN_SHAPES.len() <= ALIAS_MAX {
            alias.push_str(OWN_SHAPES);
        }
        alias
    }
}

/// The kernel's `IFALIASZ`, less the trailing NUL and the twelve bytes that tell two canhubs apart.
const ALIAS_MAX: usize = 243;
/// The folder of nearly every `SandboxKey`, omitted from aliases to save space.
const DOCKER_NETNS: &str = "/var/run/docker/netns";

/// Like `more`; `allow-tx` or `allow-rx` of the network is among the options that are missing. It is as short as that, because
/// both words must fit into the alias of a pair in any case.
const MORE_WITH_LISTS: &str = " moreids";
/// The endpoint has lists of its own.
const OWN_LISTS: &str = " ids";
/// The endpoint has shapes of its own.
const OWN_SHAPES: &str = " shaped";
/// The bytes that the alias of a span port adds to that of its hub.
const SPAN_PORT_WORDS: usize = " ep=".len() + SPAN_PORT.len();
/// Stands for the ID of a span port in an alias, for which there is no room.
const SPAN_PORT: &str = "span";

/// The content of an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The network that the link belongs to.
    pub network: NetworkId,
    /// Its name, if canhub made it and it fits.
    pub name: Option<String>,
    /// Its options, as far as they fit.
    pub options: RawOptions,
    /// Whether it has options that are not in the alias: the adapter's selector and settings, or on a container's pair the
    /// span.
    pub more: bool,
    /// Whether `allow-tx` or `allow-rx` is among these.
    pub lists: bool,
    /// The endpoint that the pair belongs to; `None` for a hub.
    pub endpoint: Option<AliasEndpoint>,
}

/// The part of a pair's alias about its endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasEndpoint {
    /// Docker's ID.
    pub id: EndpointId,
    /// The interface name in the container.
    pub ifname: Naming,
    /// The container's sandbox, if it fitted.
    pub sandbox: Option<PathBuf>,
    /// The requested rate of the container, if it fitted.
    pub rate: Option<Rate>,
    /// Whether it has lists of its own, which never fit.
    pub lists: bool,
    /// Whether it has shapes of its own, which never fit either.
    pub shapes: bool,
    /// The ID of the attachment, if it fits and Docker did not create the endpoint.
    pub attached: Option<AttachmentId>,
}

impl Alias {
    /// Parses an alias; `None` if it is not one of canhub.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        if words.next()? != "canhub" {
            return None;
        }
        let words: Vec<&str> = words.collect();
        let has = |word: &str| words.contains(&word.trim_start());
        let (lists, own_lists, own_shapes) = (has(MORE_WITH_LISTS), has(OWN_LISTS), has(OWN_SHAPES));
        let more = lists || has("more");
        let words: Vec<(&str, &str)> = words.iter().filter_map(|word| word.split_once('=')).collect();
        let get =
            |key: &str| words.iter().find(|(word, _)| *word == key).map(|(_, value)| (*value).to_owned());
        let mut options = RawOptions::new();
        for key in ["hub", "adapter", "frames", "heal", "span", "span-age", "span-bridge"] {
            options.extend(get(key).map(|value| (key.to_owned(), value)));
        }
        if let Some(name) = get("vxcan") {
            options.extend([("vxcan.dev".to_owned(), name), ("vxcan.id".to_owned(), String::new())]);
        }
        options.extend(get("name").map(|name| match name.strip_suffix('*') {
            Some(prefix) => ("vxcan.peer".to_owned(), prefix.to_owned()),
            None => ("ifname".to_owned(), name),
        }));
        let network: NetworkId = get("net")?.try_into().ok()?;
        let endpoint = match get("ep") {
            None => None,
            Some(id) if id == SPAN_PORT => Some(AliasEndpoint::of_span_port(&network)),
            Some(id) => Some(AliasEndpoint {
                id: id.try_into().ok()?,
                ifname: get("if")?.parse().ok()?,
                // An absolute path replaces the folder.
                sandbox: get("sb").map(|path| PathBuf::from(DOCKER_NETNS).join(path)),
                rate: get("rate").and_then(|rate| rate.parse().ok()),
                lists: own_lists,
                shapes: own_shapes,
                attached: get("at").and_then(|id| id.try_into().ok()),
            }),
        };
        let name = get("bus").filter(|_| network.is_made());
        Some(Self { network, name, options, more, lists, endpoint })
    }
}

impl AliasEndpoint {
    fn of_span_port(network: &NetworkId) -> Self {
        let id = EndpointId::of_span_port(network);
        let ifname = Naming::Exact(id.container_end());
        Self { id, ifname, sandbox: None, rate: None, lists: false, shapes: false, attached: None }
    }

    /// The endpoint that the alias describes.
    pub fn into_endpoint(self, network: NetworkId) -> Endpoint {
        let attached = self.id.is_attached().then(|| Attached::recovered(&self));
        let stage = self.sandbox.map_or(Stage::Left, |sandbox| Stage::Joined { sandbox });
        let filters = Filters { lost: self.lists, ..Filters::default() };
        let shapes = Shapes { lost: self.shapes, ..Shapes::default() };
        Endpoint {
            id: self.id,
            network,
            ifname: self.ifname,
            rate: self.rate,
            filters,
            shapes,
            stage,
            attached,
            namespace: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(options: &[(&str, &str)]) -> Network {
        let raw = options.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        Network::new("e189".repeat(16).try_into().unwrap(), raw).unwrap()
    }

    fn endpoint(network: &Network, ifname: &str) -> Endpoint {
        Endpoint {
            id: "0123456789abcdef".repeat(4).try_into().unwrap(),
            network: network.id.clone(),
            ifname: ifname.parse().unwrap(),
            rate: None,
            filters: Filters::default(),
            shapes: Shapes::default(),
            stage: Stage::Joined { sandbox: "/var/run/docker/netns/234422f80b09".into() },
            attached: None,
            namespace: None,
        }
    }

    #[test]
    fn an_alias_can_replace_a_lost_state_file() {
        for options in [
            &[][..],
            &[
                ("hub", "fifteen-bytes-x"),
                ("frames", "classic"),
                ("heal", "off"),
                ("ifname", "fifteen-bytes-y"),
            ],
            &[("adapter", "can0")],
            &[("vxcan.dev", "vcan"), ("vxcan.id", "7"), ("vxcan.peer", "ecu")],
            &[
                ("adapter", "fifteen-bytes-x"),
                ("frames", "classic"),
                ("heal", "off"),
                ("ifname", "fifteen-bytes-y"),
                ("span", "thirty-two-bytes-thirty-two-byte"),
                ("span-age", "59999ms"),
                ("span-bridge", "on"),
            ],
        ] {
            let network = network(options);
            let hub = Alias::parse(&network.hub_alias()).unwrap();
            let again = Network::new(hub.network, hub.options).unwrap();
            assert_eq!((&again.id, &again.options), (&network.id, &network.options), "{options:?}");
            assert_eq!(hub.endpoint, None);

            let endpoint = endpoint(&network, "fifteen-bytes-z");
            let alias = network.pair_alias(&endpoint);
            assert!(alias.len() <= ALIAS_MAX, "{} bytes: {alias}", alias.len());
            let pair = Alias::parse(&alias).unwrap();
            let spanless = NetworkOptions { span: None, ..network.options.clone() };
            assert_eq!(Network::new(pair.network, pair.options).unwrap().options, spanless);
            assert_eq!(pair.more, network.options.span.is_some(), "{alias}");
            let Some(alias) = network.span_port_alias() else {
                assert_eq!(pair.endpoint.unwrap().into_endpoint(network.id.clone()), endpoint);
                continue;
            };
            assert!(alias.len() <= ALIAS_MAX, "{} bytes: {alias}", alias.len());
            let port = Alias::parse(&alias).unwrap();
            assert_eq!(Network::new(port.network, port.options).unwrap().options, network.options);
            assert!(port.endpoint.is_some_and(|endpoint| endpoint.id.is_span_port()) && !port.more);
        }
        let network = network(&[]);
        let paced = Endpoint { rate: Some(Rate::Bits(125_000)), ..endpoint(&network, "can0") };
        let alias = Alias::parse(&network.pair_alias(&paced)).unwrap();
        assert_eq!(alias.endpoint.unwrap().into_endpoint(network.id.clone()), paced);
        for own in ["none", "!7DF"] {
            let network = self::network(&[
                ("allow-rx", "123"),
                ("adapter", "fifteen-bytes-x"),
                ("frames", "classic"),
                ("heal", "off"),
                ("ifname", "fifteen-bytes-y"),
            ]);
            let filters = Filters { tx: Some(own.parse().unwrap()), ..Filters::default() };
            let listed = Endpoint { filters, ..endpoint(&network, "fifteen-bytes-z") };
            let text = network.pair_alias(&listed);
            assert!(text.len() <= ALIAS_MAX, "{} bytes: {text}", text.len());
            let alias = Alias::parse(&text).unwrap();
            assert!(alias.more && alias.lists, "{text}");
            let again = alias.endpoint.unwrap().into_endpoint(network.id.clone());
            assert!(again.filters.lost, "{text}");
            assert!(network.pair_alias(&again).contains(" ids"), "it is not forgotten either");
            let lost = Network::new(network.id.clone(), alias.options).unwrap().with_lists_lost(alias.lists);
            assert!(Alias::parse(&lost.hub_alias()).unwrap().lists);
        }
        assert!(Alias::parse(&self::network(&[("rate", "off")]).hub_alias()).unwrap().more);
    }

    #[test]
    fn foreign_aliases_are_not_parsed() {
        for alias in ["", "canhub", "canhubs net=a", "my canhub net=a", "canhub net=../..", "uplink"] {
            assert_eq!(Alias::parse(alias), None, "{alias:?}");
        }
    }

    #[test]
    fn a_vcan_never_replaces_a_missing_adapter() {
        let hub = |dev| network(&[("vxcan.dev", dev), ("vxcan.id", "0")]).hub();
        assert_eq!(hub("can"), Hub::Adapter("can0".parse().unwrap()));
        assert_eq!(hub("vcan"), Hub::Shared("vcan0".parse().unwrap()));
    }
}
