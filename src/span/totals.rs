//! Counters of `canhub-span` that never fall while canhub runs, though those of a `canhub-span` that found nothing of the run
//! before start at 0.

use super::protocol::{HostState, SpanState, TooOld};

/// Counters, added up across restarts of whoever counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Growing<const N: usize> {
    before: [u64; N],
    last: [u64; N],
}

impl<const N: usize> Default for Growing<N> {
    fn default() -> Self {
        Self { before: [0; N], last: [0; N] }
    }
}

impl<const N: usize> Growing<N> {
    /// Takes in a reading and replaces it with the totals. A counter that fell started again.
    fn add_to(&mut self, now: [&mut u64; N]) {
        for (at, now) in now.into_iter().enumerate() {
            if *now < self.last[at] {
                self.before[at] = self.before[at].saturating_add(self.last[at]);
            }
            self.last[at] = *now;
            *now = self.before[at].saturating_add(*now);
        }
    }
}

/// The counters of a span.
pub(super) type OfSpan = Growing<8>;
/// The counters of a host on a span.
pub(super) type OfHost = Growing<7>;

impl OfSpan {
    pub(super) fn total(&mut self, span: &mut SpanState) {
        let SpanState { missed, lost_at_port, held_back, write_errors, too_old, frames_out, .. } = span;
        let TooOld { before_sending, on_arrival, before_wire } = too_old;
        self.add_to([
            missed,
            lost_at_port,
            held_back,
            write_errors,
            before_sending,
            on_arrival,
            before_wire,
            frames_out,
        ]);
    }
}

impl OfHost {
    pub(super) fn total(&mut self, host: &mut HostState) {
        let HostState { frames_in, frames_out, lost, too_old, refused, duplicates, looped, .. } = host;
        self.add_to([frames_in, frames_out, lost, too_old, refused, duplicates, looped]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_of_canhub_span_does_not_take_anything_back() {
        let mut totals = OfHost::default();
        let mut read = |frames_in, lost| {
            let mut host = HostState { frames_in, lost, ..HostState::default() };
            totals.total(&mut host);
            (host.frames_in, host.lost)
        };
        assert_eq!(read(1000, 3), (1000, 3), "what it counted before canhub started, too");
        assert_eq!(read(1500, 3), (1500, 3));
        assert_eq!(read(10, 0), (1510, 3), "restarted");
        assert_eq!(read(20, 1), (1520, 4));
    }
}
