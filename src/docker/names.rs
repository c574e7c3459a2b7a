//! Current container names: a container can be renamed at any time.

use std::{collections::BTreeMap, io, path::Path, time::Instant};

use serde::Deserialize;
use tokio::time::sleep;
use tracing::debug;

use super::{RETRY, client};
use crate::{manager::Handle, names::EndpointId};

/// `{"type":["container"],"event":["rename"]}`, percent-encoded.
const RENAMES: &str =
    "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%2C%22event%22%3A%5B%22rename%22%5D%7D";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    network_settings: Networks,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Networks {
    #[serde(default)]
    networks: Option<BTreeMap<String, Attached>>,
}

#[derive(Debug, Deserialize)]
struct Attached {
    #[serde(rename = "EndpointID", default)]
    endpoint: String,
}

/// The names of all running containers, by endpoint.
pub(super) async fn of_endpoints(socket: &Path) -> io::Result<BTreeMap<EndpointId, String>> {
    let containers: Vec<Container> = client::get(socket, "/containers/json").await?;
    let mut names = BTreeMap::new();
    for Container { names: all, network_settings } in containers {
        // Links give a container additional names such as `/other/alias`.
        let Some(name) =
            all.iter().filter_map(|name| name.strip_prefix('/')).find(|name| !name.contains('/'))
        else {
            continue;
        };
        for attached in network_settings.networks.into_iter().flatten() {
            if let Ok(endpoint) = EndpointId::try_from(attached.1.endpoint) {
                names.insert(endpoint, name.to_owned());
            }
        }
    }
    Ok(names)
}

/// Requests a new query whenever a container is renamed, and when Docker is back after an outage.
///
/// The connection is idle while nothing is renamed.
pub(super) async fn follow_renames(manager: &Handle, socket: &Path) {
    // Whether a connection was up since the last query. One that ends immediately was refused.
    let mut stood = false;
    loop {
        let began = Instant::now();
        if let Err(err) = client::follow(socket, RENAMES, || manager.signals().want_relearn()).await {
            debug!(%err, socket = %socket.display(), "lost Docker's events");
        }
        stood |= began.elapsed() > RETRY;
        sleep(RETRY).await;
        if stood && client::ping(socket).await.is_ok() {
            stood = false;
            manager.signals().want_relearn();
        }
    }
}
