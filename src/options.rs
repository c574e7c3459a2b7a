//! Driver options of networks and endpoints, parsed and validated.
//!
//! Keys and keyword values are case-insensitive, because `docker run --network name=n,driver-opt=K=V` lower-cases both.
//! Every error names the key, the value, what is allowed, and the closest known key.

mod span;

use std::collections::BTreeMap;

use crate::{
    adapter::{self, Adapter, Settings},
    filters::{Filters, IdList},
    kernel::{CAN_MTU, CANFD_MTU, CANXL_MTU},
    names::IfName,
    pace::Rate,
    shape::Shapes,
    suggest::did_you_mean,
};

pub use span::SpanOptions;

/// Docker's own endpoint option for an interface name (compose `interface_name`).
pub const DOCKER_IFNAME: &str = "com.docker.network.endpoint.ifname";
/// Prefix of Docker's own options; those that canhub does not use are ignored.
const DOCKER_PREFIX: &str = "com.docker.";

const KEYS: &[&str] = &[
    "hub",
    "adapter",
    "adapter-wait",
    "allow-rx",
    "allow-tx",
    "ifname",
    "frames",
    "heal",
    "rate",
    "span",
    "span-age",
    "span-bridge",
    "vxcan.dev",
    "vxcan.id",
    "vxcan.peer",
];

/// What to do about the interface name of an attachment, however it is attached.
pub const NAME_ANOTHER: &str =
    "choose another interface name, with --ifname, Podman's interface_name, or \"interface\" of CNI";

const ENDPOINT_KEYS: &[&str] = &[DOCKER_IFNAME, "allow-rx", "allow-tx", "ifname", "rate", "vxcan.peer"];

/// Options as Docker sends them and as the state file stores them.
pub type RawOptions = BTreeMap<String, String>;

/// The keys of all options of a network.
pub fn network_keys() -> impl Iterator<Item = &'static str> {
    KEYS.iter().chain(&Shapes::KEYS).chain(&adapter::KEYS).copied()
}

/// The options of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkOptions {
    /// The interface on the host.
    pub hub: HubChoice,
    /// The interface name in containers.
    pub ifname: Naming,
    /// The frames that the bus carries.
    pub frames: Frames,
    /// Whether faults are repaired (`on`) or only reported (`off`).
    pub heal: bool,
    /// The settings of the adapter; empty if there is none.
    pub settings: Settings,
    /// Whether containers may start while the adapter is missing (`on`), or are refused (`fail`).
    pub adapter_wait: bool,
    /// The rate of containers; `None`: the bitrate of the adapter, if there is one.
    pub rate: Option<Rate>,
    /// What containers may send and hear.
    pub filters: Filters,
    /// What happens to the frames of containers.
    pub shapes: Shapes,
    /// The span that makes this bus one with those of other hosts.
    pub span: Option<SpanOptions>,
}

/// The options of an endpoint, which override the network's for one container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointOptions {
    /// The interface name in the container.
    pub ifname: Option<Naming>,
    /// The rate of the container.
    pub rate: Option<Rate>,
    /// What the container may send and hear.
    pub filters: Filters,
    /// What happens to the container's frames.
    pub shapes: Shapes,
}

/// The interface of a bus on the host, as requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubChoice {
    /// A vcan with a name derived from the network ID.
    Made,
    /// A vcan of this name, created and owned by canhub.
    Named(IfName),
    /// An existing interface, not owned by canhub.
    Adapter(Adapter),
    /// As in rustycan4docker: the existing interface of this name, or else a vcan that canhub creates.
    Shared(IfName),
}

/// The interface name in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Naming {
    /// Exactly this name.
    Exact(IfName),
    /// This prefix and the lowest number that is free in the container.
    Prefix(IfName),
}

/// The frames that a bus carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frames {
    /// Classic CAN frames, up to 8 bytes.
    Classic,
    /// Classic and FD frames, up to 64 bytes.
    Fd,
    /// The interfaces also accept CAN XL frames, but no kernel so far has a can-gw that forwards them.
    Xl,
}

impl Frames {
    /// The MTU of the interfaces that canhub creates, in bytes.
    pub fn mtu(self) -> u32 {
        match self {
            Self::Classic => CAN_MTU,
            Self::Fd => CANFD_MTU,
            Self::Xl => CANXL_MTU,
        }
    }

    /// The value of the option `frames`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Fd => "fd",
            Self::Xl => "xl",
        }
    }
}

impl NetworkOptions {
    /// Parses the options of `docker network create`.
    ///
    /// # Errors
    /// One sentence that names the option, the value and what to do.
    pub fn parse(raw: &RawOptions) -> Result<Self, String> {
        let keys: Vec<&str> = network_keys().collect();
        let options = known(raw, &keys)?;
        let get = |key: &str| options.get(key).copied();
        let hub = match (get("hub"), get("adapter"), vxcan_hub(&options)?) {
            (None, None, None) => HubChoice::Made,
            (Some(name), None, None) => HubChoice::Named(ifname("hub", name)?),
            (None, Some(adapter), None) => {
                HubChoice::Adapter(adapter.parse().map_err(|why| format!("option adapter={adapter}: {why}"))?)
            }
            (None, None, Some(name)) => HubChoice::Shared(name),
            (Some(hub), Some(adapter), _) => {
                return Err(format!(
                    "options hub={hub} and adapter={adapter} are mutually exclusive: hub is a vcan that canhub \
                     creates, adapter is an existing interface; remove one of them"
                ));
            }
            (_, _, Some(_)) => {
                return Err(
                    "options vxcan.dev, vxcan.id and vxcan.peer cannot be combined with hub or adapter: \
                            use either rustycan4docker's options or canhub's"
                        .into(),
                );
            }
        };
        let ifname = match (get("ifname"), &hub) {
            (Some(name), _) => Naming::Exact(ifname("ifname", name)?),
            (None, HubChoice::Shared(_)) => prefix(get("vxcan.peer").unwrap_or("vcanp"))?,
            (None, _) => Naming::Exact(ifname("ifname", "can0")?),
        };
        let frames = frames(get("frames"))?;
        let settings = Settings::parse(&options)?;
        if !matches!(hub, HubChoice::Adapter(_))
            && let Some((key, value)) =
                options.iter().find(|(key, _)| adapter::KEYS.contains(key) || **key == "adapter-wait")
        {
            return Err(format!(
                "option {key}={value}: only valid with an adapter; add adapter=can0 or remove {key}"
            ));
        }
        if let (Frames::Classic, Some(rate)) = (frames, settings.dbitrate) {
            return Err(format!(
                "option dbitrate={rate}: conflicts with frames=classic, because only FD frames have a data phase; remove one of them"
            ));
        }
        let adapter_wait = match get("adapter-wait").map(str::to_ascii_lowercase).as_deref() {
            None | Some("on") => true,
            Some("fail") => false,
            Some(other) => return Err(format!("option adapter-wait={other}: must be on or fail")),
        };
        let rate = get("rate").map(rate).transpose()?;
        within_bitrate(rate, &settings)?;
        let filters = filters(&options)?;
        filters.fit(&filters)?;
        let shapes = Shapes::parse(&options)?;
        shapes.check().map_err(|why| format!("option {why}"))?;
        let span = SpanOptions::parse(&options)?;
        Ok(Self {
            hub,
            ifname,
            frames,
            heal: on_off("heal", get("heal"))?,
            settings,
            adapter_wait,
            rate,
            filters,
            shapes,
            span,
        })
    }
}

impl EndpointOptions {
    /// Parses the options of an endpoint.
    ///
    /// # Errors
    /// As [`NetworkOptions::parse`].
    pub fn parse(raw: &RawOptions) -> Result<Self, String> {
        let keys = [ENDPOINT_KEYS, &Shapes::KEYS].concat();
        let is_of_the_bus = |key: &str| !keys.contains(&key) && network_keys().any(|known| known == key);
        if let Some((key, value)) = raw.iter().find(|(key, _)| is_of_the_bus(&key.to_ascii_lowercase())) {
            return Err(format!(
                "option {key}={value}: it is an option of the whole bus; give it to `docker network create`, `podman network create` or `canhub bus create`"
            ));
        }
        let options = known(raw, &keys)?;
        let get = |key: &str| options.get(key).copied();
        let exact = [DOCKER_IFNAME, "ifname"].into_iter().find_map(|key| Some((key, get(key)?)));
        let ifname = match exact {
            Some((key, name)) => Some(Naming::Exact(ifname(key, name)?)),
            None => get("vxcan.peer").map(prefix).transpose()?,
        };
        Ok(Self {
            ifname,
            rate: get("rate").map(rate).transpose()?,
            filters: filters(&options)?,
            shapes: Shapes::parse(&options)?,
        })
    }
}

/// Rejects a rate above the bitrate that the network sets.
///
/// # Errors
/// One sentence that names both.
pub fn within_bitrate(rate: Option<Rate>, settings: &Settings) -> Result<(), String> {
    match (rate, settings.bitrate) {
        (Some(Rate::Bits(rate)), Some(bitrate)) if rate > bitrate => {
            Err(format!("option rate={rate}: must not be higher than bitrate={bitrate}"))
        }
        _ => Ok(()),
    }
}

fn rate(value: &str) -> Result<Rate, String> {
    value.parse().map_err(|why| format!("option rate={value}: {why}"))
}

fn filters(options: &BTreeMap<&str, &str>) -> Result<Filters, String> {
    let list = |key: &str| -> Result<Option<IdList>, String> {
        let Some(value) = options.get(key) else { return Ok(None) };
        value.parse().map(Some).map_err(|why| format!("option {key}={value}: {why}"))
    };
    Ok(Filters { tx: list("allow-tx")?, rx: list("allow-rx")?, lost: false })
}

/// Whether this is a name that the kernel gives to hardware. canhub waits for such an interface and never creates it.
pub fn looks_like_hardware(name: &IfName) -> bool {
    name.is_numbered(&["can", "slcan"])
}

/// Lower-cases keys, rejects unknown ones, and skips Docker's own.
fn known<'a>(raw: &'a RawOptions, keys: &[&'static str]) -> Result<BTreeMap<&'static str, &'a str>, String> {
    let mut options = BTreeMap::new();
    for (key, value) in raw {
        let lower = key.to_ascii_lowercase();
        let Some(&known) = keys.iter().find(|known| **known == lower) else {
            if lower.starts_with(DOCKER_PREFIX) {
                continue;
            }
            return Err(unknown(key, value, &lower, keys));
        };
        let value = value.trim();
        if value.contains(',') {
            return Err(format!(
                "option {known}={value}: the value must not contain a comma, because Docker splits values there"
            ));
        }
        if options.insert(known, value).is_some_and(|other| other != value) {
            return Err(format!("option {known} is given twice with different values: remove one"));
        }
    }
    Ok(options)
}

fn unknown(key: &str, value: &str, lower: &str, keys: &[&str]) -> String {
    let (nearest, allowed) = (did_you_mean(lower, keys), keys.join(", "));
    format!("option {key}={value}: unknown option {key:?}{nearest}; valid options: {allowed}")
}

fn vxcan_hub(options: &BTreeMap<&str, &str>) -> Result<Option<IfName>, String> {
    if !["vxcan.dev", "vxcan.id", "vxcan.peer"].iter().any(|key| options.contains_key(key)) {
        return Ok(None);
    }
    let dev = options.get("vxcan.dev").copied().unwrap_or("vcan");
    let id = options.get("vxcan.id").copied().unwrap_or("0");
    ifname("vxcan.dev + vxcan.id", &format!("{dev}{id}")).map(Some)
}

fn ifname(key: &str, value: &str) -> Result<IfName, String> {
    if value == "lo" {
        return Err(format!(
            "option {key}={value}: the host and every container have an interface lo already; use a name like can0 or vcan-body"
        ));
    }
    value.parse().map_err(|why| format!("option {key}={value}: {why}; use a name like can0 or vcan-body"))
}

fn prefix(value: &str) -> Result<Naming, String> {
    let name = ifname("vxcan.peer", value)?;
    if value.len() > 12 {
        return Err(format!(
            "option vxcan.peer={value}: must have at most 12 bytes, to leave room for a number"
        ));
    }
    Ok(Naming::Prefix(name))
}

fn frames(value: Option<&str>) -> Result<Frames, String> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        None | Some("fd") => Ok(Frames::Fd),
        Some("classic") => Ok(Frames::Classic),
        Some("xl") => Ok(Frames::Xl),
        Some(other) => Err(format!("option frames={other}: must be classic, fd or xl")),
    }
}

fn on_off(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        None | Some("on" | "true") => Ok(true),
        Some("off" | "false") => Ok(false),
        Some(other) => Err(format!("option {key}={other}: must be on or off")),
    }
}

#[cfg(test)]
mod tests;
