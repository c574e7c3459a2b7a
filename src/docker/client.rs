//! The few requests that canhub makes of Docker's API, over its unix socket.

use std::{io, ops::ControlFlow, path::Path};

use hyper::{Method, body::Bytes};
use serde::de::DeserializeOwned;

use crate::http::client;

/// Reads one resource.
pub(super) async fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> io::Result<T> {
    Ok(serde_json::from_slice(&ask(socket, Method::GET, path).await?)?)
}

/// Asks for an action.
pub(super) async fn post(socket: &Path, path: &str) -> io::Result<()> {
    ask(socket, Method::POST, path).await.map(drop)
}

/// Asks whether it answers at all (Docker Engine API, "Ping").
pub(super) async fn ping(socket: &Path) -> io::Result<()> {
    ask(socket, Method::GET, "/_ping").await.map(drop)
}

/// Calls `each` for every piece of an answer that does not end, until the connection breaks.
pub(super) async fn follow(socket: &Path, path: &str, mut each: impl FnMut()) -> io::Result<()> {
    client::follow(socket, path, |_| {
        each();
        ControlFlow::Continue(())
    })
    .await
}

async fn ask(socket: &Path, method: Method, path: &str) -> io::Result<Bytes> {
    let answer = client::ask(socket, method, path).await?;
    match answer.status.is_success() {
        true => Ok(answer.body),
        false => Err(io::Error::other(format!("{path}: {}", answer.status))),
    }
}
