//! Individual queries of Docker's API for checks.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{client, late, ports};

/// The engine.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Engine {
    /// For example `28.5.2`, possibly with a suffix.
    pub(crate) version: String,
    /// The release of the kernel that it runs on.
    #[serde(default)]
    pub(crate) kernel_version: String,
    /// Docker Desktop, Docker Engine - Community.
    #[serde(default)]
    pub(crate) platform: Named,
    /// The engine, containerd, runc.
    #[serde(default)]
    pub(crate) components: Vec<Named>,
}

/// Something with a name.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Named {
    #[serde(default)]
    pub(crate) name: String,
}

/// Whether a driver name is ours: the plain name, or `name:tag` of a managed plugin from any registry.
pub(crate) fn is_ours(driver: &str, ours: &str) -> bool {
    let name = driver.rsplit('/').next().unwrap_or(driver);
    name.split(':').next() == Some(ours)
}

/// A network of any driver.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NetworkFacts {
    #[serde(default)]
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) driver: String,
    /// Docker 28 and newer can disable IPv4 addresses.
    #[serde(rename = "EnableIPv4", default = "yes")]
    pub(crate) enable_ipv4: bool,
    #[serde(rename = "IPAM", default)]
    pub(crate) ipam: Ipam,
    #[serde(default)]
    pub(crate) options: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(crate) labels: Option<BTreeMap<String, String>>,
    /// Running containers by ID; only present in the view of a single network.
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
    #[serde(default)]
    security_options: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    state: ContainerState,
    network_settings: NetworkSettings,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerState {
    pid: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    #[serde(default)]
    sandbox_key: PathBuf,
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

/// The engine's ID. It is stored in the data folder, so it survives restarts and upgrades.
pub(crate) async fn engine_id(socket: &Path) -> io::Result<String> {
    client::get::<Info>(socket, "/info").await.map(|info| info.id)
}

/// Whether the engine runs in a user namespace.
pub(crate) async fn is_rootless(socket: &Path) -> io::Result<bool> {
    let options = client::get::<Info>(socket, "/info").await?.security_options.unwrap_or_default();
    Ok(options.iter().any(|option| option.split(',').any(|part| part == "name=rootless")))
}

pub(crate) async fn networks(socket: &Path) -> io::Result<Vec<NetworkFacts>> {
    client::get(socket, "/networks").await
}

pub(crate) async fn network(socket: &Path, id: &str) -> io::Result<NetworkFacts> {
    client::get(socket, &format!("/networks/{id}")).await
}

/// The network namespace of a container; `None` if it is not running.
pub(crate) async fn sandbox(socket: &Path, container: &str) -> io::Result<Option<PathBuf>> {
    let told: Container = client::get(socket, &format!("/containers/{container}/json")).await?;
    // A container in the namespace of another has no sandbox of its own.
    Ok(match (told.state.pid, told.network_settings.sandbox_key) {
        (0, _) => None,
        (pid, path) if path.as_os_str().is_empty() => Some(format!("/proc/{pid}/ns/net").into()),
        (_, path) => Some(path),
    })
}

pub(crate) async fn live_restore(socket: &Path) -> io::Result<bool> {
    client::get::<Info>(socket, "/info").await.map(|info| info.live_restore_enabled)
}

pub(crate) async fn plugins(socket: &Path) -> io::Result<Vec<Plugin>> {
    client::get(socket, "/plugins").await
}

/// Names of containers that Docker failed to start because this driver was not available.
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
    fn all_forms_of_our_driver_name_are_recognized() {
        for ours in ["canhub", "canhub:latest", "registry.example/garage/canhub:1.2"] {
            assert!(is_ours(ours, "canhub"), "{ours}");
        }
        for other in ["bridge", "canhub2", "canhub2:latest", "rustyvxcan"] {
            assert!(!is_ours(other, "canhub"), "{other}");
        }
    }
}
