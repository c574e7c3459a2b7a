//! Maps methods to calls of the manager, and results to responses.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::messages::{CreateEndpoint, CreateNetwork, EndpointOnly, Join, JoinAnswer, NetworkOnly};
use crate::{error::Error, manager::Manager};

/// The result of a method: the JSON for Docker, or an error message for the user.
pub type Answer = Result<Value, String>;

/// Handles a request. May block for as long as the kernel does.
///
/// `None` means that there is no such method. dockerd treats the resulting 404 as "not implemented" for optional methods.
pub fn answer(manager: &Manager, path: &str, body: &[u8]) -> Option<Answer> {
    Some(match path.strip_prefix('/')? {
        "Plugin.Activate" => Ok(json!({ "Implements": ["NetworkDriver"] })),
        "NetworkDriver.GetCapabilities" => Ok(json!({ "Scope": "local", "ConnectivityScope": "local" })),
        "NetworkDriver.CreateNetwork" => create_network(manager, body),
        "NetworkDriver.DeleteNetwork" => {
            parse(body).map(|NetworkOnly { network }| manager.delete_network(&network)).map(nothing)
        }
        "NetworkDriver.CreateEndpoint" => create_endpoint(manager, body),
        "NetworkDriver.DeleteEndpoint" => {
            parse(body).map(|EndpointOnly { endpoint }| manager.delete_endpoint(&endpoint)).map(nothing)
        }
        "NetworkDriver.EndpointOperInfo" => parse::<EndpointOnly>(body).map(|_| json!({ "Value": {} })),
        "NetworkDriver.Join" => join(manager, body),
        "NetworkDriver.Leave" => {
            parse(body).map(|EndpointOnly { endpoint }| manager.leave(&endpoint)).map(nothing)
        }
        // Only relevant for global-scope drivers; answered for the sake of all Docker versions.
        "NetworkDriver.DiscoverNew" | "NetworkDriver.DiscoverDelete" => Ok(json!({})),
        _ => return None,
    })
}

fn create_network(manager: &Manager, body: &[u8]) -> Answer {
    let (network, options) = parse::<CreateNetwork>(body)?.into_options()?;
    manager.create_network(network, options).map(nothing).map_err(sentence)
}

fn create_endpoint(manager: &Manager, body: &[u8]) -> Answer {
    let (network, endpoint, options) = parse::<CreateEndpoint>(body)?.into_options()?;
    // Never echo Interface: for an address that is already set, Docker fails with "driver modified interface address".
    manager.create_endpoint(network, endpoint, &options).map(nothing).map_err(sentence)
}

fn join(manager: &Manager, body: &[u8]) -> Answer {
    let Join { network, endpoint, sandbox_key } = parse(body)?;
    let joined = manager.join(network, endpoint, sandbox_key).map_err(sentence)?;
    serde_json::to_value(JoinAnswer::from(joined)).map_err(|err| err.to_string())
}

/// Parses a request body.
///
/// After a dropped connection dockerd repeats the request with an empty body, because the first attempt has drained its
/// buffer (moby `pkg/plugins/client.go`). Such a request cannot be handled.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    if body.trim_ascii().is_empty() {
        return Err("the request has no body: dockerd sends such a request after a lost connection; try the command again".into());
    }
    // serde would also accept a list, field by field.
    if !body.trim_ascii().starts_with(b"{") {
        return Err("invalid libnetwork request: expected an object".into());
    }
    serde_json::from_slice(body).map_err(|err| format!("invalid libnetwork request: {err}"))
}

fn nothing(_: ()) -> Value {
    json!({})
}

fn sentence(err: Error) -> String {
    err.to_string()
}
