//! Containers that Docker failed to start because canhub was not running.
//!
//! A restart policy only covers the end of a process: a container whose network driver is missing at boot becomes
//! `Exited` and stays that way (seen on 29.7.2). systemd's socket prevents this; a plugin that is enabled late or a
//! service that is started by hand can run into it.

use std::{io, path::Path, time::Duration};

use serde::Deserialize;
use tokio::time::timeout;
use tracing::{info, warn};

use super::client;

const TIME_LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    name: String,
    state: State,
    host_config: HostConfig,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    #[serde(default)]
    error: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    restart_policy: RestartPolicy,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RestartPolicy {
    #[serde(default)]
    name: String,
}

/// Logs such containers, and starts them if requested. Returns those that still do not run.
pub(super) async fn look(socket: &Path, driver: &str, restart: bool) -> Vec<String> {
    let mut late = Vec::new();
    let looked = timeout(TIME_LIMIT, async {
        for (id, name) in find(socket, driver).await? {
            if !restart {
                warn!(
                    container = name,
                    "Docker failed to start this container because canhub was not running: run `docker start {name}`, or let canhub do it with --restart-late"
                );
                late.push(name);
                continue;
            }
            match client::post(socket, &format!("/containers/{id}/start")).await {
                Ok(()) => info!(
                    container = name,
                    reason = "Docker failed to start it because canhub was not running",
                    "started"
                ),
                Err(err) => {
                    warn!(container = name, %err, "could not start the container");
                    late.push(name);
                }
            }
        }
        Ok::<_, io::Error>(())
    });
    if let Ok(Err(err)) = looked.await {
        warn!(%err, "could not look for containers that Docker failed to start");
    }
    late
}

/// Their names, without logging. `None` if Docker does not answer.
pub(super) async fn names(socket: &Path, driver: &str) -> Option<Vec<String>> {
    let found = timeout(TIME_LIMIT, find(socket, driver)).await.ok()?.ok()?;
    Some(found.into_iter().map(|(_, name)| name).collect())
}

async fn find(socket: &Path, driver: &str) -> io::Result<Vec<(String, String)>> {
    // {"status":["created","exited"]}, percent-encoded.
    let path = "/containers/json?all=1&filters=%7B%22status%22%3A%5B%22created%22%2C%22exited%22%5D%7D";
    let mut late = Vec::new();
    for Listed { id } in client::get::<Vec<Listed>>(socket, path).await? {
        let Ok(container) = client::get::<Container>(socket, &format!("/containers/{id}/json")).await else {
            continue;
        };
        let policy = container.host_config.restart_policy.name;
        if matches!(policy.as_str(), "always" | "unless-stopped") && names_us(&container.state.error, driver)
        {
            late.push((id, container.name.trim_start_matches('/').to_owned()));
        }
    }
    Ok(late)
}

/// Docker's errors: `plugin "canhub" not found` and `plugin canhub:latest found but disabled`.
fn names_us(error: &str, driver: &str) -> bool {
    error.contains("plugin")
        && error.contains(driver)
        && ["not found", "disabled", "connect:", "dial unix"].iter().any(|words| error.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_errors_about_a_missing_driver_are_recognized() {
        assert!(names_us("failed to add endpoint: plugin \"canhub\" not found", "canhub"));
        assert!(names_us("plugin canhub:latest found but disabled", "canhub"));
        assert!(!names_us("plugin \"weave\" not found", "canhub"));
        assert!(!names_us("exec: \"canhub\": executable file not found in $PATH", "canhub"));
        assert!(!names_us("", "canhub"));
    }
}
