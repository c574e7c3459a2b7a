//! What a user may ask of a network and of an endpoint, parsed at the edge.
//!
//! Keys and values are matched without regard to case: `docker run --network name=n,driver-opt=K=V`
//! lower-cases both. Every refusal names the key, the value, what is allowed, and the nearest known key.

use std::collections::BTreeMap;

use crate::{
    adapter::{self, Adapter, Settings},
    kernel::{CAN_MTU, CANFD_MTU, CANXL_MTU},
    names::IfName,
};

/// Docker's own endpoint option for an interface name (compose `interface_name`).
pub const DOCKER_IFNAME: &str = "com.docker.network.endpoint.ifname";
/// Docker's own options begin with this; those that do not concern us are left alone.
const DOCKER_PREFIX: &str = "com.docker.";

const KEYS: &[&str] =
    &["hub", "adapter", "adapter-wait", "ifname", "frames", "heal", "vxcan.dev", "vxcan.id", "vxcan.peer"];
const ENDPOINT_KEYS: &[&str] = &[DOCKER_IFNAME, "ifname", "vxcan.peer"];
/// Keys with a meaning that is settled and code that is not there yet.
const NOT_YET: &[&str] = &["allow-rx", "allow-tx", "rate", "delay", "loss", "span"];

/// Options as Docker sends them, kept as they are in the state file.
pub type RawOptions = BTreeMap<String, String>;

/// What a network was created with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkOptions {
    /// What the host's interface is to be.
    pub hub: HubChoice,
    /// The interface name wanted in containers.
    pub ifname: Naming,
    /// Which frames the bus carries.
    pub frames: Frames,
    /// Whether missing things are repaired (`on`) or reported (`off`).
    pub heal: bool,
    /// What the adapter is to be set up with; nothing where there is none.
    pub settings: Settings,
    /// Whether containers join while the adapter is not there (`on`), or are refused (`fail`).
    pub adapter_wait: bool,
}

/// The host's interface of a bus, as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubChoice {
    /// A vcan with a name made from the network's id.
    Made,
    /// A vcan of this name, which canhub makes and owns.
    Named(IfName),
    /// An interface that somebody else owns.
    Adapter(Adapter),
    /// rustycan4docker's way: used as it is when it exists, made as a vcan when it does not.
    Shared(IfName),
}

/// The interface name wanted in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Naming {
    /// This name.
    Exact(IfName),
    /// This prefix and the lowest number that is free in the container.
    Prefix(IfName),
}

/// Which frames a bus carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frames {
    /// Classic CAN frames, up to 8 bytes.
    Classic,
    /// Classic and FD frames, up to 64 bytes.
    Fd,
    /// Interfaces that take CAN XL frames too. can-gw forwards none of those on any kernel so far.
    Xl,
}

impl Frames {
    /// The MTU in bytes of what canhub owns.
    pub fn mtu(self) -> u32 {
        match self {
            Self::Classic => CAN_MTU,
            Self::Fd => CANFD_MTU,
            Self::Xl => CANXL_MTU,
        }
    }

    /// As the option spells it.
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
    /// One sentence that names the option, the value and the next step.
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
                    "options hub={hub} and adapter={adapter} exclude each other: hub is a vcan that canhub makes, \
                     adapter an interface that exists without it; give one of them"
                ));
            }
            (_, _, Some(_)) => {
                return Err("options vxcan.dev, vxcan.id and vxcan.peer exclude hub and adapter: give \
                            rustycan4docker's options or canhub's own, not both"
                    .into());
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
                "option {key}={value}: only an adapter has it, and a vcan has no wire; give adapter=can0 or leave out {key}"
            ));
        }
        if let (Frames::Classic, Some(rate)) = (frames, settings.dbitrate) {
            return Err(format!(
                "option dbitrate={rate}: only FD frames have a data phase, and frames=classic; leave out one of them"
            ));
        }
        let adapter_wait = match get("adapter-wait").map(str::to_ascii_lowercase).as_deref() {
            None | Some("on") => true,
            Some("fail") => false,
            Some(other) => return Err(format!("option adapter-wait={other}: allowed are on and fail")),
        };
        Ok(Self { hub, ifname, frames, heal: on_off("heal", get("heal"))?, settings, adapter_wait })
    }
}

/// Parses the name that one endpoint asks for, if it asks.
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

/// Whether a name is one that the kernel gives to hardware. Such an interface is waited for and never faked.
pub fn looks_like_hardware(name: &IfName) -> bool {
    let name = name.as_str();
    ["can", "slcan"].iter().any(|kind| {
        name.strip_prefix(kind)
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// Lower-cases keys, refuses what is unknown, and leaves out what is Docker's own affair.
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
                "option {known}={value}: a value may not hold a comma, because Docker splits there"
            ));
        }
        if options.insert(known, value).is_some_and(|other| other != value) {
            return Err(format!("option {known} is given twice with different values: keep one"));
        }
    }
    Ok(options)
}

fn unknown(key: &str, value: &str, lower: &str, keys: &[&str]) -> String {
    if NOT_YET.contains(&lower) {
        return format!(
            "option {key}={value}: not yet; the name is reserved and this version of canhub cannot do it"
        );
    }
    let allowed = keys.join(", ");
    let nearest = keys
        .iter()
        .map(|known| (strsim::damerau_levenshtein(lower, known), known))
        .min()
        .filter(|(distance, _)| *distance <= 3)
        .map(|(_, known)| format!(" (did you mean {known}?)"))
        .unwrap_or_default();
    format!("option {key}={value}: canhub has no option {key:?}{nearest}; the options are {allowed}")
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
    value.parse().map_err(|why| format!("option {key}={value}: {why}; give a name like can0 or vcan-body"))
}

fn prefix(value: &str) -> Result<Naming, String> {
    let name = ifname("vxcan.peer", value)?;
    if value.len() > 12 {
        return Err(format!(
            "option vxcan.peer={value}: a prefix has at most 12 bytes, so that a number fits behind it"
        ));
    }
    Ok(Naming::Prefix(name))
}

fn frames(value: Option<&str>) -> Result<Frames, String> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        None | Some("fd") => Ok(Frames::Fd),
        Some("classic") => Ok(Frames::Classic),
        Some("xl") => Ok(Frames::Xl),
        Some(other) => Err(format!("option frames={other}: allowed are classic, fd and xl")),
    }
}

fn on_off(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        None | Some("on" | "true") => Ok(true),
        Some("off" | "false") => Ok(false),
        Some(other) => Err(format!("option {key}={other}: allowed are on and off")),
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
    fn without_options_there_is_a_vcan_and_can0_for_classic_and_fd_frames() {
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
    fn keys_and_words_are_matched_without_regard_to_case() {
        let options =
            NetworkOptions::parse(&raw(&[("Hub", "vcan-Body"), ("FRAMES", "Classic"), ("Heal", "OFF")]))
                .unwrap();
        assert_eq!(options.hub, HubChoice::Named(name("vcan-Body")));
        assert_eq!((options.frames, options.heal), (Frames::Classic, false));
    }

    #[test]
    fn each_refusal_names_the_option_the_value_and_the_next_step() {
        for (options, words) in [
            (&[("hubb", "x")][..], &["hubb=x", "did you mean hub?", "adapter"][..]),
            (&[("wombat", "1")], &["wombat=1", "the options are hub"]),
            (&[("rate", "5")], &["rate=5", "not yet"]),
            (&[("bitrate", "500000")], &["bitrate=500000", "only an adapter", "adapter=can0"]),
            (&[("adapter", "can0"), ("bitrate", "fast")], &["bitrate=fast", "like 500000"]),
            (&[("adapter", "usb:1")], &["adapter=usb:1", "four hex digits"]),
            (&[("adapter", "can0"), ("adapter-wait", "off")], &["adapter-wait=off", "on and fail"]),
            (&[("adapter", "can0"), ("bitrat", "1")], &["bitrat=1", "did you mean bitrate?"]),
            (&[("hub", "a-name-of-16-byt")], &["hub=a-name-of-16-byt", "16 bytes", "allows 15"]),
            (&[("ifname", "can/0")], &["ifname=can/0", "'/'"]),
            (&[("hub", "a"), ("adapter", "can0")], &["hub=a", "adapter=can0", "exclude"]),
            (&[("hub", "a"), ("vxcan.id", "1")], &["vxcan.id", "exclude hub"]),
            (&[("frames", "fdd")], &["frames=fdd", "classic, fd and xl"]),
            (&[("heal", "maybe")], &["heal=maybe", "on and off"]),
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
    fn dockers_own_options_are_left_alone() {
        let options = raw(&[
            ("com.docker.network.driver.mtu", "1500"),
            ("com.docker.network.container_iface_prefix", "x"),
        ]);
        assert!(NetworkOptions::parse(&options).is_ok());
    }

    #[test]
    fn rustycan4dockers_options_mean_what_they_mean_there() {
        let options = NetworkOptions::parse(&raw(&[("vxcan.dev", "vcan"), ("vxcan.id", "3")])).unwrap();
        assert_eq!(options.hub, HubChoice::Shared(name("vcan3")));
        assert_eq!(options.ifname, Naming::Prefix(name("vcanp")));
        let options = NetworkOptions::parse(&raw(&[("vxcan.peer", "can")])).unwrap();
        assert_eq!(options.hub, HubChoice::Shared(name("vcan0")));
        assert_eq!(options.ifname, Naming::Prefix(name("can")));
    }

    #[test]
    fn an_endpoint_may_ask_for_its_own_name() {
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
    fn hardware_is_known_by_its_name() {
        assert!(["can0", "can12", "slcan0"].iter().all(|text| looks_like_hardware(&name(text))));
        assert!(
            !["vcan0", "can", "canX", "candy1", "vxcan0"].iter().any(|text| looks_like_hardware(&name(text)))
        );
    }
}
