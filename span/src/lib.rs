//! `canhub-span` makes the buses of several hosts one bus: all networks with the same `span=NAME` on all hosts that may
//! speak on that span.
//!
//! A frame that a member sends comes out of the span port ([`port`]), where the task of its [`bus`] takes it in and sends it
//! to the other hosts, on a busy bus a batch per millisecond. There the [`engine`] hands the batch to the task of the bus of that
//! span, which writes its frames to its port. A [`tunnel`] to a program that speaks [`cannelloni`] has a socket of its own on
//! the span port. What others send is bytes until [`batch`] or [`cannelloni`] has checked them. [`flow`] decides about frames: it is pure, so that all of its paths are tested. [`parts`] takes
//! frames apart.
//!
//! [`daemon`] ties it together; its session is this host in its fleet: it says [`hello`], and [`hosts`] knows from the
//! hellos of others who is there and who is refused. [`mesh`] is the engine as it is now, open or not, for everybody who
//! sends. [`ledger`] is what the next run of the program finds of this one. [`control`] is the socket on which canhub says which ports there are, and is told everything. [`fleet`] knows which
//! hosts there are and what each may do, [`config`] reads `/etc/canhub/span.toml`, [`cli`] is the command line.
//!
//! # Tasks and who wakes them
//!
//! | task | does | woken by |
//! |---|---|---|
//! | session ([`daemon`]) | opens the engine, says hello, lists hosts, tells canhub | events of the engine; canhub; when the next hello, look at the files or state is due |
//! | one per bus ([`bus::run`]) | carries frames both ways | its port; batches of other hosts; when a batch is due; the session, if its port or the hosts that are online change |
//! | one per tunnel ([`tunnel::run`]) | carries frames both ways | its port; its socket; the session, if its port changes |
//! | control socket ([`control::Control::serve`]) | one canhub at a time | canhub; a new state |
//!
//! These tasks and the engine's share one or two threads; the session has one of its own. The engine only puts events into
//! channels: a full channel loses batches, which are then missing by their numbers, and never waits. Two locks may be held at once in this order: the hosts, then a bus. None is held
//! across an await.

pub mod batch;
pub mod bus;
pub mod cannelloni;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod engine;
pub mod fleet;
pub mod flow;
pub mod hello;
pub mod hosts;
pub mod ledger;
pub mod mesh;
pub mod parts;
pub mod port;
pub mod tunnel;
