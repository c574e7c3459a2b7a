//! `/v1/hosts`: the other hosts of all spans.

use std::time::Duration;

use http_body_util::Full;
use hyper::{
    Method, Response, StatusCode,
    body::{Bytes, Incoming},
};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    Admin,
    routes::{as_json, read_body, refused},
};

/// `canhub-span` tells its state at most 250 ms after a change.
const FORGETS_WITHIN: Duration = Duration::from_secs(3);
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Which host to forget.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    host: String,
}

/// All hosts.
pub(super) fn list(admin: &Admin) -> Response<Full<Bytes>> {
    let spans = admin.manager.spans();
    as_json(StatusCode::OK, &json!({ "span": spans.program(), "hosts": spans.hosts() }))
}

/// Forgets one, and returns the others.
pub(super) async fn forget(admin: &Admin, method: &Method, body: Incoming) -> Response<Full<Bytes>> {
    if *method != Method::DELETE {
        return refused(StatusCode::METHOD_NOT_ALLOWED, "method not allowed: use GET or DELETE");
    }
    let spans = admin.manager.spans();
    let host = match read_body::<Which>(body).await {
        Ok(Which { host }) => host,
        Err(why) => return refused(StatusCode::BAD_REQUEST, &why),
    };
    if let Err(why) = spans.forget(&host) {
        return refused(StatusCode::BAD_REQUEST, &why);
    }
    let until = Instant::now() + FORGETS_WITHIN;
    while spans.knows(&host) {
        if Instant::now() >= until {
            let why = format!("canhub-span did not forget host {host}: see `journalctl -u canhub-span`");
            return refused(StatusCode::SERVICE_UNAVAILABLE, &why);
        }
        sleep(ASK_AGAIN).await;
    }
    list(admin)
}
