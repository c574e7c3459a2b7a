//! Requests to Docker's API over its unix socket.

use std::{io, ops::ControlFlow, path::Path};

use hyper::Method;
use serde::de::DeserializeOwned;

use crate::http::client::{self, Answer};

/// Gets a resource.
pub(super) async fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> io::Result<T> {
    Ok(serde_json::from_slice(&ask(socket, Method::GET, path).await?.body)?)
}

/// Requests an action.
pub(super) async fn post(socket: &Path, path: &str) -> io::Result<()> {
    ask(socket, Method::POST, path).await.map(drop)
}

/// Checks whether the API answers (Docker Engine API, "Ping"). Returns the engine's version, which dockerd puts into
/// every response (`Server: Docker/28.5.2 (linux)`, moby's `VersionMiddleware`), because `/version` runs runc every
/// time.
pub(super) async fn ping(socket: &Path) -> io::Result<Option<String>> {
    let server = ask(socket, Method::GET, "/_ping").await?.server;
    Ok(server.as_deref().and_then(version).map(str::to_owned))
}

/// The version in dockerd's `Server` header.
fn version(server: &str) -> Option<&str> {
    server.strip_prefix("Docker/")?.split_whitespace().next()
}

/// Calls `each` for every chunk of an endless response, until the connection breaks.
pub(super) async fn follow(socket: &Path, path: &str, mut each: impl FnMut()) -> io::Result<()> {
    client::follow(socket, path, |_| {
        each();
        ControlFlow::Continue(())
    })
    .await
}

async fn ask(socket: &Path, method: Method, path: &str) -> io::Result<Answer> {
    let answer = client::ask(socket, method, path).await?;
    match answer.status.is_success() {
        true => Ok(answer),
        false => Err(io::Error::other(format!("{path}: {}", answer.status))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_dockerds_server_header() {
        for (server, expected) in [
            ("Docker/28.5.2 (linux)", Some("28.5.2")),
            ("Docker/20.10.24+dfsg1 (linux)", Some("20.10.24+dfsg1")),
            ("Docker/", None),
            ("Libpod/5.4.2 (linux)", None),
        ] {
            assert_eq!(version(server), expected, "{server}");
        }
    }
}
