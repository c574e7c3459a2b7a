//! `/v1/expectations`: what is expected on the buses.

use http_body_util::Full;
use hyper::{
    Method, Response, StatusCode,
    body::{Bytes, Incoming},
};
use serde::Deserialize;
use serde_json::json;

use super::{
    Admin,
    routes::{as_json, read_body, refused},
};
use crate::expect::{Expectation, FrameId};

/// The command that shows them.
const LIST: &str = "canhub expect ls";

/// Which expectation to remove.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    bus: String,
    id: String,
    from: Option<String>,
}

/// All expectations.
pub(super) fn list(admin: &Admin) -> Response<Full<Bytes>> {
    as_json(StatusCode::OK, &json!({ "expectations": admin.manager.expectations().report() }))
}

/// Adds or removes one, and returns all.
pub(super) async fn change(admin: &Admin, method: &Method, body: Incoming) -> Response<Full<Bytes>> {
    let done = match *method {
        Method::POST => match read_body::<Expectation>(body).await {
            Ok(wanted) => admin.change(LIST, move |manager| manager.expect(wanted).map(drop)).await,
            Err(why) => Err(why),
        },
        Method::DELETE => {
            match read_body::<Which>(body).await.and_then(|which| Ok((which.id.parse()?, which))) {
                Ok((id, Which { bus, from, .. })) => {
                    let id: FrameId = id;
                    admin.change(LIST, move |manager| manager.unexpect(&bus, id, from.as_deref())).await
                }
                Err(why) => Err(why),
            }
        }
        _ => {
            let why = "method not allowed: use GET, POST or DELETE";
            return refused(StatusCode::METHOD_NOT_ALLOWED, why);
        }
    };
    match done {
        Ok(()) => list(admin),
        Err(why) => refused(StatusCode::BAD_REQUEST, &why),
    }
}
