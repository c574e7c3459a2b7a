//! A bus as the next run of this program finds it, however this one ends.
//!
//! Kept are numbers only. A frame that waits is lost with the run, and counted by the next one: what came out of the port and
//! did not leave is missed, what came from another host and was not written could not be written. The kernel's counter of
//! the port tells which of these it still got.

use std::time::Duration;

use canhub::{
    kernel::{KeptNumbers, Passed},
    span::protocol,
};

use super::{Bus, Peer, age};
use crate::flow::{Inbound, Moment, Outbound, Taken, Waiting};

/// The numbers of a bus, and those of a host on it: as many as [`Bus::keep`] writes.
const OF_BUS: usize = 19;
const OF_PEER: usize = 22;
/// Of those of a host: its name, in 8 bytes each, padded with zeros. It has at most 63.
const NAME: usize = 8;
/// A ledger has room for the numbers of one bus with so many other hosts as may be connected.
pub const NUMBERS: usize = OF_BUS + 256 * OF_PEER;

/// Frames that were written to the port since it was opened.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Written {
    /// Which interface the port is.
    interface: u64,
    /// Those that it had taken before.
    before: u64,
    /// Those that it has taken since, as far as this program knows.
    pub(super) frames: u64,
}

/// Frames that waited for the port when a run ended, and what that run had written.
#[derive(Debug)]
pub(super) struct Unwritten {
    waiting: u64,
    written: Written,
}

impl Bus {
    /// For a port. `instance` is that of this run of `canhub-span`. A ledger may have the numbers of the run before, which had
    /// the same instance.
    pub fn new(port: protocol::Port, instance: u64, ledger: Option<KeptNumbers>) -> Self {
        let numbers = ledger.as_ref().and_then(KeptNumbers::read);
        let mut bus = Self::empty(port, instance);
        if let Some((of_bus, of_peers)) = numbers.as_ref().and_then(|numbers| numbers.split_first_chunk()) {
            bus.restore(*of_bus);
            let age = age(&bus.port);
            let (peers, _) = of_peers.as_chunks();
            bus.peers.extend(peers.iter().filter_map(|numbers| Peer::restored(instance, age, *numbers)));
        }
        bus.ledger = ledger;
        bus.keep();
        bus
    }

    fn restore(&mut self, numbers: [u64; OF_BUS]) {
        let [
            epoch,
            sent,
            batches,
            too_old_to_leave,
            queue_full,
            unfit,
            leaving,
            too_old,
            no_room,
            waiting,
            port,
            known,
            missed,
            lost_at_port,
            write_errors,
            held_back,
            interface,
            before,
            frames,
        ] = numbers;
        let age = age(&self.port);
        let outbound = [epoch, sent, batches, too_old_to_leave, queue_full, unfit];
        self.outbound = Outbound::restored(self.instance, age, outbound);
        self.waiting = Waiting::restored(age, [too_old, no_room]);
        self.taken = Taken::restored([port, known, missed]);
        self.taken.abandoned(leaving);
        (self.lost_at_port, self.write_errors, self.held_back) = (lost_at_port, write_errors, held_back);
        self.unwritten = Some(Unwritten { waiting, written: Written { interface, before, frames } });
    }

    /// Keeps everything for the next run. To be called before a batch leaves, before frames of other hosts are written to the
    /// port, and before anybody is told a count.
    pub fn keep(&mut self) {
        let Some(ledger) = &self.ledger else { return };
        let numbers = &mut self.numbers;
        numbers.clear();
        numbers.extend(self.outbound.kept());
        numbers.push(self.outbound.waiting() as u64);
        numbers.extend(self.waiting.kept());
        // Until the port is open, it is not known what became of those that waited before, and no others are written.
        let waited = self.unwritten.as_ref().map(|unwritten| (unwritten.waiting, unwritten.written));
        let (waited, written) = waited.unwrap_or((0, self.written));
        numbers.push(waited + self.waiting.len() as u64);
        numbers.extend(self.taken.kept());
        numbers.extend([self.lost_at_port, self.write_errors, self.held_back]);
        numbers.extend([written.interface, written.before, written.frames]);
        for (name, peer) in &self.peers {
            numbers.extend(words(name));
            numbers.extend(peer.inbound.kept());
            numbers.extend([peer.refused_fd, peer.foreign, peer.frames_out, peer.looped]);
        }
        ledger.write(numbers);
    }

    /// The port was opened, and its interface is known: what the run before had written to it is, too.
    pub(super) fn opened_as(&mut self, now: Moment, passed: Option<Passed>) {
        if let Some(Unwritten { waiting, written }) = self.unwritten.take() {
            // A tunnel writes to the port as well.
            let same = passed.filter(|passed| passed.interface == written.interface && !self.has_tunnel);
            let taken = same.map_or(0, |passed| passed.sent.saturating_sub(written.before));
            self.write_errors += waiting.saturating_sub(taken.saturating_sub(written.frames));
        }
        let Some(Passed { interface, sent, .. }) = passed else { return };
        self.taken.opened(now, interface);
        self.written = Written { interface, before: sent, frames: 0 };
    }
}

impl Peer {
    fn restored(own: u64, age: Duration, numbers: [u64; OF_PEER]) -> Option<(String, Self)> {
        let (name, counts) = numbers.split_first_chunk::<NAME>()?;
        let (inbound, own_counts) = counts.split_first_chunk()?;
        let [refused_fd, foreign, frames_out, looped] = *own_counts else { return None };
        let inbound = Inbound::restored(own, age, *inbound);
        Some((text(name)?, Self { inbound, refused_fd, foreign, frames_out, looped, online: false }))
    }
}

fn words(name: &str) -> [u64; NAME] {
    let mut bytes = name.bytes();
    std::array::from_fn(|_| u64::from_be_bytes(std::array::from_fn(|_| bytes.next().unwrap_or_default())))
}

fn text(words: &[u64; NAME]) -> Option<String> {
    let bytes: Vec<u8> =
        words.iter().flat_map(|word| word.to_be_bytes()).take_while(|byte| *byte != 0).collect();
    String::from_utf8(bytes).ok().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use canhub::{
        frames::{CanAnyFrame, Timestamp},
        kernel::Heard,
    };
    use socketcan::{EmbeddedFrame as _, StandardId};

    use super::{
        super::tests::{at, batch, bus_with, hosts, says},
        *,
    };
    use crate::{
        batch::{Encoder, Header, decode},
        flow::Clocks,
    };

    const PORT: u64 = 7;

    fn run(folder: &Path) -> Bus {
        bus_with(Some(KeptNumbers::open(&folder.join("ledger"), NUMBERS).unwrap()))
    }

    fn passed(received: u64, sent: u64) -> Option<Passed> {
        Some(Passed { interface: PORT, received, sent })
    }

    fn clocks(millis: u64) -> Clocks {
        let nanos = 1_000_000_000_000 + millis * 1_000_000;
        Clocks { now: Moment(nanos), wall: Timestamp(nanos) }
    }

    fn heard(clocks: &Clocks, frames: usize) -> Vec<Heard> {
        let frame = CanAnyFrame::new(StandardId::new(1).unwrap(), &[]).unwrap();
        let time = clocks.wall.0;
        vec![Heard { time, interface: 1, by_host: false, lost: 0, frame }; frames]
    }

    fn header(batch: Option<&[u8]>) -> Header {
        *decode(batch.unwrap()).unwrap().header()
    }

    /// So many have entered the port.
    fn look(bus: &mut Bus, received: u64) {
        for millis in (0..10_000).step_by(100) {
            let now = clocks(millis).now;
            if bus.wants_look(now) {
                bus.looked(now, 0, passed(received, 0).unwrap());
            }
        }
    }

    #[test]
    fn frames_that_nobody_took_in_are_missed_and_the_numbers_of_batches_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let (now, mut encoder) = (clocks(0), Encoder::default());
        let mut bus = run(folder.path());
        bus.opened(now, passed(0, 0));
        look(&mut bus, 0);
        bus.take_in(&mut heard(&now, 5), &now);
        let first = header(bus.leaves(&now, &mut encoder));
        // These are in the port's socket, or wait, when it is killed.
        bus.take_in(&mut heard(&now, 2), &now);
        drop(bus);

        let mut bus = run(folder.path());
        bus.opened(now, passed(20, 0));
        look(&mut bus, 20);
        let next = header(bus.leaves(&clocks(1), &mut encoder));
        assert_eq!((next.instance, next.frames_before), (first.instance, 5));
        assert!(next.sequence > first.sequence && next.epoch > first.epoch);
        let state = bus.state(&hosts(), &clocks(1));
        assert_eq!((state.frames_out, state.missed), (5, 15));
    }

    #[test]
    fn what_waited_for_the_port_could_not_be_written_unless_the_kernel_has_it() {
        for (sent, unwritten) in [(10, 3), (12, 1), (13, 0), (90, 0)] {
            let folder = tempfile::tempdir().unwrap();
            let (mut hosts, now) = (hosts(), at(1000).moment);
            says(&mut hosts, None);
            let mut bus = run(folder.path());
            bus.opened(clocks(0), passed(0, 10));
            for before in 0..3 {
                bus.receive("cell", &batch(before), &hosts, now);
            }
            bus.keep();
            // It is killed while it writes them.
            drop(bus);
            let mut bus = run(folder.path());
            bus.opened(clocks(0), passed(0, sent));
            bus.receive("cell", &batch(5), &hosts, now);
            let state = bus.state(&hosts, &clocks(0));
            assert_eq!(state.write_errors, unwritten, "{sent}");
            assert_eq!(state.hosts[0].lost, 2, "those that came while nobody was there");
        }
    }

    #[test]
    fn what_is_told_is_never_lower_in_the_next_run() {
        let folder = tempfile::tempdir().unwrap();
        let (mut hosts, now) = (hosts(), clocks(0));
        says(&mut hosts, None);
        let mut bus = run(folder.path());
        let lost = Heard { lost: 4, ..heard(&now, 1)[0] };
        bus.take_in(&mut vec![lost], &now);
        bus.receive("cell", &batch(0), &hosts, now.now);
        bus.receive("cell", &batch(7), &hosts, now.now);
        bus.next_for_bus(clocks(300).now, 1);
        let told = bus.state(&hosts, &clocks(300));
        drop(bus);
        let mut next = run(folder.path());
        let again = next.state(&hosts, &clocks(300));
        assert_eq!((again.lost_at_port, again.too_old), (told.lost_at_port, told.too_old));
        assert_eq!(again.hosts, told.hosts);
        assert_eq!(told.lost_at_port, 4);
        assert_eq!(told.hosts[0].lost, 6);
    }

    #[test]
    fn a_name_is_kept_whole() {
        for name in ["b", "a-host-of-eight", &"x".repeat(63)] {
            assert_eq!(text(&words(name)).as_deref(), Some(name));
        }
        assert_eq!(text(&[0; NAME]), None);
    }
}
