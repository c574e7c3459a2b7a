//! Queries Docker's API in the background. canhub works without it.
//!
//! Never from a handler and never before the socket is bound: dockerd answers nothing while it starts its containers,
//! and holds the container's lock while it calls the driver.

mod client;
pub(crate) mod facts;
mod late;
mod names;
mod ports;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::Deserialize;
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::{
    manager::{DockerNetwork, DockerView, Handle, Manager, SECOND_LOOK},
    names::{EndpointId, NetworkId},
    options::RawOptions,
};

const TIME_LIMIT: Duration = Duration::from_secs(5);
/// How soon to retry when Docker did not answer.
const RETRY: Duration = Duration::from_secs(5);
/// How long after a call from Docker to query it.
const SETTLE: Duration = Duration::from_secs(1);
/// Query interval when everything is known.
const INTERVAL: Duration = Duration::from_secs(300);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    name: String,
    #[serde(default)]
    options: Option<RawOptions>,
    #[serde(default)]
    containers: Option<BTreeMap<String, ListedContainer>>,
}

#[derive(Debug, Deserialize)]
struct ListedContainer {
    #[serde(rename = "Name", default)]
    name: String,
    #[serde(rename = "EndpointID", default)]
    endpoint: String,
}

/// Queries Docker forever, at intervals. Docker may be absent all the time.
///
/// `driver` is our driver name. With `restart_late`, containers that Docker failed to start because canhub was not
/// running are started.
pub async fn run(manager: Handle, socket: PathBuf, driver: String, restart_late: bool) {
    tokio::join!(
        names::follow_renames(&manager, &socket),
        learn_again_and_again(&manager, &socket, &driver, restart_late)
    );
}

async fn learn_again_and_again(manager: &Handle, socket: &Path, driver: &str, restart_late: bool) {
    let mut looked_for_late = false;
    let mut unpublished = BTreeSet::new();
    loop {
        let pause = match learn(manager, socket).await {
            Ok(unconfirmed) => {
                if !looked_for_late {
                    looked_for_late = true;
                    manager.set_late(late::look(socket, driver, restart_late).await);
                } else if !manager.late().is_empty()
                    && let Some(late) = late::names(socket, driver).await
                {
                    manager.set_late(late);
                }
                let asked = within(TIME_LIMIT, ports::unpublished(socket, driver));
                if let Ok(names) = asked.await {
                    ports::warn_of_new(&mut unpublished, names);
                }
                // Slightly longer, so that the two lists are far enough apart.
                if unconfirmed { SECOND_LOOK + SETTLE } else { INTERVAL }
            }
            Err(err) => {
                debug!(%err, socket = %socket.display(), "Docker's API does not answer");
                RETRY
            }
        };
        let _ = timeout(pause, manager.signals().relearn_wanted()).await;
        // Docker stores a new network or endpoint only after our response.
        sleep(SETTLE).await;
    }
}

/// Whether Docker's API answers, and the engine's version if the response has it. It may hang forever.
///
/// # Errors
/// Why it does not answer.
pub(crate) async fn ping(socket: &Path) -> io::Result<Option<String>> {
    client::ping(socket).await
}

/// Processes Docker's list of networks. Returns whether a second query is due soon.
///
/// The queries have a time limit. The manager call has none, because it runs on a thread that blocks for as long as the
/// kernel hangs: retrying would use up one thread after another.
async fn learn(manager: &Handle, socket: &Path) -> io::Result<bool> {
    let asked = Instant::now();
    let (engine, listed) = within(TIME_LIMIT, async {
        Ok((facts::engine_id(socket).await.ok(), client::get::<Vec<Listed>>(socket, "/networks").await?))
    })
    .await?;
    let ours = manager.run(Manager::network_ids).await?;
    let networks = within(TIME_LIMIT, networks(socket, listed, &ours)).await?;
    let view = DockerView { engine, asked, networks };
    Ok(manager.run(move |manager| manager.learn(&view)).await?)
}

async fn within<T>(limit: Duration, answer: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, answer).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn networks(
    socket: &Path,
    listed: Vec<Listed>,
    ours: &BTreeSet<NetworkId>,
) -> io::Result<Vec<DockerNetwork>> {
    let names = match listed.iter().any(|network| is_one_of(ours, &network.id)) {
        true => names::of_endpoints(socket).await.unwrap_or_default(),
        false => BTreeMap::new(),
    };
    let mut networks = Vec::new();
    for network in listed {
        let is_ours = is_one_of(ours, &network.id);
        let Ok(id) = NetworkId::try_from(network.id) else { continue };
        // Only the view of a single network lists its endpoints, and only ours matter.
        let endpoints = match is_ours {
            true => {
                let mut endpoints = endpoints(client::get(socket, &format!("/networks/{id}")).await?);
                for (endpoint, name) in &mut endpoints {
                    if let Some(now) = names.get(endpoint) {
                        name.clone_from(now);
                    }
                }
                Some(endpoints)
            }
            false => None,
        };
        let options = network.options.unwrap_or_default();
        networks.push(DockerNetwork { id, name: network.name, options, endpoints });
    }
    Ok(networks)
}

fn is_one_of(ours: &BTreeSet<NetworkId>, id: &str) -> bool {
    ours.iter().any(|ours| ours.as_ref() == id)
}

fn endpoints(network: Listed) -> BTreeMap<EndpointId, String> {
    let named =
        |container: ListedContainer| Some((EndpointId::try_from(container.endpoint).ok()?, container.name));
    network.containers.unwrap_or_default().into_values().filter_map(named).collect()
}
