//! canhub connects containers to CAN buses and keeps the buses healed.
//!
//! A request passes through these modules from top to bottom: [`driver::server`] reads it from the socket, and
//! [`driver::routes`] turns it into a call of the [`manager`], whose [`model`] knows what Docker wants ([`network`],
//! [`endpoint`], [`options`], [`adapter`], [`pace`],
//! [`shape`]). [`plan`] is a pure function that compares this with what the [`kernel`]
//! has, and [`apply`] carries out the steps. [`reconcile`] does the same for everything, on every event and audit.
//! [`state`] keeps what Docker sends only once across crashes and reboots, [`lock`] keeps a second canhub away from it
//! and from the buses, and [`docker`] queries Docker's API in the background for what it never sends. An [`attachment`] is a member without Docker. Everything that
//! happens goes through [`events`]: one line in the log, one event, one count in [`metrics`]. [`traffic`] adds up
//! frames, and [`admin`] serves all this and the [`status`] of all buses on a socket. [`health`] monitors what canhub
//! needs, using the same [`checks`] as `canhub doctor`. [`expect`] lets the kernel listen for frames that should be on a
//! bus. [`fault`] is what somebody does to a bus on purpose, until when. [`frames`] is about the frames themselves, for the commands that show, record and replay them: a [`frames::Tap`] on
//! a [`frames::Bus`] tells who sent each one. [`span`] is what canhub knows about one bus on several hosts, which the program
//! `canhub-span` connects. [`cni`] and [`netavark`] are the protocols of container engines other than Docker, for the commands
//! that ask the daemon to attach a container. [`daemon`] ties it all together; [`cli`] is the command line.
//!
//! # Tasks and signals
//!
//! The runtime has one thread. [`daemon`] spawns these tasks. If one panics, it is logged under this name:
//!
//! | task | does | woken by |
//! |---|---|---|
//! | `reconcile loop` ([`reconcile::run`]) | reads everything and heals | `look_wanted`; at the latest after `--audit-interval` |
//! | `wire shares` ([`reconcile::share_wires`]) | slows down containers that exceed an adapter's wire ([`shares`]) | `carried_out`; then 10 to 20 times per second while an adapter carries paced containers |
//! | `link events` | wakes the reconcile loop on every link event | the kernel |
//! | `Docker queries` ([`docker::run`]) | learns networks, follows renames, finds late containers and unreachable ports | `relearn_wanted`, Docker's rename events; at the latest after 5 min |
//! | `health` ([`health::Health::watch`]) | checks the buses, the records and Docker, each at its own pace | `audit_done` while something is wrong, events that health depends on; at the latest after the policy's interval |
//! | `expectations` ([`fn@expect::watch`]) | tells when expected frames are missing | the kernel, when one is overdue or back; several times per cycle to read how many there were, which is done on a thread of its own; events that change who is on a bus |
//! | `faults` ([`fault::keep`]) | ends faults on purpose, and sends what they send | `faults_changed`; when one ends; every second while one lasts |
//! | `canhub-span` ([`span::keep`]) | tells `canhub-span` the span ports, and takes in what it knows about other hosts | `canhub-span`, at least every second; changes of the ports, which the reconcile loop finds; once a second while it cannot be reached |
//! | `admin socket` ([`admin::Admin::serve`]) | serves requests, one task per connection | a client |
//! | `metrics over TCP` | the same for `/metrics`, with `--metrics-listen` | a client |
//! | `readiness` | sends `READY=1` to systemd, once | `is_validated` |
//!
//! The driver itself ([`driver::server`]) runs in the main task, with one task per connection, and ends on SIGTERM or
//! SIGINT. Everything that may block runs on separate threads, through [`manager::Handle`].
//!
//! The signals are those of [`manager::Signals`], and one of [`daemon`]:
//!
//! | signal | sent by | wakes |
//! |---|---|---|
//! | `look_wanted` | link events; the manager, if a call leaves something to heal or remove | `reconcile loop` |
//! | `relearn_wanted` | the manager, if Docker's API may have more about a network or endpoint; renames of containers | `Docker queries` |
//! | `carried_out` | the manager, after each Join or pass that changed something | `wire shares` |
//! | `audit_done` | the manager, after each audit | `health` |
//! | `is_validated` | `reconcile loop`, after its first successful pass | `readiness` |
//! | `faults_changed` | the manager, when a fault on purpose began or ended | `faults` |
//! | events ([`events::Reader`]) | everything that happens | `health`; clients of `/v1/events` |
//!
//! There are also two times: `audit_age`, for `/v1/ready`, status and metrics; and `settles_in`, during which the
//! `reconcile loop` leaves the host alone after Docker's own changes.
//!
//! Only [`kernel`] knows netlink, and only the private module `system` holds unsafe code.

pub mod adapter;
pub mod admin;
pub mod apply;
pub mod attachment;
pub mod checks;
pub mod cli;
pub mod clock;
pub mod cni;
pub mod config_file;
pub mod daemon;
pub mod docker;
pub mod driver;
pub mod endpoint;
pub mod error;
pub mod events;
pub mod expect;
pub mod fault;
pub mod filters;
pub mod frames;
pub mod health;
pub mod http;
pub mod kernel;
pub mod lock;
pub mod logs;
pub mod manager;
pub mod metrics;
pub mod model;
pub mod names;
pub mod netavark;
pub mod network;
pub mod options;
pub mod pace;
pub mod plan;
pub mod reconcile;
pub mod rustycan4docker;
pub mod shape;
pub mod shares;
pub mod span;
pub mod state;
pub mod status;
mod suggest;
mod system;
pub mod traffic;
