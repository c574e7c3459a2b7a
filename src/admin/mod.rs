//! The admin socket: what canhub knows, for `canhub status`, `canhub events`, monitoring and scripts.
//!
//! - `GET /v1/health`: [`crate::health::HealthReport`] as JSON; 200 while healthy or degraded, 503 while unhealthy
//! - `GET /v1/ready`: 200 once start-up validation is done, 503 before
//! - `GET /v1/status`: [`crate::status::Status`] as JSON
//! - `GET /v1/events`: server-sent events, each a [`crate::events::FeedItem`] as JSON; `?last=N` starts with the last N
//!   that are kept, `&follow=false` ends after them
//! - `GET /v1/openapi.json`: an OpenAPI 3.1 description of all this
//! - `POST /v1/heal`: heals everything once, including networks with healing off; `{"done": [...]}`, each a
//!   [`crate::apply::Repair`]
//! - `GET /v1/expectations`: `{"expectations": [...]}`, each a [`crate::status::ExpectationStatus`]; `POST` adds one
//!   ([`crate::expect::Wish`]), `DELETE` removes one (`bus`, `id`, `from`), and both return all
//! - `GET /v1/faults`: `{"faults": [...]}`, each a [`crate::status::FaultStatus`]; `POST` lets one begin
//!   ([`crate::fault::Wish`]) and returns it, `DELETE` ends those that [`crate::fault::Which`] names and returns them
//! - `GET /v1/hosts`: `{"span": ..., "hosts": [...]}`, each a [`crate::status::HostOnSpan`]; `DELETE` forgets one (`host`)
//!   and returns the others
//! - `GET /v1/buses`: `{"buses": [...]}`, each a [`crate::attachment::BusOutline`]; `POST` makes one
//!   ([`crate::attachment::BusRequest`]), `DELETE` removes one (`name`), and both return it
//! - `GET /v1/attachments`: `{"attachments": [...]}`, each a [`crate::attachment::AttachmentStatus`] as the kernel has it now;
//!   `?id=ID` only that one; `POST` attaches a namespace ([`crate::attachment::AttachRequest`]), `DELETE` detaches one
//!   ([`crate::attachment::WhichAttachment`]), and both return it
//! - `GET /metrics`: OpenMetrics text, the only path that `--metrics-listen` also serves over TCP
//!
//! Errors are `{"error": "one sentence"}`; those of `/v1/buses` and `/v1/attachments` may also have a `code`, a
//! [`crate::error::Code`]. Only `/v1/heal`, `/v1/expectations`, `/v1/faults`, `/v1/hosts`, `/v1/buses` and `/v1/attachments`
//! change anything: the first does what the reconcile loop does, the second what is told, the third what happens to frames
//! until when, the fourth what `canhub-span` lists, and the last two what Docker does for its containers.
//! No request can hold up the driver: few requests read the kernel at a time, each on a thread of its own and within a
//! time limit, and clients that do not read their events lose them.

mod attachments;
mod expectations;
mod faults;
mod hosts;
mod routes;
mod scrape;
mod server;
mod stream;

pub use server::{Admin, HEAL_TIME_LIMIT, SOCKET};
