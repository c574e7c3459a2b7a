//! What checks ask Docker: few things, each by itself.

use std::{collections::BTreeMap, io, path::Path};

use serde::Deserialize;

use super::{client, late, ports};

/// The engine.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Engine {
    /// As `28.5.2`, or with words behind it.
    pub(crate) version: String,
}

/// Whether a network's driver is ours: by its name, or as a managed plugin's `name:tag`, of whatever registry.
pub(crate) fn is_ours(driver: &str, ours: &str) -> bool {
    let name = driver.rsplit('/').next().unwrap_or(driver);
    name.split(':').next() == Some(ours)
}

/// A network, whoever's driver it has.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NetworkFacts {
    #[serde(default)]
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) driver: String,
    /// Docker 28 and newer can leave the addresses out.
    #[serde(rename = "EnableIPv4", default = "yes")]
    pub(crate) enable_ipv4: bool,
    #[serde(rename = "IPAM", default)]
    pub(crate) ipam: Ipam,
    #[serde(default)]
    pub(crate) options: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(crate) labels: Option<BTreeMap<String, String>>,
    /// Those that run, by id; only the view of a single network has them.
    #[serde(default)]
    pub(crate) containers: Option<BTreeMap<String, NetworkMember>>,
}

/// A container on a network.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NetworkMember {
    pub(crate) name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Ipam {
    #[serde(default)]
    pub(crate) driver: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    live_restore_enabled: bool,
}

/// A managed plugin.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Plugin {
    pub(crate) name: String,
    pub(crate) enabled: bool,
}

fn yes() -> bool {
    true
}

pub(crate) async fn engine(socket: &Path) -> io::Result<Engine> {
    client::get(socket, "/version").await
}

/// The engine's id: kept in its data folder, so it stays over restarts and upgrades.
pub(super) async fn engine_id(socket: &Path) -> io::Result<String> {
    client::get::<Info>(socket, "/info").await.map(|info| info.id)
}

pub(crate) async fn networks(socket: &Path) -> io::Result<Vec<NetworkFacts>> {
    client::get(socket, "/networks").await
}

pub(crate) async fn network(socket: &Path, id: &str) -> io::Result<NetworkFacts> {
    client::get(socket, &format!("/networks/{id}")).await
}

pub(crate) async fn live_restore(socket: &Path) -> io::Result<bool> {
    client::get::<Info>(socket, "/info").await.map(|info| info.live_restore_enabled)
}

pub(crate) async fn plugins(socket: &Path) -> io::Result<Vec<Plugin>> {
    client::get(socket, "/plugins").await
}

/// Names of containers that Docker gave up on because this driver was not there.
pub(crate) async fn late(socket: &Path, driver: &str) -> Option<Vec<String>> {
    late::names(socket, driver).await
}

/// Names of running containers whose published ports Docker ignores, because they are on CAN networks only.
pub(crate) async fn unpublished(socket: &Path, driver: &str) -> io::Result<Vec<String>> {
    ports::unpublished(socket, driver).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_of_ours_are_known_under_each_of_their_names() {
        for ours in ["canhub", "canhub:latest", "registry.example/garage/canhub:1.2"] {
            assert!(is_ours(ours, "canhub"), "{ours}");
        }
        for other in ["bridge", "canhub2", "canhub2:latest", "rustyvxcan"] {
            assert!(!is_ours(other, "canhub"), "{other}");
        }
    }
}
