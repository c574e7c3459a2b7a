//! A single request to a unix socket.

use std::{io, ops::ControlFlow, path::Path};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// Lists of thousands of networks or containers are smaller.
const MAX_BODY: usize = 8 << 20;

/// A complete response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// The `Server` header: the program and its version.
    pub(crate) server: Option<String>,
    pub(crate) body: Bytes,
}

/// Sends a request and reads the whole response.
///
/// # Errors
/// If there is no response. An error status is a response.
pub(crate) async fn ask(socket: &Path, method: Method, path: &str) -> io::Result<Answer> {
    send(socket, method, path, Bytes::new()).await
}

/// Sends a request with a body, and reads the whole response.
///
/// # Errors
/// As [`ask`].
pub(crate) async fn send(socket: &Path, method: Method, path: &str, body: Bytes) -> io::Result<Answer> {
    exchange(socket, method, path, body, async |response| {
        let status = response.status();
        let server = response.headers().get(header::SERVER);
        let server = server.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await.map_err(io::Error::other)?;
        Ok(Answer { status, server, body: body.to_bytes() })
    })
    .await
}

/// Reads a response chunk by chunk, until it ends or `each` breaks.
///
/// # Errors
/// If there is no response, or one with an error status.
pub(crate) async fn follow(
    socket: &Path,
    path: &str,
    mut each: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<()> {
    exchange(socket, Method::GET, path, Bytes::new(), async |response| {
        if !response.status().is_success() {
            return Err(io::Error::other(format!("{path}: {}", response.status())));
        }
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(io::Error::other)?;
            if frame.data_ref().is_some_and(|data| each(data).is_break()) {
                break;
            }
        }
        Ok(())
    })
    .await
}

async fn exchange<T>(
    socket: &Path,
    method: Method,
    path: &str,
    body: Bytes,
    read: impl AsyncFnOnce(Response<Incoming>) -> io::Result<T>,
) -> io::Result<T> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let ask = async {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONNECTION, "close")
            .body(Full::new(body))
            .map_err(io::Error::other)?;
        read(sender.send_request(request).await.map_err(io::Error::other)?).await
    };
    tokio::pin!(ask);
    // The connection must be polled while the response arrives, and may close before the response is read.
    tokio::select! {
        biased;
        answer = &mut ask => answer,
        _ = connection => ask.await,
    }
}
