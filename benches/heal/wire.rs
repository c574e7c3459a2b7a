//! Frames from the hub to a container, with sockets that are reopened whenever they are lost.
//!
//! Busy-waits for frames: the clock of a guest ticks a hundred times a second, and any sleep takes one or two ticks,
//! which would be most of the measurement.

use std::{
    fs::File,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, setns};
use socketcan::{CanFrame, CanSocket, EmbeddedFrame, ExtendedId, Socket};

const TICK: Duration = Duration::from_millis(5);
/// Longer than the normal pause between two frames.
const SILENCE: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(20);

/// A sender on the hub and a receiver in the container, until dropped.
pub struct Wire {
    /// The current round of the sender; incremented at each fault, so that no earlier frame counts.
    round: Arc<AtomicU32>,
    /// The last round of which a frame arrived.
    arrived: Arc<AtomicU32>,
    heard: Receiver<(u32, Instant)>,
    ended: Arc<AtomicBool>,
}

impl Wire {
    pub fn start(hub: &'static str, sandbox: &Path) -> Self {
        let (round, arrived) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(u32::MAX)));
        let ended = Arc::new(AtomicBool::new(false));
        let (tell, heard) = channel();
        let namespace = File::open(sandbox).unwrap();
        {
            let ended = ended.clone();
            thread::spawn(move || {
                setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
                listen(&tell, &ended);
            });
        }
        {
            let (round, arrived, ended) = (round.clone(), arrived.clone(), ended.clone());
            thread::spawn(move || send(hub, &round, &arrived, &ended));
        }
        let wire = Self { round, arrived, heard, ended };
        wire.wait_for(0);
        wire
    }

    /// The time from the fault until the first frame arrives that was sent after it, repaired by this closure or by
    /// canhub.
    pub fn silence_after(&self, harm: impl FnOnce(), repair: impl FnOnce()) -> Duration {
        harm();
        let broken = Instant::now();
        let round = self.round.fetch_add(1, Ordering::SeqCst) + 1;
        repair();
        self.wait_for(round).saturating_duration_since(broken)
    }

    fn wait_for(&self, round: u32) -> Instant {
        loop {
            let (heard, at) =
                self.heard.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("the bus does not heal"));
            if heard == round {
                self.arrived.store(round, Ordering::SeqCst);
                return at;
            }
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
    }
}

fn listen(tell: &Sender<(u32, Instant)>, ended: &AtomicBool) {
    while !ended.load(Ordering::SeqCst) {
        thread::yield_now();
        let Ok(socket) = CanSocket::open("can0") else { continue };
        // Until it is lost or silent; a socket on a deleted interface is silent forever.
        while let Ok(frame) = socket.read_frame_timeout(SILENCE) {
            let round = frame.data().try_into().map(u32::from_be_bytes);
            if round.is_ok_and(|round| tell.send((round, Instant::now())).is_err()) {
                return;
            }
        }
    }
}

fn send(hub: &str, round: &AtomicU32, heard: &AtomicU32, ended: &AtomicBool) {
    let id = ExtendedId::new(0x1234).unwrap();
    let mut socket = None;
    while !ended.load(Ordering::SeqCst) {
        let now = round.load(Ordering::SeqCst);
        let frame = CanFrame::new(id, &now.to_be_bytes()).unwrap();
        let sent = socket.as_ref().is_some_and(|socket: &CanSocket| socket.write_frame(&frame).is_ok());
        if !sent {
            socket = CanSocket::open(hub).ok();
        }
        match heard.load(Ordering::SeqCst) == now {
            true => thread::sleep(TICK),
            false => thread::yield_now(),
        }
    }
}
