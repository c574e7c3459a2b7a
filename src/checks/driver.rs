//! Whether Docker can use the driver: its socket answers, or the managed plugin is enabled.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use hyper::Method;
use serde_json::Value;
use tokio::time::timeout;

use super::{Files, Finding, Group, docker::limited, units};
use crate::{
    docker::facts::{self, Plugin, is_ours},
    http::client,
};

/// A driver answers within a millisecond; systemd may have to start it first.
const TIME_LIMIT: Duration = Duration::from_secs(3);
const GROUP: Group = Group::Docker;
const CHECK: &str = "driver";
/// The name of the check if the driver is a managed plugin. systemd units do not matter then.
pub const MANAGED: &str = "managed-plugin";

/// Where to find the driver.
#[derive(Debug, Clone)]
pub struct Driver {
    /// The plugin socket of the service.
    pub socket: PathBuf,
    /// Its name, without a tag.
    pub name: String,
    /// The API socket, to list managed plugins.
    pub docker: PathBuf,
}

impl Driver {
    /// Checks whether Docker can use the driver now.
    pub async fn look(&self, files: &Files) -> Vec<Finding> {
        let asked = client::ask(&self.socket, Method::POST, "/Plugin.Activate");
        let answer = timeout(TIME_LIMIT, asked).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let there = match answer {
            Ok(answer) => Some(of_answer(&self.socket, &answer.body)),
            Err(err) => of_failure(&self.socket, &err),
        };
        match there {
            Some(finding) => vec![finding.about(&self.name)],
            None => {
                let plugins = limited(facts::plugins(&self.docker)).await.unwrap_or_default();
                let managed = plugins.iter().find(|plugin| is_ours(&plugin.name, &self.name));
                vec![elsewhere(&self.name, managed, units::is_installed(files)).about(&self.name)]
            }
        }
    }
}

fn of_answer(socket: &Path, body: &[u8]) -> Finding {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let implements =
        answer["Implements"].as_array().is_some_and(|all| all.iter().any(|one| one == "NetworkDriver"));
    let socket = socket.display();
    match implements {
        true => Finding::pass(GROUP, CHECK, format!("the driver answers on {socket}")),
        false => Finding::error(
            GROUP,
            CHECK,
            format!("{socket} is served by something that is not a network driver"),
        )
        .hint(format!("`ss -xlp src {socket}` shows which process")),
    }
}

/// `None` means to look for the driver elsewhere.
fn of_failure(socket: &Path, err: &io::Error) -> Option<Finding> {
    let socket = socket.display();
    match err.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => None,
        io::ErrorKind::PermissionDenied => {
            let sentence = format!("cannot query the driver on {socket}: permission denied");
            Some(Finding::warning(GROUP, CHECK, sentence).hint("run `sudo canhub doctor`"))
        }
        io::ErrorKind::TimedOut => {
            let sentence = format!(
                "canhub does not answer on {socket} within {} s: containers on a bus can neither start nor stop; their frames still flow",
                TIME_LIMIT.as_secs()
            );
            Some(Finding::error(GROUP, CHECK, sentence).by("systemctl restart canhub"))
        }
        _ => {
            let sentence = format!("canhub fails on {socket}: {err}");
            Some(Finding::error(GROUP, CHECK, sentence).hint("see `journalctl -u canhub -n 50`"))
        }
    }
}

fn elsewhere(name: &str, managed: Option<&Plugin>, installed: bool) -> Finding {
    let error = |sentence: String| Finding::error(GROUP, CHECK, sentence);
    match managed {
        Some(plugin) if plugin.enabled => {
            Finding::pass(GROUP, MANAGED, format!("the managed plugin {} is enabled", plugin.name))
        }
        Some(plugin) => Finding::error(
            GROUP,
            MANAGED,
            format!("the managed plugin {} is disabled, so no container can start on a bus", plugin.name),
        )
        .hint(format!("run `docker plugin enable {}`", plugin.name)),
        None if installed => error(format!(
            "canhub is not running: Docker finds no driver {name}, and no container can start on a bus"
        ))
        .by("systemctl enable --now canhub.socket canhub.service"),
        None => error(format!(
            "Docker finds no driver {name}: canhub is installed neither as a service nor as a managed plugin"
        ))
        .hint("install it: `make install`, then `systemctl enable --now canhub.socket canhub.service`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Level;

    #[tokio::test]
    async fn a_missing_driver_is_reported_with_how_to_start_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let driver = Driver { socket: at("canhub.sock"), name: "canhub".into(), docker: at("docker.sock") };
        let files = Files::under(dir.path());
        let nowhere = driver.look(&files).await.remove(0);
        assert!(
            nowhere.level == Level::Error && nowhere.sentence.contains("neither as a service"),
            "{nowhere:?}"
        );
        let files = files.with("/usr/lib/systemd/system/canhub.service", "");
        let stopped = driver.look(&files).await.remove(0);
        assert_eq!(stopped.fix.as_deref(), Some("systemctl enable --now canhub.socket canhub.service"));

        // Accepts the connection and never answers.
        let _mute = tokio::net::UnixListener::bind(at("canhub.sock")).unwrap();
        let mute = driver.look(&files).await.remove(0);
        assert!(mute.level == Level::Error && mute.sentence.contains("does not answer"), "{mute:?}");
    }

    #[test]
    fn an_enabled_managed_plugin_passes() {
        let plugin = |enabled| Plugin { name: "canhub:latest".into(), enabled };
        assert_eq!(elsewhere("canhub", Some(&plugin(true)), false).level, Level::Pass);
        let disabled = elsewhere("canhub", Some(&plugin(false)), true);
        assert_eq!(disabled.hint.as_deref(), Some("run `docker plugin enable canhub:latest`"));
    }

    #[test]
    fn a_server_that_is_not_a_network_driver_is_an_error() {
        let of = |body: &str| of_answer(Path::new("/x"), body.as_bytes()).level;
        assert_eq!(of(r#"{"Implements":["NetworkDriver"]}"#), Level::Pass);
        assert_eq!(of(r#"{"Implements":["VolumeDriver"]}"#), Level::Error);
        assert_eq!(of("hello"), Level::Error);
    }
}
