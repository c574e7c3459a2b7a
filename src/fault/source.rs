//! What a fault sends: floods, and errors that are reported again and again. A thread each, so that a rate is kept while
//! canhub does other work.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use socketcan::CanAnyFrame;
use tracing::debug;

use crate::kernel::{Kernel, Sender, monotonic, refused, since_boot, sleep_until};

/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(1);
/// It notices in this time that it is to stop.
const STOPS_WITHIN: Duration = Duration::from_millis(20);
/// What is sent at once if it is late: more than the queues of slower wires have room for.
const BURST: usize = 64;
/// After an error, such as an interface that is down for a moment.
const PAUSE: Duration = Duration::from_millis(100);

/// Where frames are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `None`: on the host.
    pub sandbox: Option<PathBuf>,
    /// The index of the interface there.
    pub index: u32,
    /// Whether programs in the same namespace hear the frames, as they do those of others. Without that, frames that are
    /// sent on a host end are heard in the container only.
    pub looped: bool,
}

/// Frames to send while a fault lasts.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The fault.
    pub fault: u64,
    /// Where.
    pub place: Place,
    /// The frame.
    pub frame: CanAnyFrame,
    /// How often, per second; not 0.
    pub rate: u32,
    /// Until when, since the boot.
    pub ends: Option<Duration>,
}

/// The threads of all sources.
#[derive(Default)]
pub(super) struct Running(Vec<Thread>);

struct Thread {
    source: Source,
    stop: Arc<AtomicBool>,
}

impl Running {
    /// Starts those that are new, and stops those that are not wanted any more.
    pub(super) fn follow(&mut self, kernel: &Arc<dyn Kernel>, wanted: Vec<Source>) {
        self.0.retain(|thread| wanted.contains(&thread.source));
        for source in wanted {
            if self.0.iter().any(|thread| thread.source == source) {
                continue;
            }
            let stop = Arc::new(AtomicBool::new(false));
            let (kernel, is_stopped, sent) = (kernel.clone(), stop.clone(), source.clone());
            let named = thread::Builder::new().name("canhub-fault".into());
            match named.spawn(move || send(&*kernel, &sent, &is_stopped)) {
                Ok(_) => self.0.push(Thread { source, stop }),
                // The next look tries again.
                Err(err) => debug!(%err, "no thread for a fault that sends frames"),
            }
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn send(kernel: &dyn Kernel, source: &Source, stop: &AtomicBool) {
    let is_over = || stop.load(Ordering::SeqCst) || source.ends.is_some_and(|ends| ends <= since_boot());
    while !is_over() {
        if let Err(err) = send_from(kernel, source, &is_over) {
            debug!(%err, fault = source.fault, "a fault could not send its frames; trying again");
            sleep_until(monotonic() + PAUSE);
        }
    }
}

fn send_from(kernel: &dyn Kernel, source: &Source, is_over: &impl Fn() -> bool) -> io::Result<()> {
    let Place { sandbox, index, looped } = &source.place;
    let mut sender = kernel
        .sender(sandbox.as_deref(), *index, *looped)
        .map_err(|err| io::Error::other(err.to_string()))?;
    send_with(&mut *sender, source, is_over)
}

fn send_with(sender: &mut dyn Sender, source: &Source, is_over: &impl Fn() -> bool) -> io::Result<()> {
    let frames = [source.frame; BURST];
    let (begun, mut due) = (monotonic(), Due { rate: source.rate, taken: 0 });
    while !is_over() {
        match due.take(monotonic().saturating_sub(begun)) {
            0 => {}
            now => match sender.send(&frames[..now]) {
                Ok(_) => {}
                // A queue is full: it sends as fast as its wire takes frames, as an idiot would.
                Err(err) if refused::is_full(&err) => {}
                Err(err) => return Err(err),
            },
        }
        sleep_until((begun + due.next()).max(monotonic() + TICK).min(monotonic() + STOPS_WITHIN));
    }
    Ok(())
}

/// Which frames of a source are due.
struct Due {
    /// Frames per second; not 0.
    rate: u32,
    /// How many were sent or given up.
    taken: u64,
}

impl Due {
    /// How many to send, so long after the beginning. The first one is due at once; what is late by more than a burst is
    /// given up.
    fn take(&mut self, elapsed: Duration) -> usize {
        let due = elapsed.as_micros() * u128::from(self.rate) / 1_000_000 + 1;
        let due = u64::try_from(due).unwrap_or(u64::MAX);
        let late = due.saturating_sub(self.taken);
        self.taken = due;
        usize::try_from(late).map_or(BURST, |late| late.min(BURST))
    }

    /// When the next one is due, after the beginning.
    fn next(&self) -> Duration {
        Duration::from_secs(self.taken) / self.rate
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, time::Instant};

    use nix::libc::{EAGAIN, ENETDOWN, ENOBUFS};
    use parking_lot::Mutex;
    use socketcan::{CanDataFrame, EmbeddedFrame as _, StandardId};

    use super::*;
    use crate::kernel::{LinkKind, fake::FakeKernel};

    fn source(index: u32) -> Source {
        let frame = CanDataFrame::new(StandardId::new(0x7DF).unwrap(), &[0; 8]).unwrap();
        let place = Place { sandbox: None, index, looped: true };
        Source { fault: 1, place, frame: frame.into(), rate: 1000, ends: None }
    }

    #[test]
    fn the_first_frame_is_due_at_once_and_the_others_at_their_rate() {
        let second = Duration::from_secs(1);
        let mut due = Due { rate: 400, taken: 0 };
        let frame = second / 400;
        assert_eq!((due.take(Duration::ZERO), due.next()), (1, frame));
        assert_eq!((due.take(frame - Duration::from_micros(1)), due.next()), (0, frame));
        assert_eq!((due.take(frame), due.next()), (1, 2 * frame));
        assert_eq!(due.take(8 * frame), 7, "it was late, and catches up");
        // A fault may last for weeks.
        let mut due = Due { rate: 20_000, taken: 0 };
        let weeks = Duration::from_secs(10_000_000);
        due.take(weeks);
        assert_eq!((due.taken, due.next() > weeks), (200_000_000_001, true));
    }

    #[test]
    fn what_is_late_by_more_than_a_burst_is_given_up() {
        let second = Duration::from_secs(1);
        let mut due = Due { rate: 400, taken: 0 };
        assert_eq!(due.take(second), BURST);
        assert_eq!(due.take(second), 0);
        assert_eq!(due.take(second + second / 400), 1);
        let mut due = Due { rate: 1000, taken: 0 };
        let burst = second * (BURST as u32 - 1) / 1000;
        assert_eq!((due.take(burst), due.take(burst + second / 1000)), (BURST, 1), "a whole burst is sent");
    }

    /// A socket that answers as told, and then takes everything.
    struct Answering {
        answers: VecDeque<i32>,
        asked: Arc<Mutex<usize>>,
    }

    impl Sender for Answering {
        fn send(&mut self, frames: &[CanAnyFrame]) -> io::Result<usize> {
            *self.asked.lock() += 1;
            self.answers
                .pop_front()
                .map_or(Ok(frames.len()), |errno| Err(io::Error::from_raw_os_error(errno)))
        }
    }

    #[test]
    fn a_full_queue_is_no_reason_to_stop_and_another_error_is() {
        for (errno, asked_for, result) in
            [(ENOBUFS, 3, Ok(())), (EAGAIN, 3, Ok(())), (ENETDOWN, 1, Err(Some(ENETDOWN)))]
        {
            let asked = Arc::new(Mutex::new(0));
            let mut sender = Answering { answers: [errno].into(), asked: asked.clone() };
            let sent = send_with(&mut sender, &source(1), &|| *asked.lock() == 3);
            assert_eq!((sent.map_err(|err| err.raw_os_error()), *asked.lock()), (result, asked_for));
        }
    }

    #[test]
    fn an_interface_that_comes_late_is_sent_to_when_it_is_there() {
        let kernel = Arc::new(FakeKernel::new());
        let first = kernel.add_foreign("vcan0", LinkKind::Vcan);
        let next = first + 1;
        let mut running = Running::default();
        running.follow(&(kernel.clone() as Arc<dyn Kernel>), vec![source(next)]);
        // Its first attempt fails, at once or a moment later.
        thread::sleep(PAUSE / 2);
        assert_eq!(kernel.add_foreign("vcan1", LinkKind::Vcan), next);
        let begun = Instant::now();
        while kernel.written().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it gave up");
            thread::sleep(TICK);
        }
    }
}
