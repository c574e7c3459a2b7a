//! Maps paths to responses.

use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use super::{Admin, attachments, expectations, faults, hosts, scrape, stream::EventBody};
use crate::{
    health::HealthStatus,
    http::server::{of_type, whole},
    manager::{Handle, Manager},
};

/// The body of a response: complete for most paths, endless for events.
type Body = Either<Full<Bytes>, EventBody>;

const JSON: &str = "application/json";
/// OpenMetrics 1.0, "Content-Type".
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const EVENT_STREAM: &str = "text/event-stream";
/// The valid paths, listed in 404 responses.
const PATHS: [&str; 12] = [
    "/v1/health",
    "/v1/heal",
    "/v1/ready",
    "/v1/status",
    "/v1/events",
    "/v1/buses",
    "/v1/attachments",
    "/v1/expectations",
    "/v1/faults",
    "/v1/hosts",
    "/v1/openapi.json",
    "/metrics",
];
/// Bytes of a request; names are shorter.
const BODY_MAX: usize = 16 << 10;
/// The OpenAPI description.
const OPENAPI: &str = include_str!("../../docs/openapi.json");

/// Answers a request on the admin socket.
pub(super) async fn answer(admin: Admin, allowed: bool, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if !allowed {
        let why = "permission denied: only root and the user that runs canhub have access";
        return refused(StatusCode::FORBIDDEN, why).map(Either::Left);
    }
    if (&parts.method, parts.uri.path()) == (&Method::POST, "/v1/heal") {
        return heal(&admin).await.map(Either::Left);
    }
    if parts.uri.path() == "/v1/expectations" && parts.method != Method::GET {
        return expectations::change(&admin, &parts.method, body).await.map(Either::Left);
    }
    if parts.uri.path() == "/v1/faults" && parts.method != Method::GET {
        return faults::change(&admin, &parts.method, body).await.map(Either::Left);
    }
    if parts.uri.path() == "/v1/hosts" && parts.method != Method::GET {
        return hosts::forget(&admin, &parts.method, body).await.map(Either::Left);
    }
    if parts.uri.path() == "/v1/buses" && parts.method != Method::GET {
        return attachments::change_buses(&admin, &parts.method, body).await.map(Either::Left);
    }
    if parts.uri.path() == "/v1/attachments" && parts.method != Method::GET {
        return attachments::change_attachments(&admin, &parts.method, body).await.map(Either::Left);
    }
    if parts.method != Method::GET {
        let why = "method not allowed: use GET, or POST for /v1/heal";
        return refused(StatusCode::METHOD_NOT_ALLOWED, why).map(Either::Left);
    }
    match parts.uri.path() {
        "/v1/health" => health(&admin).map(Either::Left),
        "/v1/openapi.json" => whole(StatusCode::OK, JSON, OPENAPI).map(Either::Left),
        "/v1/ready" => ready(&admin.manager).map(Either::Left),
        "/v1/status" => status(&admin).await.map(Either::Left),
        "/v1/expectations" => expectations::list(&admin).map(Either::Left),
        "/v1/faults" => faults::list(&admin).map(Either::Left),
        "/v1/hosts" => hosts::list(&admin).map(Either::Left),
        "/v1/buses" => attachments::buses(&admin).await.map(Either::Left),
        "/v1/attachments" => {
            attachments::attachments(&admin, parts.uri.query().unwrap_or_default()).await.map(Either::Left)
        }
        "/v1/events" => events(&admin, parts.uri.query().unwrap_or_default()),
        "/metrics" => metrics(&admin).await.map(Either::Left),
        path => not_found(path, &PATHS).map(Either::Left),
    }
}

/// Answers a request over TCP.
pub(super) async fn answer_metrics(admin: Admin, request: Request<Incoming>) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => metrics(&admin).await,
        (_, path) => not_found(path, &["/metrics"]),
    }
}

fn ready(manager: &Handle) -> Response<Full<Bytes>> {
    match manager.signals().audit_age() {
        Some(_) => as_json(StatusCode::OK, &json!({ "ready": true })),
        None => refused(StatusCode::SERVICE_UNAVAILABLE, "the first check of all buses is still running"),
    }
}

/// Returns the last results without running a check, so the caller never waits.
fn health(admin: &Admin) -> Response<Full<Bytes>> {
    let report = admin.health.report();
    let status = match report.status {
        HealthStatus::Unhealthy | HealthStatus::Unknown => StatusCode::SERVICE_UNAVAILABLE,
        HealthStatus::Unwatched | HealthStatus::Healthy | HealthStatus::Degraded => StatusCode::OK,
    };
    as_json(status, &report)
}

async fn status(admin: &Admin) -> Response<Full<Bytes>> {
    match admin.read(Manager::status).await {
        Ok(status) => as_json(StatusCode::OK, &status),
        Err(why) => refused(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

async fn heal(admin: &Admin) -> Response<Full<Bytes>> {
    match admin.heal().await {
        Ok(done) => as_json(StatusCode::OK, &json!({ "done": done })),
        Err(why) => refused(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

async fn metrics(admin: &Admin) -> Response<Full<Bytes>> {
    let health = admin.health.report();
    match admin.read(move |manager| scrape::text(manager, &health)).await {
        Ok(text) => whole(StatusCode::OK, OPENMETRICS, text),
        Err(why) => refused(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

fn events(admin: &Admin, query: &str) -> Response<Body> {
    let (last, follow) = match parse_query(query) {
        Ok(asked) => asked,
        Err(why) => return refused(StatusCode::BAD_REQUEST, &why).map(Either::Left),
    };
    let Some(place) = admin.place() else {
        let why = "too many event listeners; try again later";
        return refused(StatusCode::SERVICE_UNAVAILABLE, why).map(Either::Left);
    };
    let reader = admin.manager.events().listen(last);
    of_type(StatusCode::OK, EVENT_STREAM, Either::Right(EventBody::new(reader, follow, place)))
}

/// Parses how many of the most recent events to start with, and whether to follow.
fn parse_query(query: &str) -> Result<(usize, bool), String> {
    let (mut last, mut follow) = (0, true);
    for (key, value) in query
        .split('&')
        .filter(|word| !word.is_empty())
        .map(|word| word.split_once('=').unwrap_or((word, "")))
    {
        match (key, value.parse::<usize>(), value.parse::<bool>()) {
            ("last", Ok(number), _) => last = number,
            ("follow", _, Ok(answer)) => follow = answer,
            _ => {
                return Err(format!(
                    "invalid parameter {key}={value}: valid are last=NUMBER and follow=true or false"
                ));
            }
        }
    }
    Ok((last, follow))
}

fn not_found(path: &str, there: &[&str]) -> Response<Full<Bytes>> {
    refused(StatusCode::NOT_FOUND, &format!("no such path {path}; valid paths: {}", there.join(", ")))
}

/// The JSON body of a request.
///
/// # Errors
/// One sentence: what is wrong with it.
pub(super) async fn read_body<T: DeserializeOwned>(body: Incoming) -> Result<T, String> {
    let body = Limited::new(body, BODY_MAX).collect().await;
    let body = body.map_err(|err| format!("cannot read the request: {err}"))?.to_bytes();
    serde_json::from_slice(&body).map_err(|err| {
        // What is wrong with a value is a sentence of its own; its position in the request helps nobody.
        let why = err.to_string();
        let why = why.rsplit_once(" at line ").map_or(why.as_str(), |(why, _)| why);
        why.to_owned()
    })
}

pub(super) fn refused(status: StatusCode, why: &str) -> Response<Full<Bytes>> {
    as_json(status, &json!({ "error": why }))
}

pub(super) fn as_json(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    // Our types have string keys and no NaN or infinity, so serialization cannot fail.
    whole(status, JSON, serde_json::to_vec(body).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_parsed_and_invalid_ones_refused() {
        assert_eq!(parse_query(""), Ok((0, true)));
        assert_eq!(parse_query("last=7&follow=false"), Ok((7, false)));
        for wrong in ["last=-1", "last", "since=3", "follow=no"] {
            assert!(parse_query(wrong).unwrap_err().contains("last=NUMBER"), "{wrong}");
        }
    }
}
