//! From a method's path and body to a call of the manager, and back to an answer.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::messages::{CreateEndpoint, CreateNetwork, EndpointOnly, Join, JoinAnswer, NetworkOnly};
use crate::{error::Error, manager::Manager};

/// What a method answers: the JSON for Docker, or the sentence for its user.
pub type Answer = Result<Value, String>;

/// Answers one request. It may block for as long as the kernel does.
///
/// `None`: there is no such method. dockerd takes that (a 404) for "not implemented" where it may be.
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
        // Only global-scope drivers are told about other hosts; answered so that no version minds.
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
    // Never echo Interface: an address that is set already is "driver modified interface address".
    manager.create_endpoint(network, endpoint, &options).map(nothing).map_err(sentence)
}

fn join(manager: &Manager, body: &[u8]) -> Answer {
    let Join { network, endpoint, sandbox_key } = parse(body)?;
    let joined = manager.join(network, endpoint, sandbox_key).map_err(sentence)?;
    serde_json::to_value(JoinAnswer::from(joined)).map_err(|err| err.to_string())
}

/// Parses a body that must carry ids.
///
/// dockerd sends a request again with an empty body after a dropped connection (the first attempt drained
/// its buffer, moby `pkg/plugins/client.go`). Nobody can know what that was about, so nothing is done.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    if body.trim_ascii().is_empty() {
        return Err("the request came without a body: dockerd repeats a request so when its connection broke; try the command again".into());
    }
    // serde would take a list for a struct, field by field.
    if !body.trim_ascii().starts_with(b"{") {
        return Err("the request is not what libnetwork sends: an object was expected".into());
    }
    serde_json::from_slice(body).map_err(|err| format!("the request is not what libnetwork sends: {err}"))
}

fn nothing(_: ()) -> Value {
    json!({})
}

fn sentence(err: Error) -> String {
    err.to_string()
}
