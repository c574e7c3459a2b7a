//! Client of the daemon's admin socket.

use std::{
    env, fs, io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use hyper::{Method, StatusCode, body::Bytes};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::time::timeout;

use super::{Failed, buses, lines};
use crate::{
    admin,
    docker::facts,
    http::client::{self, Answer},
};

/// Longer than the daemon takes for any request.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(10);
/// The folder in which dockerd keeps the sockets of managed plugins, each in a subfolder.
pub(super) const PLUGINS: &str = "/run/docker/plugins";

/// Docker's API, unless `CANHUB_DOCKER_SOCKET` says otherwise, as for `canhub serve`.
const DOCKER: &str = "/run/docker.sock";
/// Docker answers within milliseconds, unless it is busy.
const DOCKER_LIMIT: Duration = Duration::from_secs(2);

/// So much of a network's ID is enough to be remembered by.
const ID: usize = 12;

const NOT_UNDERSTOOD: &str = "cannot parse canhub's answer; is it another version?";

const START: &str = "systemctl start canhub";
const RESTART: &str = "systemctl restart canhub";

/// Which daemon to connect to.
#[derive(Debug, Clone, Args)]
pub(super) struct AdminSocket {
    /// Admin socket of the daemon [default: /run/canhub/admin.sock, or that of the managed plugin]
    #[arg(long, env = "CANHUB_ADMIN_SOCKET", value_name = "PATH")]
    admin_socket: Option<PathBuf>,
}

impl AdminSocket {
    /// The daemon of the environment, for commands whose arguments are given.
    pub(super) fn from_env() -> Self {
        Self { admin_socket: env::var_os("CANHUB_ADMIN_SOCKET").map(PathBuf::from) }
    }

    /// Gets a resource.
    pub(super) fn get(&self, path: &str) -> Result<Bytes, Failed> {
        run(self.ask(Method::GET, path, TIME_LIMIT))?
    }

    /// Sends a request with a timeout.
    pub(super) async fn ask(&self, method: Method, path: &str, limit: Duration) -> Result<Bytes, Failed> {
        self.answer(method, path, limit).await?.good()
    }

    /// Sends a request with a body.
    pub(super) fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Bytes, Failed> {
        self.answer_whatever(method, path, body.into())?.good()
    }

    /// Sends a request about a bus; `on` makes its body. A managed plugin knows a bus by its ID only, which Docker can tell.
    /// The reason for a refusal is then that of the request with the ID.
    pub(super) fn send_about(
        &self,
        bus: &str,
        method: &Method,
        path: &str,
        on: impl Fn(&str) -> Vec<u8>,
    ) -> Result<Bytes, Failed> {
        match self.send(method.clone(), path, on(bus)) {
            Err(Failed::Because(why)) => match network_id(bus).filter(|id| self.knows_no_name_of(id)) {
                Some(id) => self.send(method.clone(), path, on(&id[..ID.min(id.len())])),
                None => Err(Failed::Because(why)),
            },
            answer => answer,
        }
    }

    /// Whether canhub has this network of Docker's, and calls it by the start of its ID.
    fn knows_no_name_of(&self, id: &str) -> bool {
        let buses = self.get(buses::PATH).ok().and_then(|body| parsed::<buses::Listed>(&body).ok());
        buses.is_some_and(|all| all.buses.iter().any(|bus| bus.id == id && id.starts_with(&bus.name)))
    }

    /// Gets a resource whose body is also valid with status 503.
    pub(super) fn get_anyway(&self, path: &str, limit: Duration) -> Result<Bytes, Failed> {
        let answer = run(self.answer(Method::GET, path, limit))??;
        match answer.status {
            StatusCode::SERVICE_UNAVAILABLE => Ok(answer.body),
            _ => answer.good(),
        }
    }

    /// Sends a request, and returns the answer whatever its status.
    pub(super) fn answer_whatever(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, Failed> {
        run(self.exchange(method, path, body, TIME_LIMIT))?
    }

    async fn answer(&self, method: Method, path: &str, limit: Duration) -> Result<Answer, Failed> {
        self.exchange(method, path, Bytes::new(), limit).await
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<Answer, Failed> {
        let socket = self.path();
        match timeout(limit, client::send(&socket, method, path, body)).await {
            Ok(answer) => answer.map_err(|err| unreachable(&socket, &err)),
            Err(_) => {
                let why = format!(
                    "canhub did not answer within {} s: see `journalctl -u canhub`, or try `{RESTART}`",
                    limit.as_secs()
                );
                Err(Failed::Unreachable { why, fix: Some(RESTART) })
            }
        }
    }

    /// Reads a stream until it ends or `each` breaks.
    pub(super) fn follow(
        &self,
        path: &str,
        each: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Failed> {
        let socket = self.path();
        run(client::follow(&socket, path, each))?.map_err(|err| unreachable(&socket, &err))
    }

    /// The path of the socket.
    pub(super) fn path(&self) -> PathBuf {
        let default = || Some(PathBuf::from(admin::SOCKET)).filter(|path| is_there(path));
        let found = self.admin_socket.clone().or_else(default).or_else(|| of_a_plugin(Path::new(PLUGINS)));
        found.unwrap_or_else(|| admin::SOCKET.into())
    }
}

impl Answer {
    /// The body of an answer with status 200; of another, the sentence that says why.
    fn good(self) -> Result<Bytes, Failed> {
        match self.status {
            StatusCode::OK => Ok(self.body),
            _ => Err(Failed::Because(sentence(&self.body))),
        }
    }

    /// The same; `None` if there is no such thing.
    pub(super) fn found(self) -> Result<Option<Bytes>, Failed> {
        match self.status {
            StatusCode::NOT_FOUND => Ok(None),
            _ => self.good().map(Some),
        }
    }
}

/// The ID of the network that Docker calls so, if Docker can be asked.
pub(super) fn network_id(name: &str) -> Option<String> {
    let asked = |socket: PathBuf| async move { facts::network(&socket, name).await };
    ask_docker(name, asked).filter(|network| network.name == name).map(|network| network.id)
}

/// The network namespace of a running container of Docker, if Docker can be asked.
pub(super) fn sandbox(container: &str) -> Option<PathBuf> {
    let asked = |socket: PathBuf| async move { facts::sandbox(&socket, container).await };
    ask_docker(container, asked)?
}

/// Asks Docker about something of this name, unless it cannot be a name.
fn ask_docker<T, A: Future<Output = io::Result<T>>>(name: &str, ask: impl FnOnce(PathBuf) -> A) -> Option<T> {
    // It becomes part of a path. Docker's names have no other characters.
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.is_empty() || !name.chars().all(is_name) {
        return None;
    }
    let socket = env::var_os("CANHUB_DOCKER_SOCKET").map_or_else(|| DOCKER.into(), PathBuf::from);
    run(async { timeout(DOCKER_LIMIT, ask(socket)).await.ok()?.ok() }).ok()?
}

/// The body of a request. Our types have string keys, so serialization cannot fail.
pub(super) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// Parses an answer of the daemon.
pub(super) fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|err| format!("{NOT_UNDERSTOOD} {err}"))
}

/// Prints an answer as it is, or what it says as text, and returns it.
pub(super) fn show<T: DeserializeOwned>(
    body: &[u8],
    json: bool,
    text: impl FnOnce(&T) -> String,
) -> Result<T, Failed> {
    if json {
        print_json(body);
    }
    let answer = parsed(body)?;
    if !json {
        lines::print(&text(&answer));
    }
    Ok(answer)
}

/// Prints an answer as it is.
pub(super) fn print_json(body: &[u8]) {
    lines::print(&(String::from_utf8_lossy(body) + "\n"));
}

/// The admin socket of the managed plugin, as seen from the host.
fn of_a_plugin(folder: &Path) -> Option<PathBuf> {
    let folders = match fs::read_dir(folder) {
        Ok(folders) => folders.flatten(),
        // Connecting will report the same error.
        Err(err) if err.kind() == io::ErrorKind::PermissionDenied => return Some(folder.join("admin.sock")),
        Err(_) => return None,
    };
    folders.map(|folder| folder.path().join("admin.sock")).find(|path| is_there(path))
}

/// Also true if only root can see it, so that the error says so. The sockets of services are beside the folders of plugins.
fn is_there(path: &Path) -> bool {
    let is_absent = |kind| matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    !matches!(fs::metadata(path), Err(err) if is_absent(err.kind()))
}

fn run<T>(work: impl Future<Output = T>) -> Result<T, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|err| format!("cannot start: {err}"))?.block_on(work))
}

/// The error message in a response.
fn sentence(body: &[u8]) -> String {
    let said = serde_json::from_slice::<Value>(body).ok();
    let said = said.as_ref().and_then(|said| said.get("error")).and_then(Value::as_str);
    said.unwrap_or(NOT_UNDERSTOOD).to_owned()
}

/// Describes a connection error, and what to do.
fn unreachable(socket: &Path, err: &io::Error) -> Failed {
    let socket = socket.display();
    let (why, fix) = match err.kind() {
        io::ErrorKind::PermissionDenied => {
            ("permission denied: run it as root, for example with sudo".into(), None)
        }
        io::ErrorKind::NotFound => {
            let why = format!(
                "canhub is not running, or its admin socket is not at {socket}: run `{START}`, or name the socket with --admin-socket"
            );
            (why, Some(START))
        }
        io::ErrorKind::ConnectionRefused => {
            let why =
                format!("no process listens on {socket}: run `{RESTART}`, and see `journalctl -u canhub`");
            (why, None)
        }
        _ => (format!("canhub does not answer on {socket}: {err}; see `journalctl -u canhub`"), None),
    };
    Failed::Unreachable { why, fix }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_daemon_is_reported_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let socket = AdminSocket { admin_socket: Some(dir.path().join("admin.sock")) };
        let failed = socket.get("/v1/status").unwrap_err();
        assert_eq!(failed.exit_code(), 3);
        let Failed::Unreachable { why, fix } = failed else { panic!("{failed:?}") };
        assert_eq!(fix, Some(START));
        assert!(why.contains("systemctl start canhub") && why.contains("--admin-socket"), "{why}");
    }

    #[test]
    fn the_socket_of_a_managed_plugin_is_found_in_dockers_folder() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("canhub.sock"), "").unwrap();
        assert_eq!(of_a_plugin(dir.path()), None);
        let plugin = dir.path().join("0123");
        fs::create_dir(&plugin).unwrap();
        fs::write(plugin.join("admin.sock"), "").unwrap();
        assert_eq!(of_a_plugin(dir.path()), Some(plugin.join("admin.sock")));
    }
}
