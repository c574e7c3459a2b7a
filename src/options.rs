//! Driver options of networks and endpoints, parsed and validated.
//!
//! Keys and keyword values are case-insensitive, because `docker run --network name=n,driver-opt=K=V` lower-cases both.
//! Every error names the key, the value, what is allowed, and the closest known key.

use std::collections::BTreeMap;

use crate::{
    adapter::{self, Adapter, Settings},
    kernel::{CAN_MTU, CANFD_MTU, CANXL_MTU},
    names::IfName,
    suggest::did_you_mean,
};

/// Docker's own endpoint option for an interface name (compose `interface_name`).
pub const DOCKER_IFNAME: &str = "com.docker.network.endpoint.ifname";
/// Prefix of Docker's own options; those that canhub does not use are ignored.
const DOCKER_PREFIX: &str = "com.docker.";

const KEYS: &[&str] =
    &["hub", "adapter", "adapter-wait", "ifname", "frames", "heal", "vxcan.dev", "vxcan.id", "vxcan.peer"];
const ENDPOINT_KEYS: &[&str] = &[DOCKER_IFNAME, "ifname", "vxcan.peer"];
/// Keys whose meaning is settled but which are not implemented yet.
const NOT_YET: &[&str] = &["allow-rx", "allow-tx", "rate", "delay", "loss", "span"];

/// Options as Docker sends them and as the state file stores them.
pub type RawOptions = BTreeMap<String, String>;

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
        let keys: Vec<&str> = KEYS.iter().chain(&adapter::KEYS).copied().collect();
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
        Ok(Self { hub, ifname, frames, heal: on_off("heal", get("heal"))?, settings, adapter_wait })
    }
}

/// Parses the interface name that an endpoint asks for, if any.
///
/// # Errors
/// As [`NetworkOptions::parse`].
pub fn parse_endpoint(raw: &RawOptions) -> Result<Option<Naming>, String> {
    let options = known(raw, ENDPOINT_KEYS)?;
    let get = |key: &str| options.get(key).copied();
    if let Some((key, name)) = [DOCKER_IFNAME, "ifname"].into_iter().find_map(|key| Some((key, get(key)?))) {
        return Ok(Some(Naming::Exact(ifname(key, name)?)));
    }
    get("vxcan.peer").map(prefix).transpose()
}

/// Whether this is a name that the kernel gives to hardware. canhub waits for such an interface and never creates it.
pub fn looks_like_hardware(name: &IfName) -> bool {
    let name = name.as_str();
    ["can", "slcan"].iter().any(|kind| {
        name.strip_prefix(kind)
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    })
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
    if NOT_YET.contains(&lower) {
        return format!(
            "option {key}={value}: not supported by this version of canhub; the name is reserved"
        );
    }
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
mod tests {
    use super::*;

    fn raw(pairs: &[(&str, &str)]) -> RawOptions {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    fn name(text: &str) -> IfName {
        text.parse().unwrap()
    }

    #[test]
    fn defaults_are_a_vcan_and_can0_for_classic_and_fd_frames() {
        let options = NetworkOptions::parse(&raw(&[])).unwrap();
        assert_eq!(
            options,
            NetworkOptions {
                hub: HubChoice::Made,
                ifname: Naming::Exact(name("can0")),
                frames: Frames::Fd,
                heal: true,
                settings: Settings::default(),
                adapter_wait: true,
            }
        );
    }

    #[test]
    fn keys_and_keyword_values_are_case_insensitive() {
        let options =
            NetworkOptions::parse(&raw(&[("Hub", "vcan-Body"), ("FRAMES", "Classic"), ("Heal", "OFF")]))
                .unwrap();
        assert_eq!(options.hub, HubChoice::Named(name("vcan-Body")));
        assert_eq!((options.frames, options.heal), (Frames::Classic, false));
    }

    #[test]
    fn every_error_names_the_option_the_value_and_what_to_do() {
        for (options, words) in [
            (&[("hubb", "x")][..], &["hubb=x", "did you mean hub?", "adapter"][..]),
            (&[("wombat", "1")], &["wombat=1", "valid options: hub"]),
            (&[("rate", "5")], &["rate=5", "not supported by this version"]),
            (&[("bitrate", "500000")], &["bitrate=500000", "only valid with an adapter", "adapter=can0"]),
            (&[("adapter", "can0"), ("bitrate", "fast")], &["bitrate=fast", "like 500000"]),
            (&[("adapter", "usb:1")], &["adapter=usb:1", "four hex digits"]),
            (&[("adapter", "can0"), ("adapter-wait", "off")], &["adapter-wait=off", "on or fail"]),
            (&[("adapter", "can0"), ("bitrat", "1")], &["bitrat=1", "did you mean bitrate?"]),
            (&[("hub", "a-name-of-16-byt")], &["hub=a-name-of-16-byt", "16 bytes", "allows 15"]),
            (&[("ifname", "can/0")], &["ifname=can/0", "'/'"]),
            (&[("hub", "a"), ("adapter", "can0")], &["hub=a", "adapter=can0", "mutually exclusive"]),
            (&[("hub", "a"), ("vxcan.id", "1")], &["vxcan.id", "cannot be combined with hub"]),
            (&[("frames", "fdd")], &["frames=fdd", "classic, fd or xl"]),
            (&[("heal", "maybe")], &["heal=maybe", "on or off"]),
            (&[("hub", "a,b")], &["hub=a,b", "comma"]),
            (&[("vxcan.peer", "thirteen-byte")], &["vxcan.peer=thirteen-byte", "12"]),
            (&[("hub", "a"), ("HUB", "b")], &["hub", "twice"]),
        ] {
            let err = NetworkOptions::parse(&raw(options)).unwrap_err();
            for word in words {
                assert!(err.contains(word), "{options:?}: {word:?} is not in {err:?}");
            }
        }
    }

    #[test]
    fn dockers_own_options_are_ignored() {
        let options = raw(&[
            ("com.docker.network.driver.mtu", "1500"),
            ("com.docker.network.container_iface_prefix", "x"),
        ]);
        assert!(NetworkOptions::parse(&options).is_ok());
    }

    #[test]
    fn rustycan4dockers_options_keep_their_meaning() {
        let options = NetworkOptions::parse(&raw(&[("vxcan.dev", "vcan"), ("vxcan.id", "3")])).unwrap();
        assert_eq!(options.hub, HubChoice::Shared(name("vcan3")));
        assert_eq!(options.ifname, Naming::Prefix(name("vcanp")));
        let options = NetworkOptions::parse(&raw(&[("vxcan.peer", "can")])).unwrap();
        assert_eq!(options.hub, HubChoice::Shared(name("vcan0")));
        assert_eq!(options.ifname, Naming::Prefix(name("can")));
    }

    #[test]
    fn an_endpoint_may_ask_for_a_name() {
        assert_eq!(parse_endpoint(&raw(&[])).unwrap(), None);
        assert_eq!(
            parse_endpoint(&raw(&[(DOCKER_IFNAME, "can7")])).unwrap(),
            Some(Naming::Exact(name("can7")))
        );
        assert_eq!(
            parse_endpoint(&raw(&[("vxcan.peer", "ecu")])).unwrap(),
            Some(Naming::Prefix(name("ecu")))
        );
        assert_eq!(
            parse_endpoint(&raw(&[("com.docker.network.endpoint.exposedports", "[]")])).unwrap(),
            None
        );
        assert!(parse_endpoint(&raw(&[("ifnam", "can1")])).unwrap_err().contains("did you mean ifname?"));
        assert!(parse_endpoint(&raw(&[(DOCKER_IFNAME, "a name")])).unwrap_err().contains(DOCKER_IFNAME));
    }

    #[test]
    fn hardware_is_recognised_by_name() {
        assert!(["can0", "can12", "slcan0"].iter().all(|text| looks_like_hardware(&name(text))));
        assert!(
            !["vcan0", "can", "canX", "candy1", "vxcan0"].iter().any(|text| looks_like_hardware(&name(text)))
        );
    }
}
