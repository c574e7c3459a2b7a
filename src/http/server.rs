//! Connections of a listening socket, and helpers for responses.

use std::{convert::Infallible, error, io, time::Duration};

use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Bytes, Incoming},
    header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    task::JoinSet,
    time::timeout,
};
use tracing::{debug, warn};

use super::write_timeout::WriteTimeout;

/// dockerd waits 10 s for a plugin to stop, and a Join takes milliseconds.
const GRACE: Duration = Duration::from_secs(1);

/// Limits for connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Maximum number of connections; further ones are closed immediately.
    pub(crate) connections: usize,
    /// Buffer size per direction in bytes; `None`: hyper's 400 KiB.
    pub(crate) buffer: Option<usize>,
    /// How long a client may be idle before its next request, and how long it may leave a response unread; `None`:
    /// forever.
    pub(crate) timeout: Option<Duration>,
}

/// A listening socket.
pub(crate) trait Listener {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Accepts the next connection.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

/// Accepts connections until `stop` resolves, then gives running requests a moment to finish.
///
/// `service` creates the request handler of each connection.
pub(crate) async fn serve<L, S, A, B>(
    listener: L,
    limits: Limits,
    service: impl Fn(&L::Stream) -> S,
    stop: impl Future<Output = ()>,
) where
    L: Listener,
    S: Fn(Request<Incoming>) -> A + Send + 'static,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn error::Error + Send + Sync>>,
{
    let mut http = http1::Builder::new();
    // No client of canhub reads it, and hyper would read the clock for each request.
    http.auto_date_header(false);
    if let Some(bytes) = limits.buffer {
        http.max_buf_size(bytes);
    }
    if let Some(timeout) = limits.timeout {
        http.timer(TokioTimer::new()).header_read_timeout(timeout);
    }
    let mut connections = JoinSet::new();
    let graceful = GracefulShutdown::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(_) if connections.len() >= limits.connections => debug!("one connection too many"),
                Ok(stream) => {
                    let answer = service(&stream);
                    let service = service_fn(move |request| {
                        let answer = answer(request);
                        async { Ok::<_, Infallible>(answer.await) }
                    });
                    let connection = http.serve_connection(TokioIo::new(WriteTimeout::new(stream, limits.timeout)), service);
                    connections.spawn(graceful.watch(connection));
                }
                // EMFILE and the like pass; a daemon that stops accepting does not recover.
                Err(err) => refused(err).await,
            },
            Some(ended) = connections.join_next() => {
                if let Ok(Err(err)) = ended {
                    // dockerd dials a managed plugin once and hangs up without sending anything.
                    debug!(%err, "connection ended early");
                }
            }
            () = &mut stop => break,
        }
    }
    drop(listener);
    let _ = timeout(GRACE, graceful.shutdown()).await;
}

async fn refused(err: io::Error) {
    warn!(%err, "could not accept a connection; will retry");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// A complete response.
pub(crate) fn whole(
    status: StatusCode,
    media_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    of_type(status, media_type, Full::new(body.into()))
}

/// A response with any body.
pub(crate) fn of_type<B>(status: StatusCode, media_type: &'static str, body: B) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media_type));
    response
}

#[cfg(test)]
mod tests {
    use std::{io::Write, time::Instant};

    use super::*;

    /// More than the buffers of a socket hold.
    const LARGE: usize = 16 << 20;

    #[tokio::test]
    async fn a_client_that_does_not_read_its_response_is_disconnected() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("sock")).unwrap();
        let mut client = std::os::unix::net::UnixStream::connect(dir.path().join("sock")).unwrap();
        let limits =
            Limits { connections: 1, buffer: Some(16 << 10), timeout: Some(Duration::from_millis(50)) };
        let service = |_: &_| |_| async { whole(StatusCode::OK, "text/plain", vec![b'x'; LARGE]) };
        let server = serve(listener, limits, service, std::future::pending());
        let unread = async {
            client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            let deadline = Instant::now() + Duration::from_secs(20);
            client.set_nonblocking(true).unwrap();
            // Nobody reads what is written; the write fails once the server has closed the connection.
            while client.write(b"G").map_err(|err| err.kind()) != Err(io::ErrorKind::BrokenPipe) {
                assert!(Instant::now() < deadline, "the connection is still open");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = server => unreachable!("it serves for ever"),
            () = unread => {}
        }
    }
}
