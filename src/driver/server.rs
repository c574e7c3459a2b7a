//! HTTP/1 on the plugin socket.
//!
//! No idle timeout closes a connection: dockerd repeats a request on a dropped connection without its
//! body, and a race there is one failed container start. Every request has a time limit instead.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown};
use serde_json::{Value, json};
use tokio::{net::UnixListener, task::JoinSet, time::timeout};
use tracing::{debug, warn};

use super::routes::{self, Answer};
use crate::manager::Manager;

/// Real requests are under 4 KiB.
const MAX_BODY: usize = 1 << 20;
/// Shorter than dockerd's patience with a managed plugin (30 s) and longer than any kernel work.
pub const TIME_LIMIT: Duration = Duration::from_secs(20);
/// dockerd waits 10 s for a plugin to end, and a Join takes milliseconds.
const GRACE: Duration = Duration::from_secs(1);
/// dockerd's media type, the same on every version from 20.10 on.
const MEDIA_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";

/// Accepts connections until `stop` resolves, then lets running requests finish for a moment.
///
/// Each request is answered within `time_limit`, whatever the kernel does: [`TIME_LIMIT`], but for tests.
pub async fn serve(
    listener: UnixListener,
    manager: Arc<Manager>,
    time_limit: Duration,
    stop: impl Future<Output = ()>,
) {
    let mut connections = JoinSet::new();
    let graceful = GracefulShutdown::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let manager = manager.clone();
                    let service = service_fn(move |request| respond(manager.clone(), time_limit, request));
                    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    connections.spawn(graceful.watch(connection));
                }
                // EMFILE and friends pass; a daemon that stops accepting does not come back.
                Err(err) => refused(err).await,
            },
            Some(ended) = connections.join_next() => {
                if let Ok(Err(err)) = ended {
                    // dockerd dials a managed plugin once and hangs up without a word.
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
    warn!(%err, "no connection could be accepted; it will be tried again");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn respond(
    manager: Arc<Manager>,
    time_limit: Duration,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    if parts.method != Method::POST {
        return Ok(response(StatusCode::METHOD_NOT_ALLOWED, &refusal("only POST is answered here")));
    }
    let path = parts.uri.path().to_owned();
    let work = async {
        let body = Limited::new(body, MAX_BODY)
            .collect()
            .await
            .map_err(|err| format!("the body could not be read: {err}"))?
            .to_bytes();
        let called = path.clone();
        match tokio::task::spawn_blocking(move || routes::answer(&manager, &called, &body)).await {
            Ok(answer) => Ok(answer),
            Err(_) => Err("canhub met a bug of its own; its log tells more".to_owned()),
        }
    };
    let answer = match timeout(time_limit, work).await {
        Ok(Ok(None)) => {
            return Ok(response(StatusCode::NOT_FOUND, &refusal(&format!("canhub has no method {path}"))));
        }
        Ok(Ok(Some(answer))) => answer,
        Ok(Err(why)) => Err(why),
        Err(_) => Err(format!(
            "{path} took longer than {} s; canhub finishes it in the background, try again",
            time_limit.as_secs_f32()
        )),
    };
    Ok(answered(&path, answer))
}

/// dockerd takes only status 200; with `Err` in it, the user reads the sentence after "remote: ".
fn answered(path: &str, answer: Answer) -> Response<Full<Bytes>> {
    match answer {
        Ok(value) => response(StatusCode::OK, &value),
        Err(why) => {
            warn!(method = path.trim_start_matches("/NetworkDriver."), reason = why, "refused");
            response(StatusCode::OK, &refusal(&why))
        }
    }
}

fn refusal(why: &str) -> Value {
    json!({ "Err": why })
}

fn response(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(MEDIA_TYPE));
    response
}
