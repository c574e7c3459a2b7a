//! The JSON of the libnetwork remote-driver protocol, as dockerd 20.10 to 29 sends and expects it.
//!
//! Unknown fields are ignored: Docker adds some with each version. Ids are checked where they arrive.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    manager::Joined,
    names::{EndpointId, NetworkId},
    options::RawOptions,
};

/// Where libnetwork puts the driver's own options of a network.
const GENERIC: &str = "com.docker.network.generic";
/// `--ipv6`, as libnetwork passes it on.
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
    /// Where the container's namespace is, or (Docker ≤ 27, at start) will be.
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
    /// The driver's options, once nothing is asked for that CAN cannot give.
    ///
    /// # Errors
    /// One sentence for the user.
    pub fn into_options(self) -> Result<(NetworkId, RawOptions), String> {
        let mut options = self.options.unwrap_or_default();
        let asked =
            options.get(ENABLE_IPV6).is_some_and(|value| *value == Value::Bool(true) || value == "true");
        if asked || self.ipv6_data.is_some_and(|data| !data.is_empty()) {
            return Err(
                "IPv6 cannot run over CAN: create the network without --ipv6 (and with --ipam-driver null)"
                    .into(),
            );
        }
        let raw = match options.remove(GENERIC) {
            None | Some(Value::Null) => RawOptions::new(),
            Some(Value::Object(generic)) => {
                generic.into_iter().map(|(key, value)| text(&key, value)).collect::<Result<_, _>>()?
            }
            Some(other) => return Err(format!("{GENERIC} is {other}, and a map of options was expected")),
        };
        Ok((self.network, raw))
    }
}

impl CreateEndpoint {
    /// The endpoint's options, once nothing is asked for that CAN cannot give.
    ///
    /// # Errors
    /// One sentence for the user.
    pub fn into_options(self) -> Result<(NetworkId, EndpointId, RawOptions), String> {
        let interface = self.interface.unwrap_or_default();
        if !interface.mac_address.is_empty() {
            return Err(format!(
                "a CAN interface has no MAC address: leave out --mac-address (or mac_address in compose), which asks for {}",
                interface.mac_address
            ));
        }
        if !interface.address_ipv6.is_empty() {
            return Err(format!(
                "IPv6 cannot run over CAN: leave out the address {} and create the network without --ipv6",
                interface.address_ipv6
            ));
        }
        let options = self.options.unwrap_or_default().into_iter();
        // Docker's own options hold lists and maps; ours are text.
        let ours =
            options.filter(|(_, value)| !matches!(value, Value::Array(_) | Value::Object(_) | Value::Null));
        let raw = ours.map(|(key, value)| text(&key, value)).collect::<Result<_, _>>()?;
        Ok((self.network, self.endpoint, raw))
    }
}

/// Docker's CLI and Compose send text; an API client may send a number or a boolean.
fn text(key: &str, value: Value) -> Result<(String, String), String> {
    match value {
        Value::String(text) => Ok((key.to_owned(), text)),
        Value::Number(_) | Value::Bool(_) => Ok((key.to_owned(), value.to_string())),
        other => Err(format!("option {key}={other}: a text was expected")),
    }
}

/// The answer to Join.
///
/// `DisableGatewayService` always: without it dockerd attaches the container to docker_gwbridge, and
/// 29.0.0 and 29.0.1 fail (moby#51522). Never a gateway: 29.0.0–29.0.2 die of one.
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
    /// Honoured by engines with moby#52866, ignored by others.
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
