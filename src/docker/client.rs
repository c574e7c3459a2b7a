//! The few requests that canhub makes of Docker's API, over its unix socket.

use std::{io, path::Path};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Method, Request, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// A list of thousands of networks or containers is smaller.
const MAX_BODY: usize = 8 << 20;

/// Reads one resource.
pub(super) async fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> io::Result<T> {
    Ok(serde_json::from_slice(&request(socket, Method::GET, path).await?)?)
}

/// Asks for an action.
pub(super) async fn post(socket: &Path, path: &str) -> io::Result<()> {
    request(socket, Method::POST, path).await.map(drop)
}

async fn request(socket: &Path, method: Method, path: &str) -> io::Result<Bytes> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let ask = async {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "docker")
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(io::Error::other)?;
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await.map_err(io::Error::other)?;
        match status.is_success() {
            true => Ok(body.to_bytes()),
            false => Err(io::Error::other(format!("{path}: {status}"))),
        }
    };
    tokio::pin!(ask);
    // The connection has to be driven while the answer comes in, and may end before the answer is read.
    tokio::select! {
        biased;
        answer = &mut ask => answer,
        _ = connection => ask.await,
    }
}
