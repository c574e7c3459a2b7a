//! The JSON of the libnetwork remote-driver protocol, as dockerd 20.10 to 29 sends and expects it.
//!
//! Unknown fields are ignored, because new Docker versions add some. IDs are validated on arrival.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    manager::Joined,
    names::{EndpointId, NetworkId},
    options::RawOptions,
};

/// The key under which libnetwork passes the driver options of a network.
const GENERIC: &str = "com.docker.network.generic";
/// The key under which libnetwork passes `--ipv6`.
const ENABLE_IPV6: &str = "com.docker.network.enable_ipv6";

/// `NetworkDriver.CreateNetwork`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateNetwork {
    /// `NetworkID`.
    #[serde(rename = "NetworkID")]
    pub network: NetworkId,
    #[serde(default)]
    options: Option<BTreeMap<String, Value>>,
    #[serde(default, rename = "IPv6Data")]
    ipv6_data: Option<Vec<Value>>,
}

/// `NetworkDriver.CreateEndpoint`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateEndpoint {
    /// `NetworkID`.
    #[serde(rename = "NetworkID")]
    pub network: NetworkId,
    /// `EndpointID`.
    #[serde(rename = "EndpointID")]
    pub endpoint: EndpointId,
    #[serde(default)]
    interface: Option<Interface>,
    #[serde(default)]
    options: Option<BTreeMap<String, Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Interface {
    #[serde(rename = "AddressIPv6")]
    address_ipv6: String,
    mac_address: String,
}

/// `NetworkDriver.Join`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Join {
    /// `NetworkID`.
    #[serde(rename = "NetworkID")]
    pub network: NetworkId,
    /// `EndpointID`.
    #[serde(rename = "EndpointID")]
    pub endpoint: EndpointId,
    /// The path of the container's network namespace; with Docker ≤ 27 it may not exist yet when a container starts.
    pub sandbox_key: PathBuf,
}

/// `NetworkDriver.DeleteNetwork`.
#[derive(Debug, Deserialize)]
pub struct NetworkOnly {
    /// `NetworkID`.
    #[serde(rename = "NetworkID")]
    pub network: NetworkId,
}

/// `NetworkDriver.DeleteEndpoint`, `Leave` and `EndpointOperInfo`.
#[derive(Debug, Deserialize)]
pub struct EndpointOnly {
    /// `EndpointID`.
    #[serde(rename = "EndpointID")]
    pub endpoint: EndpointId,
}

impl CreateNetwork {
    /// The driver options, after rejecting requests that make no sense for CAN.
    ///
    /// # Errors
    /// One sentence for the user.
    pub fn into_options(self) -> Result<(NetworkId, RawOptions), String> {
        let mut options = self.options.unwrap_or_default();
        let asked =
            options.get(ENABLE_IPV6).is_some_and(|value| *value == Value::Bool(true) || value == "true");
        if asked || self.ipv6_data.is_some_and(|data| !data.is_empty()) {
            return Err(
                "IPv6 is not possible on CAN: create the network without --ipv6 and with --ipam-driver null"
                    .into(),
            );
        }
        let raw = match options.remove(GENERIC) {
            None | Some(Value::Null) => RawOptions::new(),
            Some(Value::Object(generic)) => {
                generic.into_iter().map(|(key, value)| text(&key, value)).collect::<Result<_, _>>()?
            }
            Some(other) => return Err(format!("{GENERIC} is {other}, expected a map of options")),
        };
        Ok((self.network, raw))
    }
}

impl CreateEndpoint {
    /// The endpoint options, after rejecting requests that make no sense for CAN.
    ///
    /// # Errors
    /// One sentence for the user.
    pub fn into_options(self) -> Result<(NetworkId, EndpointId, RawOptions), String> {
        let interface = self.interface.unwrap_or_default();
        if !interface.mac_address.is_empty() {
            return Err(format!(
                "CAN interfaces have no MAC address: remove --mac-address {} (mac_address in Compose)",
                interface.mac_address
            ));
        }
        if !interface.address_ipv6.is_empty() {
            return Err(format!(
                "IPv6 is not possible on CAN: remove the address {} and create the network without --ipv6",
                interface.address_ipv6
            ));
        }
        let options = self.options.unwrap_or_default().into_iter();
        // Docker's own options may be lists and maps; ours are strings.
        let ours =
            options.filter(|(_, value)| !matches!(value, Value::Array(_) | Value::Object(_) | Value::Null));
        let raw = ours.map(|(key, value)| text(&key, value)).collect::<Result<_, _>>()?;
        Ok((self.network, self.endpoint, raw))
    }
}

/// The Docker CLI and Compose send strings; other API clients may send a number or a boolean.
fn text(key: &str, value: Value) -> Result<(String, String), String> {
    match value {
        Value::String(text) => Ok((key.to_owned(), text)),
        Value::Number(_) | Value::Bool(_) => Ok((key.to_owned(), value.to_string())),
        other => Err(format!("option {key}={other}: must be a string")),
    }
}

/// The response to Join.
///
/// Always with `DisableGatewayService`: without it dockerd attaches the container to docker_gwbridge, and 29.0.0 and
/// 29.0.1 fail (moby#51522). Never with a gateway: it crashes 29.0.0 to 29.0.2.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct JoinAnswer {
    #[serde(skip_serializing_if = "Option::is_none")]
    interface_name: Option<InterfaceName>,
    disable_gateway_service: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct InterfaceName {
    src_name: String,
    dst_prefix: String,
    /// Used by engines with moby#52866, ignored by others.
    #[serde(skip_serializing_if = "Option::is_none")]
    dst_name: Option<String>,
}

impl From<Joined> for JoinAnswer {
    fn from(joined: Joined) -> Self {
        let interface_name = match joined {
            Joined::Inside => None,
            Joined::ByDocker { source, prefix, exact } => Some(InterfaceName {
                src_name: source.to_string(),
                dst_prefix: prefix,
                dst_name: exact.map(|name| name.to_string()),
            }),
        };
        Self { interface_name, disable_gateway_service: true }
    }
}
