//! Which frames of the span port were taken in, of all that entered it.
//!
//! Between the kernel and this program frames vanish without a sign: while it does not run, or has not opened the port.
//! The kernel counts what entered the port, whoever listens; what is missing then was missed.

use std::time::Duration;

use super::Moment;

/// Between two looks at the kernel's counter, until it is known what was missed.
const AGAIN: Duration = Duration::from_millis(100);
/// So many looks tell. A frame that the kernel has counted may not be in the socket yet, then too many seem to be missing:
/// the least is right.
const LOOKS: u8 = 5;

/// Counts the frames of one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// Which interface the port is; a port that is made again is another one. 0: none.
    interface: u64,
    /// Frames that entered it and were taken in, or are known to be missed.
    known: u64,
    missed: u64,
    /// How many more looks are needed, the next one when, and what the least was that seemed to be missing.
    looks: u8,
    next: Moment,
    least: u64,
}

impl Taken {
    /// What the run before knew.
    pub fn restored([interface, known, missed]: [u64; 3]) -> Self {
        Self { interface, known, missed, ..Self::default() }
    }

    /// For the next run.
    pub fn kept(&self) -> [u64; 3] {
        [self.interface, self.known, self.missed]
    }

    /// The port was opened, as this interface. It is to be found out what was missed.
    pub fn opened(&mut self, now: Moment, interface: u64) {
        if self.interface != interface {
            // Nobody took in any of its frames.
            (self.interface, self.known) = (interface, 0);
        }
        (self.looks, self.next, self.least) = (LOOKS, now, u64::MAX);
    }

    /// So many frames came out of the port, or were lost behind it because this program was too slow.
    pub fn took(&mut self, frames: u64) {
        self.known += frames;
    }

    /// Frames that were taken in by a run that ended before it did anything with them.
    pub fn abandoned(&mut self, frames: u64) {
        self.missed += frames;
    }

    /// Whether to look at the kernel's counter now, once no frame is left in the socket.
    pub fn wants_look(&self, now: Moment) -> bool {
        self.looks > 0 && self.next <= now
    }

    /// All frames were taken in; after that, this interface had received so many.
    pub fn looked(&mut self, now: Moment, interface: u64, received: u64) {
        if interface != self.interface || self.looks == 0 {
            return;
        }
        self.looks -= 1;
        self.next = now + AGAIN;
        self.least = self.least.min(received.saturating_sub(self.known));
        if self.looks == 0 {
            self.known += self.least;
            self.missed += self.least;
        }
    }

    /// Frames that entered the port and were not taken in.
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks as often as is wanted; each time so many have entered.
    fn look(taken: &mut Taken, interface: u64, entered: impl Fn(u64) -> u64) {
        for second in 1.. {
            let now = Moment(second * 1_000_000_000);
            if !taken.wants_look(now) {
                return;
            }
            taken.looked(now, interface, entered(second));
        }
    }

    #[test]
    fn what_entered_before_the_port_was_opened_was_missed() {
        let mut taken = Taken::default();
        taken.opened(Moment(0), 7);
        look(&mut taken, 7, |_| 12);
        assert_eq!(taken.missed(), 12);
        taken.took(30);
        taken.opened(Moment(0), 7);
        look(&mut taken, 7, |_| 45);
        assert_eq!(taken.missed(), 15, "the socket failed, and was opened again");
    }

    #[test]
    fn the_next_run_knows_what_was_taken_in_and_a_new_interface_starts_at_0() {
        let mut taken = Taken::default();
        taken.opened(Moment(0), 7);
        look(&mut taken, 7, |_| 3);
        taken.took(100);
        let mut next = Taken::restored(taken.kept());
        next.opened(Moment(0), 7);
        next.took(4);
        look(&mut next, 7, |_| 120);
        assert_eq!(next.missed(), 3 + 13);
        next.opened(Moment(0), 8);
        look(&mut next, 8, |_| 2);
        assert_eq!(next.missed(), 16 + 2);
    }

    #[test]
    fn a_frame_on_its_way_into_the_socket_is_not_missed() {
        let mut taken = Taken::default();
        taken.opened(Moment(0), 7);
        look(&mut taken, 7, |second| if second == 3 { 5 } else { 5 + second });
        assert_eq!(taken.missed(), 5);
        taken.looked(Moment(u64::MAX), 7, 1000);
        assert_eq!(taken.missed(), 5, "once is enough");
    }
}
