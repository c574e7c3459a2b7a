//! canhub puts CAN buses into containers and heals them by itself.
//!
//! One request reads from top to bottom: [`driver::server`] takes it off the socket, [`driver::routes`]
//! turns it into a call of the [`manager`], which knows in its [`model`] what Docker wants ([`network`],
//! [`endpoint`], [`options`], [`adapter`]). [`plan`] compares that with what the [`kernel`] has, in one pure function, and
//! [`apply`] carries out the steps. [`reconcile`] does the same for everything, whenever an event or the
//! audit says so. [`state`] keeps over crashes and reboots what Docker tells only once, [`lock`] keeps a second
//! canhub away from it and from the buses, and [`docker`] asks
//! Docker in the background for what it never tells. Whatever happens goes through [`events`]: one line in the
//! log, one event, one count in [`metrics`]; [`traffic`] adds up frames, and [`admin`] shows all of it and the
//! [`status`] of all buses on a socket.
//! [`health`] watches what canhub needs and makes one word of it, by the [`checks`] that a person can run too.
//! [`daemon`] wires all of it; [`cli`] is the front door.
//!
//! # Tasks and signals
//!
//! The runtime has one thread. [`daemon`] spawns these tasks, each with this name in the log if it panics:
//!
//! | task | does | woken by |
//! |---|---|---|
//! | `reconcile loop` ([`reconcile::run`]) | looks at everything and heals | `look_wanted`; after `--audit-interval` at the latest |
//! | `link events` | asks for a look at every link event | the kernel |
//! | `questions to Docker` ([`docker::run`]) | learns networks, follows renames, finds late containers and unreachable ports | `relearn_wanted`, Docker's rename events; after 5 min at the latest |
//! | `health` ([`health::Health::watch`]) | checks the buses, the records and Docker, each at its own pace | `audit_done` while something is wrong, an event that health depends on; after the policy's interval at the latest |
//! | `admin socket` ([`admin::Admin::serve`]) | answers, one task per connection | a client |
//! | `metrics over TCP` | the same for `/metrics`, with `--metrics-listen` | a client |
//! | `readiness` | tells systemd `READY=1`, once | `is_validated` |
//!
//! The driver itself ([`driver::server`]) runs in the main task, with one task per connection, and ends with SIGTERM or
//! SIGINT. Whatever may block runs on threads of their own, lent by [`manager::Handle`].
//!
//! The signals are those of [`manager::Signals`], and one more of [`daemon`]:
//!
//! | signal | given by | wakes |
//! |---|---|---|
//! | `look_wanted` | link events; the manager, where a call leaves something to heal or to remove | `reconcile loop` |
//! | `relearn_wanted` | the manager, where Docker knows more about a network or endpoint; a rename that Docker tells | `questions to Docker` |
//! | `audit_done` | the manager, after each look at everything | `health` |
//! | `is_validated` | `reconcile loop`, after its first look that succeeded | `readiness` |
//! | events ([`events::Reader`]) | whatever happens | `health`; clients of `/v1/events` |
//!
//! Two times go with them: `audit_age`, read by `/v1/ready`, status and metrics; and `settles_in`, for which the
//! `reconcile loop` leaves the host alone after Docker's own changes.
//!
//! Only [`kernel`] knows netlink, and only the private module `system` holds unsafe code.

pub mod adapter;
pub mod admin;
pub mod apply;
pub mod checks;
pub mod cli;
pub mod clock;
pub mod daemon;
pub mod docker;
pub mod driver;
pub mod endpoint;
pub mod error;
pub mod events;
pub mod health;
mod http;
pub mod kernel;
pub mod lock;
pub mod logs;
pub mod manager;
pub mod metrics;
pub mod model;
pub mod names;
pub mod network;
pub mod options;
pub mod plan;
pub mod reconcile;
pub mod rustycan4docker;
pub mod state;
pub mod status;
mod suggest;
mod system;
pub mod traffic;
