//! The network configuration that a runtime writes to the plugin's stdin.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{Error, Network, VERSIONS, call::is_identifier, interface_of};
use crate::{
    names::IfName,
    options::{EndpointOptions, NetworkOptions, RawOptions},
    suggest::did_you_mean,
};

/// The fields of `canhub-cni` itself.
const OURS: [&str; 4] = ["bus", "options", "containerOptions", "interface"];
/// Fields of the specification, its conventions and Multus. Other plugins of a chain may need the rest of them.
const KNOWN: [&str; 14] = [
    "cniVersion",
    "cniVersions",
    "name",
    "type",
    "args",
    "capabilities",
    "dns",
    "ipMasq",
    "ipam",
    "runtimeConfig",
    "prevResult",
    "disableCheck",
    "deviceID",
    "pciBusID",
];

/// A network configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Conf {
    /// The version of the specification that it asks for.
    pub version: String,
    /// The network.
    pub name: String,
    /// The bus: the field `bus`, or else the network's name.
    pub bus: String,
    /// The options of the bus, if it has to be made.
    pub options: RawOptions,
    /// What the interface is called if the runtime has no name for it.
    pub interface: Option<IfName>,
    /// The options of the container.
    pub container_options: RawOptions,
    /// The result of the plugins before in a chain; for CHECK and DEL, of the whole chain.
    pub before: Option<Value>,
    /// GC: the attachments that the runtime still has.
    pub valid: Option<Vec<ValidAttachment>>,
}

/// An attachment that the runtime still has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ValidAttachment {
    /// The ID of the container.
    #[serde(rename = "containerID")]
    pub container: String,
    /// The name that the runtime gave the interface.
    pub ifname: IfName,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    #[serde(default)]
    name: String,
    bus: Option<String>,
    #[serde(default)]
    options: RawOptions,
    interface: Option<IfName>,
    #[serde(default)]
    container_options: RawOptions,
    ipam: Option<Value>,
    #[serde(default)]
    args: Args,
    #[serde(default)]
    runtime_config: RuntimeConfig,
    prev_result: Option<Value>,
    #[serde(rename = "cni.dev/valid-attachments")]
    valid: Option<Vec<ValidAttachment>>,
}

#[derive(Deserialize, Default)]
struct Args {
    /// Multus' `cni-args` of one pod.
    #[serde(default)]
    cni: BTreeMap<String, Value>,
}

#[derive(Deserialize, Default)]
struct RuntimeConfig {
    #[serde(default)]
    canhub: RawOptions,
}

impl Conf {
    /// The version that a configuration asks for, for errors about it too.
    ///
    /// # Errors
    /// [`Error::VERSION`] if this plugin does not speak it. [`Error::DECODE`] if it is no JSON.
    pub fn version(text: &[u8]) -> Result<String, Error> {
        let conf: Value = decoded(text)?;
        // The specification's default for a missing one.
        let version = conf.get("cniVersion").and_then(Value::as_str).unwrap_or("0.1.0");
        match VERSIONS.contains(&version) {
            true => Ok(version.to_owned()),
            false => Err(Error::new(
                Error::VERSION,
                format!("cniVersion {version} is not supported: set it to one of {}", VERSIONS.join(", ")),
            )),
        }
    }

    /// Parses a configuration, and checks all options.
    ///
    /// # Errors
    /// [`Error::DECODE`], [`Error::FIELD`] or [`Error::CONFIG`]: one sentence that names the field, its value and what to do.
    pub fn parse(version: String, text: &[u8]) -> Result<Self, Error> {
        known_fields(&decoded(text)?)?;
        let fields: Fields = decoded(text)?;
        let wrong = |why: String| Error::new(Error::CONFIG, why);
        is_identifier(&fields.name).map_err(|why| wrong(format!("name {:?} {why}", fields.name)))?;
        if let Some(ipam) = fields.ipam.filter(|ipam| ipam.get("type").is_some()) {
            let why = format!("ipam={ipam}: CAN has no addresses; remove ipam");
            return Err(Error::new(Error::FIELD, why));
        }
        NetworkOptions::parse(&fields.options).map_err(|why| wrong(format!("field options: {why}")))?;
        let mut container_options = fields.container_options;
        container_options.extend(of_a_pod(fields.args.cni)?);
        container_options.extend(fields.runtime_config.canhub);
        EndpointOptions::parse(&container_options)
            .map_err(|why| wrong(format!("options of the container: {why}")))?;
        Ok(Self {
            version,
            bus: fields.bus.unwrap_or_else(|| fields.name.clone()),
            name: fields.name,
            options: fields.options,
            interface: fields.interface,
            container_options,
            before: fields.prev_result,
            valid: fields.valid,
        })
    }

    /// The name that the interface in the container has to get; `None`: that of the bus.
    ///
    /// In a chain the runtime's name is that of another plugin's interface. A name that a runtime makes up, `eth0` or `net1`,
    /// gives way to the field `interface`; one that a person chose, in a pod's annotation, does not.
    pub fn ifname(&self, asked: &IfName) -> Option<IfName> {
        let is_taken = self.before.as_ref().is_some_and(|before| interface_of(before, asked.as_str()));
        match &self.interface {
            interface if is_taken => interface.clone(),
            Some(interface) if asked.is_made_up() => Some(interface.clone()),
            _ => Some(asked.clone()),
        }
    }

    /// The network and its bus.
    pub fn network(&self) -> Network<'_> {
        Network { name: &self.name, bus: &self.bus }
    }

    /// Whether the runtime no longer has the attachment with this ID. Those of other networks are none of its business.
    pub fn is_stale(&self, id: &str) -> bool {
        let network = self.network();
        let is_valid = |valid: &ValidAttachment| network.id_of(&valid.container, &valid.ifname) == id;
        id.starts_with(&network.ids()) && !self.valid.as_deref().unwrap_or_default().iter().any(is_valid)
    }
}

/// The options among Multus' `cni-args`. Labels and addresses are conventions that a plugin may ignore.
fn of_a_pod(args: BTreeMap<String, Value>) -> Result<RawOptions, Error> {
    let ours = args.into_iter().filter(|(key, _)| !matches!(key.as_str(), "labels" | "ips" | "mac"));
    ours.map(|(key, value)| match value {
        Value::String(value) => Ok((key, value)),
        other => {
            let why = format!("args.cni.{key}={other}: must be a string, an option of the container");
            Err(Error::new(Error::CONFIG, why))
        }
    })
    .collect()
}

fn known_fields(conf: &Value) -> Result<(), Error> {
    let Some(conf) = conf.as_object() else {
        return Err(Error::new(Error::DECODE, "the network configuration is not a JSON object"));
    };
    let is_known = |key: &str| OURS.contains(&key) || KNOWN.contains(&key) || key.starts_with("cni.dev/");
    match conf.iter().find(|(key, _)| !is_known(key)) {
        None => Ok(()),
        Some((key, value)) => {
            let (nearest, ours) = (did_you_mean(key, &OURS), OURS.join(", "));
            let why = format!("{key}={value}: unknown field {key:?}{nearest}; canhub-cni has {ours}");
            Err(Error::new(Error::FIELD, why))
        }
    }
}

fn decoded<T: serde::de::DeserializeOwned>(text: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(text)
        .map_err(|err| Error::new(Error::DECODE, format!("cannot read the network configuration: {err}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Conf, Error> {
        Conf::parse(Conf::version(text.as_bytes())?, text.as_bytes())
    }

    #[test]
    fn the_network_is_the_bus_unless_the_configuration_names_one() {
        let conf = parse(r#"{"cniVersion": "1.1.0", "name": "powertrain", "type": "canhub-cni"}"#).unwrap();
        assert_eq!((conf.bus.as_str(), conf.options.len(), &conf.before), ("powertrain", 0, &None));
        let conf = parse(
            r#"{"cniVersion": "1.0.0", "name": "lab", "type": "canhub-cni", "bus": "drive", "interface": "can1",
                "options": {"adapter": "can0", "bitrate": "500000"}, "containerOptions": {"rate": "100000"},
                "args": {"cni": {"allow-tx": "none", "labels": [{"key": "app", "value": "x"}]}},
                "runtimeConfig": {"canhub": {"rate": "50000"}, "portMappings": []}, "ipam": {}}"#,
        )
        .unwrap();
        assert_eq!((conf.bus.as_str(), conf.options["bitrate"].as_str()), ("drive", "500000"));
        let options: Vec<_> =
            conf.container_options.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(options, [("allow-tx", "none"), ("rate", "50000")], "the nearest to the container wins");
    }

    #[test]
    fn the_example_for_kubernetes_is_valid() {
        let example = include_str!("../../docs/kubernetes/network.yaml");
        let (_, config) = example.split_once("config: |").unwrap();
        let conf = parse(config.split("---").next().unwrap()).unwrap();
        assert_eq!((conf.bus.as_str(), conf.options["hub"].as_str()), ("powertrain", "vcan-powertrain"));
    }

    #[test]
    fn a_made_up_name_gives_way_and_a_chosen_one_does_not() {
        let conf = |interface: &str, before: &str| {
            parse(&format!(
                r#"{{"cniVersion": "1.1.0", "name": "bus", "interface": {interface}, "prevResult": {before}}}"#
            ))
            .unwrap()
        };
        let before = r#"{"interfaces": [{"name": "eth0", "sandbox": "/run/netns/a"}]}"#;
        for (interface, before, asked, name) in [
            ("null", "null", "eth0", Some("eth0")),
            (r#""can0""#, "null", "eth0", Some("can0")),
            (r#""can0""#, "null", "net1", Some("can0")),
            (r#""can0""#, "null", "can3", Some("can3")),
            ("null", before, "eth0", None),
            (r#""can1""#, before, "eth0", Some("can1")),
            ("null", before, "can3", Some("can3")),
        ] {
            let name = name.map(|name| name.parse::<IfName>().unwrap());
            assert_eq!(
                conf(interface, before).ifname(&asked.parse().unwrap()),
                name,
                "{interface} {before} {asked}"
            );
        }
    }

    #[test]
    fn gc_keeps_what_the_runtime_still_has() {
        let conf = parse(
            r#"{"cniVersion": "1.1.0", "name": "bus", "cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth0"}]}"#,
        )
        .unwrap();
        let id = |network: Network, container: &str, ifname: &str| {
            network.id_of(container, &ifname.parse().unwrap())
        };
        let ours = conf.network();
        assert!(!conf.is_stale(&id(ours, "a", "eth0")) && conf.is_stale(&id(ours, "a", "eth1")));
        assert!(conf.is_stale(&id(ours, "ab", "eth0")));
        for other in [Network { name: "lan", bus: "bus" }, Network { name: "bus", bus: "drive" }] {
            assert!(!conf.is_stale(&id(other, "ab", "eth0")), "{other:?}");
        }
        assert!(!conf.is_stale("podman-1-2"));
        assert_eq!(parse(r#"{"cniVersion": "1.1.0", "name": "bus"}"#).unwrap().valid, None);
    }

    #[test]
    fn a_wrong_configuration_is_refused_with_the_number_and_the_field() {
        let with = |fields: &str| {
            parse(&format!(r#"{{"cniVersion": "1.1.0", "name": "bus", {fields}}}"#)).unwrap_err()
        };
        for (err, code, words) in [
            (parse("{").unwrap_err(), 6, "cannot read"),
            (parse("[]").unwrap_err(), 1, "cniVersion"),
            (parse(r#"{"cniVersion": "0.2.0", "name": "bus"}"#).unwrap_err(), 1, "0.2.0"),
            (parse(r#"{"name": "bus"}"#).unwrap_err(), 1, "0.1.0"),
            (parse(r#"{"cniVersion": "1.1.0"}"#).unwrap_err(), 7, "name"),
            (parse(r#"{"cniVersion": "1.1.0", "name": "a/b"}"#).unwrap_err(), 7, "a/b"),
            (with(r#""buss": "drive""#), 2, "did you mean bus?"),
            (with(r#""ipam": {"type": "host-local"}"#), 2, "host-local"),
            (with(r#""options": {"bitrate": 500000}"#), 6, "expected a string"),
            (with(r#""options": {"bitrat": "500000"}"#), 7, "did you mean bitrate?"),
            (with(r#""options": {"bitrate": "500000"}"#), 7, "adapter"),
            (with(r#""containerOptions": {"rate": "fast"}"#), 7, "rate=fast"),
            (with(r#""interface": "a/b""#), 6, "'/'"),
            (with(r#""args": {"cni": {"rate": 5}}"#), 7, "args.cni.rate=5"),
        ] {
            assert_eq!(err.code, code, "{}", err.msg);
            assert!(err.msg.contains(words), "{words}: {}", err.msg);
        }
    }
}
