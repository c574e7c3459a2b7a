//! What a runtime is told when it worked.

use serde_json::{Value, json};

use super::{LATEST, VERSIONS};

/// The result of ADD: that of the plugins before in a chain, and the interface in the container.
///
/// `mtu` in bytes; it is part of results since version 1.1.0.
pub fn added(version: &str, before: Option<&Value>, interface: &str, netns: &str, mtu: u32) -> Value {
    let mut result = before.cloned().filter(Value::is_object).unwrap_or_else(|| json!({}));
    result["cniVersion"] = version.into();
    // CAN has no addresses: neither of Ethernet nor of IP.
    let mut ours = json!({ "name": interface, "sandbox": netns });
    if version == LATEST {
        ours["mtu"] = mtu.into();
    }
    match result.get_mut("interfaces").and_then(Value::as_array_mut) {
        Some(interfaces) => interfaces.push(ours),
        None => result["interfaces"] = json!([ours]),
    }
    for list in ["ips", "routes"] {
        if !result[list].is_array() {
            result[list] = json!([]);
        }
    }
    if !result["dns"].is_object() {
        result["dns"] = json!({});
    }
    result
}

/// Whether a result has an interface of this name in a container.
pub fn interface_of(result: &Value, name: &str) -> bool {
    let interfaces = result.get("interfaces").and_then(Value::as_array);
    let is_inside = |interface: &Value| {
        let sandbox = interface.get("sandbox").and_then(Value::as_str).unwrap_or_default();
        interface.get("name").and_then(Value::as_str) == Some(name) && !sandbox.is_empty()
    };
    interfaces.is_some_and(|all| all.iter().any(is_inside))
}

/// The result of VERSION.
pub fn versions() -> Value {
    json!({ "cniVersion": LATEST, "supportedVersions": VERSIONS })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result of `bridge` in the specification's example of a chain.
    const BRIDGE: &str = r#"{
        "cniVersion": "1.1.0",
        "ips": [{ "address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 2 }],
        "routes": [{ "dst": "0.0.0.0/0" }],
        "interfaces": [
            { "name": "cni0", "mac": "00:11:22:33:44:55" },
            { "name": "veth3243", "mac": "55:44:33:22:11:11" },
            { "name": "eth0", "mac": "99:88:77:66:55:44", "sandbox": "/var/run/netns/blue" }
        ],
        "dns": { "nameservers": [ "10.1.0.1" ] }
    }"#;

    #[test]
    fn a_chain_keeps_what_the_plugins_before_returned() {
        let before: Value = serde_json::from_str(BRIDGE).unwrap();
        let result = added("1.1.0", Some(&before), "can0", "/var/run/netns/blue", 72);
        for key in ["ips", "routes", "dns"] {
            assert_eq!(result[key], before[key], "{key}");
        }
        let interfaces = result["interfaces"].as_array().unwrap();
        assert_eq!(
            interfaces[..3],
            before["interfaces"].as_array().unwrap()[..],
            "the indexes of ips stay right"
        );
        assert_eq!(interfaces[3], json!({ "name": "can0", "sandbox": "/var/run/netns/blue", "mtu": 72 }));
        assert!(interface_of(&result, "can0") && interface_of(&before, "eth0"));
        assert!(!interface_of(&before, "veth3243"), "it is on the host");
    }

    #[test]
    fn alone_the_interface_is_the_whole_result() {
        let result = added("0.4.0", None, "can0", "/var/run/netns/blue", 72);
        assert_eq!(
            result,
            json!({
                "cniVersion": "0.4.0", "interfaces": [{ "name": "can0", "sandbox": "/var/run/netns/blue" }],
                "ips": [], "routes": [], "dns": {}
            })
        );
    }
}
