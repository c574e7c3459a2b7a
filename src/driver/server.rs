//! HTTP/1 on the plugin socket.
//!
//! Connections have no idle timeout: after a dropped connection dockerd repeats the request without its body, so a race
//! would make a container start fail. Instead every request has a time limit.

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
/// Shorter than dockerd's timeout for a managed plugin (30 s), and longer than any work in the kernel takes.
pub const TIME_LIMIT: Duration = Duration::from_secs(20);
/// dockerd's media type, the same in all versions since 20.10.
const MEDIA_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";
/// No limits: dockerd is the only client.
const LIMITS: Limits = Limits { connections: usize::MAX, buffer: None, timeout: None };

/// Accepts connections until `stop` resolves, then gives running requests a moment to finish.
///
/// Each request is answered within `time_limit`, whatever the kernel does. It is [`TIME_LIMIT`] except in tests.
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
        return response(StatusCode::METHOD_NOT_ALLOWED, &refusal("only POST is supported"));
    }
    let path = parts.uri.path().to_owned();
    let work = async {
        let body = Limited::new(body, MAX_BODY)
            .collect()
            .await
            .map_err(|err| format!("cannot read the request body: {err}"))?
            .to_bytes();
        let called = path.clone();
        match manager.run(move |manager| routes::answer(manager, &called, &body)).await {
            Ok(answer) => Ok(answer),
            Err(_) => Err("internal error in canhub; see `journalctl -u canhub`".to_owned()),
        }
    };
    let answer = match timeout(time_limit, work).await {
        Ok(Ok(None)) => {
            return response(StatusCode::NOT_FOUND, &refusal(&format!("canhub has no method {path}")));
        }
        Ok(Ok(Some(answer))) => answer,
        Ok(Err(why)) => Err(why),
        Err(_) => Err(format!(
            "{path} timed out after {} s; canhub completes it in the background, try again",
            time_limit.as_secs_f32()
        )),
    };
    answered(&path, answer)
}

/// dockerd accepts only status 200; it shows the text of `Err` to the user after "remote: ".
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
