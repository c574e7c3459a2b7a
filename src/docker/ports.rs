//! Unreachable published ports: Docker publishes ports on bridge networks, and silently ignores them for a container
//! that is only on CAN networks (28.5 shows `{}`).

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
};

use serde::Deserialize;
use tracing::warn;

use super::{
    client,
    facts::{self, is_ours},
};

/// A container in the list, with its networks.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    #[serde(default)]
    network_settings: NetworkSettings,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    /// `null` if it has none.
    #[serde(default)]
    networks: Option<BTreeMap<String, Attached>>,
}

#[derive(Debug, Deserialize)]
struct Attached {
    #[serde(rename = "NetworkID", default)]
    id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    name: String,
    host_config: HostConfig,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    /// The ports requested with `-p` or `ports:`, published or not.
    #[serde(default)]
    port_bindings: Option<BTreeMap<String, serde_json::Value>>,
}

/// Names of running containers that are only on our networks and request published ports.
pub(super) async fn unpublished(socket: &Path, driver: &str) -> io::Result<Vec<String>> {
    let networks = facts::networks(socket).await?;
    let ours = networks.iter().filter(|network| is_ours(&network.driver, driver));
    let ours: BTreeSet<&str> = ours.map(|network| network.id.as_str()).collect();
    if ours.is_empty() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for container in client::get::<Vec<Listed>>(socket, "/containers/json").await? {
        if !only_on(&container.network_settings, &ours) {
            continue;
        }
        // A container that has ended has no ports to miss.
        let path = format!("/containers/{}/json", container.id);
        let Ok(container) = client::get::<Container>(socket, &path).await else { continue };
        if container.host_config.port_bindings.is_some_and(|bindings| !bindings.is_empty()) {
            names.push(container.name.trim_start_matches('/').to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn only_on(settings: &NetworkSettings, ours: &BTreeSet<&str>) -> bool {
    let Some(networks) = &settings.networks else { return false };
    !networks.is_empty() && networks.values().all(|network| ours.contains(network.id.as_str()))
}

/// Logs the names that have not been logged before.
pub(super) fn warn_of_new(told: &mut BTreeSet<String>, names: Vec<String>) {
    for name in &names {
        if !told.contains(name) {
            warn!(
                container = name,
                "published ports are not reachable: the container is on CAN networks only, and Docker publishes ports on bridge networks; connect it to one as well"
            );
        }
    }
    // A container that was fixed and breaks again is logged again.
    *told = names.into_iter().collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_counts_only_if_all_its_networks_are_ours() {
        let settings = |text: &str| serde_json::from_str::<NetworkSettings>(text).unwrap();
        let ours = BTreeSet::from(["a1", "b2"]);
        for (text, expected) in [
            (r#"{"Networks":{"body":{"NetworkID":"a1"}}}"#, true),
            (r#"{"Networks":{"body":{"NetworkID":"a1"},"seat":{"NetworkID":"b2"}}}"#, true),
            (r#"{"Networks":{"body":{"NetworkID":"a1"},"bridge":{"NetworkID":"c3"}}}"#, false),
            (r#"{"Networks":{"bridge":{"NetworkID":"c3"}}}"#, false),
            ("{}", false),
            (r#"{"Networks":null}"#, false),
        ] {
            assert_eq!(only_on(&settings(text), &ours), expected, "{text}");
        }
    }
}
