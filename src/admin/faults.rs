//! `/v1/faults`: faults on purpose.

use http_body_util::Full;
use hyper::{
    Method, Response, StatusCode,
    body::{Bytes, Incoming},
};
use serde_json::json;

use super::{
    Admin,
    routes::{as_json, read_body, refused},
};
use crate::{
    fault::{Request, Which},
    manager::Manager,
};

/// The command that shows them.
const LIST: &str = "canhub fault list";

/// All faults in effect.
pub(super) fn list(admin: &Admin) -> Response<Full<Bytes>> {
    as_json(StatusCode::OK, &json!({ "faults": admin.manager.faults() }))
}

/// Lets one begin, and returns it; or ends some, and returns them.
pub(super) async fn change(admin: &Admin, method: &Method, body: Incoming) -> Response<Full<Bytes>> {
    let begin = |wanted: Request| {
        move |manager: &Manager| manager.fault(wanted).map(|fault| json!({ "fault": fault }))
    };
    let end = |which: Which| {
        move |manager: &Manager| manager.clear_faults(&which).map(|cleared| json!({ "cleared": cleared }))
    };
    let done = match *method {
        Method::POST => match read_body(body).await {
            Ok(wanted) => admin.change(LIST, begin(wanted)).await,
            Err(why) => Err(why),
        },
        Method::DELETE => match read_body(body).await {
            Ok(which) => admin.change(LIST, end(which)).await,
            Err(why) => Err(why),
        },
        _ => {
            let why = "method not allowed: use GET, POST or DELETE";
            return refused(StatusCode::METHOD_NOT_ALLOWED, why);
        }
    };
    match done {
        Ok(done) => as_json(StatusCode::OK, &done),
        Err(why) => refused(StatusCode::BAD_REQUEST, &why),
    }
}
