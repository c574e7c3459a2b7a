//! What checks ask Docker: few things, each by itself.

use std::{collections::BTreeMap, io, path::Path};

use serde::Deserialize;

use super::{client, late};

/// The engine.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Engine {
    /// As `28.5.2`, or with words behind it.
    pub(crate) version: String,
}

/// A network, whoever's driver it has.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NetworkFacts {
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

pub(crate) async fn networks(socket: &Path) -> io::Result<Vec<NetworkFacts>> {
    client::get(socket, "/networks").await
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
