//! What Docker's API tells, asked for in the background and never needed.
//!
//! Never from a handler, never before the socket is bound: dockerd answers nothing while it starts its
//! containers, and holds the container's lock while it calls the driver.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{
    net::UnixStream,
    time::{sleep, timeout},
};
use tracing::debug;

use crate::{
    manager::{DockerNetwork, Manager},
    names::{EndpointId, NetworkId},
    options::RawOptions,
};

const TIME_LIMIT: Duration = Duration::from_secs(5);
const MAX_BODY: usize = 8 << 20;
/// How soon Docker is asked again when it did not answer.
const RETRY: Duration = Duration::from_secs(5);
/// How long after an answer of ours Docker is asked about it.
const SETTLE: Duration = Duration::from_secs(1);
/// How often Docker is asked when all is known.
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

/// Asks for ever, now and then. Docker may be absent for all of it.
pub async fn run(manager: Arc<Manager>, socket: PathBuf) {
    loop {
        let asked = Instant::now();
        let pause = match timeout(TIME_LIMIT, networks(&manager, &socket)).await {
            Ok(Ok(networks)) => {
                let manager = manager.clone();
                // It takes the lock, and may delete what Docker has forgotten.
                let _ = tokio::task::spawn_blocking(move || manager.learn(&networks, asked)).await;
                INTERVAL
            }
            Ok(Err(err)) => {
                debug!(%err, socket = %socket.display(), "Docker's API does not answer");
                RETRY
            }
            Err(_) => RETRY,
        };
        let _ = timeout(pause, manager.has_news()).await;
        // Docker stores what it has just asked for only after our answer.
        sleep(SETTLE).await;
    }
}

async fn networks(manager: &Manager, socket: &Path) -> io::Result<Vec<DockerNetwork>> {
    let listed: Vec<Listed> = get(socket, "/networks").await?;
    let mut networks = Vec::new();
    for network in listed {
        let Ok(id) = NetworkId::try_from(network.id) else { continue };
        // Only the single view lists the containers, and only ours matter.
        let containers = match manager.knows(&id) {
            true => get::<Listed>(socket, &format!("/networks/{id}")).await?.containers.unwrap_or_default(),
            false => BTreeMap::new(),
        };
        let named = |container: ListedContainer| {
            Some((EndpointId::try_from(container.endpoint).ok()?, container.name))
        };
        let endpoints = containers.into_values().filter_map(named).collect();
        networks.push(DockerNetwork {
            id,
            name: network.name,
            options: network.options.unwrap_or_default(),
            endpoints,
        });
    }
    Ok(networks)
}

async fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> io::Result<T> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let ask = async {
        let request = Request::get(path)
            .header(header::HOST, "docker")
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(io::Error::other)?;
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        if !response.status().is_success() {
            return Err(io::Error::other(format!("{path}: {}", response.status())));
        }
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await.map_err(io::Error::other)?;
        serde_json::from_slice(&body.to_bytes()).map_err(io::Error::from)
    };
    tokio::pin!(ask);
    // The connection has to be driven while the answer comes in, and may end before the answer is read.
    tokio::select! {
        biased;
        answer = &mut ask => answer,
        _ = connection => ask.await,
    }
}
