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

use crate::kernel::{Kernel, monotonic, refused, since_boot, sleep_until};

/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(1);
/// It notices in this time that it is to stop.
const STOPS_WITHIN: Duration = Duration::from_millis(20);
/// What is sent at once if it is late: more than the queues of slower wires have room for.
const BURST: u64 = 64;
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
    let frames = vec![source.frame; usize::try_from(BURST).unwrap_or_default()];
    let (begun, mut sent) = (monotonic(), 0);
    while !is_over() {
        let due = due_after(monotonic().saturating_sub(begun), source.rate);
        let now = usize::try_from(due.saturating_sub(sent).min(BURST)).unwrap_or_default();
        match if now == 0 { Ok(0) } else { sender.send(&frames[..now]) } {
            Ok(_) => {}
            // A queue is full: it sends as fast as its wire takes frames, as an idiot would.
            Err(err) if refused::is_full(&err) => {}
            Err(err) => return Err(err),
        }
        sent = due;
        let next = begun + Duration::from_secs(sent) / source.rate;
        sleep_until(next.max(monotonic() + TICK).min(monotonic() + STOPS_WITHIN));
    }
    Ok(())
}

/// How many frames are due so long after the beginning; the first one is due at once.
fn due_after(elapsed: Duration, rate: u32) -> u64 {
    let due = elapsed.as_micros() * u128::from(rate) / 1_000_000 + 1;
    u64::try_from(due).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_frame_is_due_at_once_and_the_others_at_their_rate() {
        let due = |ms, rate| due_after(Duration::from_millis(ms), rate);
        assert_eq!((due(0, 1), due(999, 1), due(1000, 1)), (1, 1, 2));
        assert_eq!((due(1, 20_000), due(1000, 20_000)), (21, 20_001));
        // A fault may last for weeks.
        assert_eq!(due_after(Duration::from_secs(10_000_000), 20_000), 200_000_000_001);
    }
}
