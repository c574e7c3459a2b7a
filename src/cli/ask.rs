//! Asking the daemon on its admin socket.

use std::{
    fs, io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use hyper::{Method, StatusCode, body::Bytes};
use serde_json::Value;
use tokio::time::timeout;

use super::Failed;
use crate::{
    admin,
    http::client::{self, Answer},
};

/// Longer than the daemon takes for anything.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Where dockerd keeps the sockets of managed plugins, each in a folder of its own.
pub(super) const PLUGINS: &str = "/run/docker/plugins";

/// Where to ask.
#[derive(Debug, Args)]
pub(super) struct AdminSocket {
    /// The daemon's admin socket [default: /run/canhub/admin.sock, else the managed plugin's]
    #[arg(long, env = "CANHUB_ADMIN_SOCKET", value_name = "PATH")]
    admin_socket: Option<PathBuf>,
}

impl AdminSocket {
    /// Reads one resource.
    pub(super) fn get(&self, path: &str) -> Result<Bytes, Failed> {
        run(self.ask(Method::GET, path, TIME_LIMIT))?
    }

    /// Asks for something, and waits so long for the answer.
    pub(super) async fn ask(&self, method: Method, path: &str, limit: Duration) -> Result<Bytes, Failed> {
        let answer = self.answer(method, path, limit).await?;
        match answer.status {
            StatusCode::OK => Ok(answer.body),
            _ => Err(Failed::Because(sentence(&answer.body))),
        }
    }

    /// Reads one resource whose answer is whole while the service is not, too (503).
    pub(super) fn get_anyway(&self, path: &str, limit: Duration) -> Result<Bytes, Failed> {
        let answer = run(self.answer(Method::GET, path, limit))??;
        match answer.status {
            StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE => Ok(answer.body),
            _ => Err(Failed::Because(sentence(&answer.body))),
        }
    }

    async fn answer(&self, method: Method, path: &str, limit: Duration) -> Result<Answer, Failed> {
        let socket = self.path();
        match timeout(limit, client::ask(&socket, method, path)).await {
            Ok(answer) => answer.map_err(|err| unreachable(&socket, &err)),
            Err(_) => {
                let why = format!(
                    "canhub did not answer within {} s: see `journalctl -u canhub`, or `systemctl restart canhub`",
                    limit.as_secs()
                );
                Err(Failed::Unreachable(why))
            }
        }
    }

    /// Reads a resource piece by piece, until it ends or `each` has enough.
    pub(super) fn follow(
        &self,
        path: &str,
        each: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Failed> {
        let socket = self.path();
        run(client::follow(&socket, path, each))?.map_err(|err| unreachable(&socket, &err))
    }

    /// Where the socket is, or ought to be.
    pub(super) fn path(&self) -> PathBuf {
        let default = || Some(PathBuf::from(admin::SOCKET)).filter(|path| is_there(path));
        let found = self.admin_socket.clone().or_else(default).or_else(|| of_a_plugin(Path::new(PLUGINS)));
        found.unwrap_or_else(|| admin::SOCKET.into())
    }
}

/// The managed plugin's admin socket, as the host sees it.
fn of_a_plugin(folder: &Path) -> Option<PathBuf> {
    let folders = match fs::read_dir(folder) {
        Ok(folders) => folders.flatten(),
        // What connecting will say, too.
        Err(err) if err.kind() == io::ErrorKind::PermissionDenied => return Some(folder.join("admin.sock")),
        Err(_) => return None,
    };
    folders.map(|folder| folder.path().join("admin.sock")).find(|path| is_there(path))
}

/// Also where only root can see it: then that is what to say.
fn is_there(path: &Path) -> bool {
    !matches!(fs::metadata(path), Err(err) if err.kind() == io::ErrorKind::NotFound)
}

fn run<T>(work: impl Future<Output = T>) -> Result<T, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|err| format!("cannot start: {err}"))?.block_on(work))
}

/// What the daemon said instead of answering.
fn sentence(body: &[u8]) -> String {
    let said = serde_json::from_slice::<Value>(body).ok();
    let said = said.as_ref().and_then(|said| said.get("error")).and_then(Value::as_str);
    said.unwrap_or("cannot parse canhub's answer; is it another version?").to_owned()
}

/// Why there is no answer, and what to do.
fn unreachable(socket: &Path, err: &io::Error) -> Failed {
    let socket = socket.display();
    Failed::Unreachable(match err.kind() {
        io::ErrorKind::PermissionDenied => "permission denied: run it as root".into(),
        io::ErrorKind::NotFound => format!(
            "canhub is not running, or its admin socket is not at {socket}: run `systemctl start canhub`, or name the socket with --admin-socket"
        ),
        io::ErrorKind::ConnectionRefused => {
            format!(
                "no process listens on {socket}: run `systemctl restart canhub`, and see `journalctl -u canhub`"
            )
        }
        _ => format!("canhub does not answer on {socket}: {err}; see `journalctl -u canhub`"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_daemon_is_told_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let socket = AdminSocket { admin_socket: Some(dir.path().join("admin.sock")) };
        let failed = socket.get("/v1/status").unwrap_err();
        assert_eq!(failed.exit_code(), 3);
        let Failed::Unreachable(why) = failed else { panic!("{failed:?}") };
        assert!(why.contains("systemctl start canhub") && why.contains("--admin-socket"), "{why}");
    }

    #[test]
    fn the_socket_of_a_managed_plugin_is_found_in_dockers_folder() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(of_a_plugin(dir.path()), None);
        let plugin = dir.path().join("0123");
        fs::create_dir(&plugin).unwrap();
        fs::write(plugin.join("admin.sock"), "").unwrap();
        assert_eq!(of_a_plugin(dir.path()), Some(plugin.join("admin.sock")));
    }
}
