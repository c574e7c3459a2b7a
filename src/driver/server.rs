//! HTTP/1 on the plugin socket.
//!
//! No idle timeout closes a connection: dockerd repeats a request on a dropped connection without its
//! body, and a race there is one failed container start. Every request has a time limit instead.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
};
use serde_json::{Value, json};
use tokio::{net::UnixListener, time::timeout};
use tracing::warn;

use super::routes::{self, Answer};
use crate::{
    http::server::{self, Limits, whole},
    manager::Handle,
};

/// Real requests are under 4 KiB.
const MAX_BODY: usize = 1 << 20;
/// Shorter than dockerd's patience with a managed plugin (30 s) and longer than any kernel work.
pub const TIME_LIMIT: Duration = Duration::from_secs(20);
/// dockerd's media type, the same on every version from 20.10 on.
const MEDIA_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";
/// dockerd alone speaks here.
const LIMITS: Limits = Limits { connections: usize::MAX, buffer: None, patience: None };

/// Accepts connections until `stop` resolves, then lets running requests finish for a moment.
///
/// Each request is answered within `time_limit`, whatever the kernel does: [`TIME_LIMIT`], but for tests.
pub async fn serve(
    listener: UnixListener,
    manager: Handle,
    time_limit: Duration,
    stop: impl Future<Output = ()>,
) {
    let service = |_: &_| {
        let manager = manager.clone();
        move |request| respond(manager.clone(), time_limit, request)
    };
    server::serve(listener, LIMITS, service, stop).await;
}

async fn respond(manager: Handle, time_limit: Duration, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    if parts.method != Method::POST {
        return response(StatusCode::METHOD_NOT_ALLOWED, &refusal("only POST is answered here"));
    }
    let path = parts.uri.path().to_owned();
    let work = async {
        let body = Limited::new(body, MAX_BODY)
            .collect()
            .await
            .map_err(|err| format!("the body could not be read: {err}"))?
            .to_bytes();
        let called = path.clone();
        match manager.run(move |manager| routes::answer(manager, &called, &body)).await {
            Ok(answer) => Ok(answer),
            Err(_) => Err("canhub met a bug of its own; its log tells more".to_owned()),
        }
    };
    let answer = match timeout(time_limit, work).await {
        Ok(Ok(None)) => {
            return response(StatusCode::NOT_FOUND, &refusal(&format!("canhub has no method {path}")));
        }
        Ok(Ok(Some(answer))) => answer,
        Ok(Err(why)) => Err(why),
        Err(_) => Err(format!(
            "{path} took longer than {} s; canhub finishes it in the background, try again",
            time_limit.as_secs_f32()
        )),
    };
    answered(&path, answer)
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
    whole(status, MEDIA_TYPE, body.to_string())
}
