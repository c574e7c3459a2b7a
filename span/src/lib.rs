//! `canhub-span` makes the buses of several hosts one bus: all networks with the same `span=NAME` on all hosts that may
//! speak on that span.
