//! The admin socket: what canhub knows, for `canhub status` and `canhub events`, for monitoring, for scripts.
//!
//! - `GET /v1/health`: [`crate::health::HealthReport`] as JSON; 200 while healthy or degraded, 503 while unhealthy
//! - `GET /v1/ready`: 200 once start-up validation is done, 503 before
//! - `GET /v1/status`: [`crate::status::Status`] as JSON
//! - `GET /v1/events`: server-sent events, each a [`crate::events::FeedItem`] as JSON; `?last=N` begins with the
//!   last N that are kept, `&follow=false` ends after them
//! - `GET /v1/openapi.json`: all of this for programs, as OpenAPI 3.1
//! - `POST /v1/heal`: one look that heals all, also where healing is off; `{"done": [...]}`, each a
//!   [`crate::apply::Repair`]
//! - `GET /metrics`: OpenMetrics text, the one thing that `--metrics-listen` serves over TCP too
//!
//! An answer that is no success is `{"error": "one sentence"}`. Nothing here changes anything but
//! `/v1/heal`, which does what the reconcile loop does, and nothing
//! that asks here can hold up the driver: the kernel is read by few at a time, on threads of their own, within
//! a time limit, and events are dropped for who does not read them.

mod routes;
mod scrape;
mod server;
mod stream;

pub use server::{Admin, HEAL_TIME_LIMIT, SOCKET};
