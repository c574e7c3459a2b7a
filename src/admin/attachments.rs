//! `/v1/buses` and `/v1/attachments`: buses and members without Docker.

use http_body_util::Full;
use hyper::{
    Method, Response, StatusCode,
    body::{Bytes, Incoming},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use super::{
    Admin,
    routes::{as_json, read_body, refused},
};
use crate::{
    attachment::{AttachRequest, BusRequest, WhichAttachment, WhichBus},
    error::{Code, Error},
    manager::Manager,
    names::AttachmentId,
};

/// The command that shows buses.
const BUSES: &str = "canhub bus ls";
/// The command that shows attachments.
const ATTACHMENTS: &str = "canhub attach ls";

/// All buses.
pub(super) async fn buses(admin: &Admin) -> Response<Full<Bytes>> {
    let all = admin.read(|manager| Ok(manager.buses())).await;
    answer("buses", all.map(Ok))
}

/// Makes or removes a bus, and returns it.
pub(super) async fn change_buses(admin: &Admin, method: &Method, body: Incoming) -> Response<Full<Bytes>> {
    let create = |asked: BusRequest| move |manager: &Manager| manager.create_bus(asked);
    let remove = |which: WhichBus| move |manager: &Manager| manager.remove_bus(&which.name);
    match *method {
        Method::POST => change(admin, ("bus", BUSES), body, create).await,
        Method::DELETE => change(admin, ("bus", BUSES), body, remove).await,
        _ => not_allowed(),
    }
}

/// All attachments, or the one that the query names, as they are now.
pub(super) async fn attachments(admin: &Admin, query: &str) -> Response<Full<Bytes>> {
    let id = match wanted(query) {
        Ok(id) => id,
        Err(why) => return refused(StatusCode::BAD_REQUEST, &why),
    };
    let found = admin.read(move |manager| Ok(manager.attachments(id.as_ref()))).await;
    answer("attachments", found)
}

/// Attaches or detaches a namespace, and returns the attachment.
pub(super) async fn change_attachments(
    admin: &Admin,
    method: &Method,
    body: Incoming,
) -> Response<Full<Bytes>> {
    let attach = |asked: AttachRequest| move |manager: &Manager| manager.attach(&asked);
    let detach = |which: WhichAttachment| move |manager: &Manager| manager.detach(&which);
    match *method {
        Method::POST => change(admin, ("attachment", ATTACHMENTS), body, attach).await,
        Method::DELETE => change(admin, ("attachment", ATTACHMENTS), body, detach).await,
        _ => not_allowed(),
    }
}

fn wanted(query: &str) -> Result<Option<AttachmentId>, String> {
    match query.split_once('=') {
        None if query.is_empty() => Ok(None),
        Some(("id", id)) => id.to_owned().try_into().map(Some),
        _ => Err(format!("invalid parameter {query}: valid is id=ID")),
    }
}

/// Does what the body asks for, and answers with the result under this name.
async fn change<A, W, T>(
    admin: &Admin,
    (name, list): (&str, &str),
    body: Incoming,
    work: impl FnOnce(A) -> W,
) -> Response<Full<Bytes>>
where
    A: DeserializeOwned,
    W: FnOnce(&Manager) -> Result<T, Error> + Send + 'static,
    T: Serialize + Send + 'static,
{
    let work = match read_body(body).await {
        Ok(asked) => work(asked),
        Err(why) => return refused(StatusCode::BAD_REQUEST, &why),
    };
    answer(name, admin.change(list, move |manager| Ok(work(manager))).await)
}

/// The result, the refusal with its code, or why there is none.
fn answer<T: Serialize>(name: &str, done: Result<Result<T, Error>, String>) -> Response<Full<Bytes>> {
    match done {
        Ok(Ok(done)) => as_json(StatusCode::OK, &json!({ name: done })),
        Ok(Err(Error::Coded { code, text })) => {
            as_json(status_of(code), &json!({ "error": text, "code": code }))
        }
        Ok(Err(err)) => refused(StatusCode::BAD_REQUEST, &err.to_string()),
        Err(why) => refused(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

fn status_of(code: Code) -> StatusCode {
    match code {
        Code::UnknownBus | Code::UnknownAttachment => StatusCode::NOT_FOUND,
        Code::Exists | Code::Taken | Code::InUse => StatusCode::CONFLICT,
    }
}

fn not_allowed() -> Response<Full<Bytes>> {
    refused(StatusCode::METHOD_NOT_ALLOWED, "method not allowed: use GET, POST or DELETE")
}
