//! netavark's plugin protocol: what Podman asks a network driver for, and what it is told.
//!
//! Podman runs the program of the driver's name in one of its `netavark_plugin_dirs` with `create`, `setup NETNS`,
//! `teardown NETNS` or `info`, and JSON on stdin. Source: `plugin-API.md` of netavark, API version 1.0.0. The plugin does not
//! create interfaces itself. It asks the daemon to attach the container's namespace to a bus; see `src/cli/netavark.rs`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    attachment::PODMAN,
    names::{AttachmentId, IfName},
    options::{NetworkOptions, RawOptions},
};

/// The version of the protocol.
pub const API_VERSION: &str = "1.0.0";

/// A container that starts on a network, or leaves it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Member {
    /// Podman's ID of the container.
    pub container_id: String,
    /// Its name.
    pub container_name: String,
    /// The network.
    pub network: Network,
    /// What is special for this container.
    pub network_options: MemberOptions,
}

/// A Podman network. It is the bus of this name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Podman's ID of it.
    id: String,
    /// Its options (`-o`); `null` if there are none.
    options: Option<RawOptions>,
}

/// What `--network NAME:KEY=VALUE,…` sets for one container.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MemberOptions {
    /// `interface_name`, or what Podman made up.
    interface_name: IfName,
    static_mac: Option<String>,
    static_ips: Option<Vec<Value>>,
    /// All keys that Podman itself does not know.
    options: Option<RawOptions>,
}

impl Member {
    /// Parses the input of `setup` and `teardown`.
    ///
    /// # Errors
    /// One sentence.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(text).map_err(|err| format!("cannot read Podman's request: {err}"))
    }

    /// The ID of the attachment: a container is on a network once. As many digits of both IDs as it has room for.
    ///
    /// # Errors
    /// One sentence, if one of them is no ID.
    pub fn id(&self) -> Result<AttachmentId, String> {
        let cut = |id: &str, digits| id.chars().take(digits).collect::<String>();
        format!("{PODMAN}-{}-{}", cut(&self.container_id, 32), cut(&self.network.id, 16)).try_into()
    }

    /// The options of the bus.
    pub fn bus_options(&self) -> RawOptions {
        self.network.options.clone().unwrap_or_default()
    }

    /// The options of the container, without the name of its interface.
    ///
    /// # Errors
    /// One sentence, if it asks for an address.
    pub fn options(&self) -> Result<RawOptions, String> {
        let given = &self.network_options;
        if let Some(mac) = &given.static_mac {
            return Err(format!("mac={mac}: CAN interfaces have no MAC address; remove it"));
        }
        if given.static_ips.as_ref().is_some_and(|ips| !ips.is_empty()) {
            return Err("a CAN interface has no IP address; remove ip and ip6".into());
        }
        Ok(given.options.clone().unwrap_or_default())
    }

    /// The name of the interface, if somebody has chosen it; else it is that of the bus. Podman always sends one.
    pub fn ifname(&self) -> Option<&IfName> {
        Some(&self.network_options.interface_name).filter(|name| !name.is_made_up())
    }
}

/// Checks a new network, and returns what Podman is to store.
///
/// # Errors
/// One sentence, which Podman shows: it names the option, its value and what to do.
pub fn create(text: &[u8]) -> Result<Value, String> {
    let network: Map<String, Value> =
        serde_json::from_slice(text).map_err(|err| format!("cannot read Podman's request: {err}"))?;
    for (key, flag) in [("subnets", "--subnet"), ("routes", "--route"), ("network_dns_servers", "--dns")] {
        if network.get(key).and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
            return Err(format!("{flag}: CAN has no IP addresses; remove it"));
        }
    }
    if network.get("ipv6_enabled").and_then(Value::as_bool) == Some(true) {
        return Err("--ipv6: CAN has no IP addresses; remove it".into());
    }
    if let Some(driver) =
        network.get("ipam_options").and_then(|ipam| ipam.get("driver")).and_then(Value::as_str)
        && driver != "none"
    {
        return Err(format!("--ipam-driver={driver}: CAN has no IP addresses; use --ipam-driver none"));
    }
    if let Some(name) =
        network.get("network_interface").and_then(Value::as_str).filter(|name| !name.is_empty())
    {
        return Err(format!("--interface-name={name}: use -o hub={name}"));
    }
    let options = network.get("options").filter(|options| !options.is_null()).cloned();
    let options: RawOptions = serde_json::from_value(options.unwrap_or_else(|| json!({})))
        .map_err(|err| format!("cannot read the options: {err}"))?;
    NetworkOptions::parse(&options)?;
    let mut network = network;
    // Or Podman starts a name server for this network.
    network.insert("dns_enabled".into(), false.into());
    network.insert("ipam_options".into(), json!({ "driver": "none" }));
    Ok(network.into())
}

/// The answer to `setup`: the interface, without addresses.
pub fn status(interface: &str) -> Value {
    json!({
        "dns_search_domains": [],
        "dns_server_ips": [],
        "interfaces": { interface: { "mac_address": "", "subnets": [] } }
    })
}

/// The answer to `info`.
#[derive(Debug, Serialize)]
pub struct Info {
    version: &'static str,
    api_version: &'static str,
}

/// About this plugin.
pub fn info() -> Info {
    Info { version: env!("CARGO_PKG_VERSION"), api_version: API_VERSION }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Podman 5.8.6 with netavark 1.17.2 sends it for
    /// `podman run --name b --network bus:interface_name=can7,rate=100000`.
    const SETUP: &str = r#"{"container_id":"eb824e95049b255820046e0eaf529f41eb0f387053c928f4248ebf93dc2337b0",
        "container_name":"b","port_mappings":null,"network":{"dns_enabled":false,"driver":"canhub",
        "id":"2e746de1c446c1661bfcdcd4ce4ed5059988284874bf92f8aa6cada31237a7a5","internal":false,"ipv6_enabled":false,
        "name":"bus","network_interface":null,"options":{"adapter":"can0"},"ipam_options":{"driver":"none"},"subnets":null,
        "routes":null,"network_dns_servers":null},"network_options":{"aliases":["eb824e95049b"],"interface_name":"can7",
        "static_ips":null,"static_mac":null,"options":{"rate":"100000"}}}"#;

    /// As it sends for `podman network create --driver canhub bus`.
    const CREATE: &str = r#"{"name":"bus","id":"ec465801bc82e315324072fdf6d2a955a6f44a5b973c5956e9a18f413280b14f",
        "driver":"canhub","created":"0001-01-01T00:00:00Z","ipv6_enabled":false,"internal":false,"dns_enabled":true}"#;

    #[test]
    fn a_container_is_attached_as_podman_says() {
        let member = Member::parse(SETUP.as_bytes()).unwrap();
        assert_eq!(member.id().unwrap().as_ref(), "podman-eb824e95049b255820046e0eaf529f41-2e746de1c446c166");
        assert_eq!(member.ifname().unwrap().as_str(), "can7");
        assert_eq!(member.options().unwrap()["rate"], "100000");
        assert_eq!(member.bus_options()["adapter"], "can0");
    }

    #[test]
    fn a_name_that_podman_made_up_is_none() {
        let member = |from: &str, to: &str| Member::parse(SETUP.replace(from, to).as_bytes()).unwrap();
        assert_eq!(member(r#""interface_name":"can7""#, r#""interface_name":"eth0""#).ifname(), None);
        assert!(member(r#""options":{"rate":"100000"}"#, r#""options":null"#).options().unwrap().is_empty());
        let why =
            member(r#""static_mac":null"#, r#""static_mac":"aa:bb:cc:dd:aa:00""#).options().unwrap_err();
        assert!(why.contains("mac=aa:bb:cc:dd:aa:00"), "{why}");
        let why = member(r#""static_ips":null"#, r#""static_ips":["10.0.0.2"]"#).options().unwrap_err();
        assert!(why.contains("no IP address"), "{why}");
    }

    #[test]
    fn a_new_network_gets_no_addresses_and_no_name_server() {
        let network = create(CREATE.as_bytes()).unwrap();
        assert_eq!(network["dns_enabled"], false);
        assert_eq!(network["ipam_options"]["driver"], "none");
        let before: Value = serde_json::from_str(CREATE).unwrap();
        for key in ["name", "id", "driver", "created", "internal"] {
            assert_eq!(network[key], before[key], "{key}: Podman's own");
        }
    }

    #[test]
    fn a_wrong_network_is_refused_with_the_flag_and_what_to_do() {
        for (field, words) in [
            (r#""options":{"adapter":"can0","bitrat":"500000"}"#, "did you mean bitrate?"),
            (r#""options":{"bitrate":"500000"}"#, "add adapter=can0"),
            (r#""options":{"frames":"canfd"}"#, "frames=canfd"),
            (r#""options":{"hub":"a/b"}"#, "hub=a/b"),
            (r#""options":{"hub":5}"#, "cannot read the options"),
            (r#""subnets":[{"subnet":"10.0.0.0/16"}]"#, "--subnet"),
            (r#""routes":[{"destination":"10.0.0.0/16"}]"#, "--route"),
            (r#""network_dns_servers":["10.0.0.1"]"#, "--dns"),
            (r#""ipam_options":{"driver":"host-local"}"#, "--ipam-driver none"),
            (r#""network_interface":"vcan-body""#, "-o hub=vcan-body"),
        ] {
            let text = CREATE.replace(r#""driver":"canhub""#, &format!(r#""driver":"canhub",{field}"#));
            let why = create(text.as_bytes()).unwrap_err();
            assert!(why.contains(words), "{words}: {why}");
        }
        assert!(
            create(CREATE.replace(r#""ipv6_enabled":false"#, r#""ipv6_enabled":true"#).as_bytes()).is_err()
        );
    }

    #[test]
    fn the_answer_has_what_netavark_requires() {
        let status = status("can0");
        assert_eq!(status["interfaces"]["can0"], json!({ "mac_address": "", "subnets": [] }));
        assert_eq!(serde_json::to_value(info()).unwrap()["api_version"], "1.0.0");
    }
}
