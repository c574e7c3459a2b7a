//! One bus on one span: the task that carries frames from its port to the other hosts and back.

mod alarm;
mod state;

use std::sync::Arc;

use canhub::kernel::Passed;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc},
    task::yield_now,
    time::{Duration, sleep},
};
use tracing::{info, warn};

use alarm::Alarm;
pub use state::{Bus, NUMBERS};

use crate::{
    batch::Encoder,
    engine::Topic,
    flow::{Clocks, HEARTBEAT, Moment},
    hosts::Hosts,
    mesh::{Batch, Mesh},
    port::{Port, Sent},
};

/// Between two attempts to open a port that is not there. Whoever made it comes back within a moment.
const OPEN_AGAIN: Duration = Duration::from_millis(200);
/// Frames that are written to the bus at a time.
const AT_ONCE: usize = 64;

/// What a bus works with.
#[derive(Debug, Clone)]
pub struct Around {
    /// What it knows; also read for status and hellos.
    pub bus: Arc<Mutex<Bus>>,
    /// Something in it was changed.
    pub changed: Arc<Notify>,
    /// The other hosts.
    pub hosts: Arc<Mutex<Hosts>>,
    /// The way to them.
    pub mesh: Arc<Mesh>,
    /// The memory in which batches are written.
    pub encoder: Arc<Mutex<Encoder>>,
    /// Wakes whoever tells canhub: something happened that does not wait for the next regular state.
    pub news: Arc<Notify>,
}

/// Why the task wakes up.
enum Woken {
    Frames,
    Room,
    Batch(Batch),
    Changed,
    Due,
    /// The bus is no longer on the span.
    Over,
}

/// Carries frames until the bus leaves the span.
pub async fn run(around: Around, mut batches: mpsc::Receiver<Batch>) {
    let topic = Topic::Data(around.bus.lock().span().clone());
    let alarm = Alarm::new();
    let mut task = Task { topic, around, port: None, is_full: false, has_more: false, alarm };
    task.open();
    let mut clocks = Clocks::now();
    loop {
        let woken = task.wait(clocks.now, &mut batches).await;
        // Once per wake-up, and the wall clock only for what its time stamps are compared with: where the kernel has to be asked
        // for the time, that takes as long as reading a frame.
        clocks = match woken {
            Woken::Frames => Clocks::now(),
            _ => clocks.at(Moment::now()),
        };
        match woken {
            Woken::Over => return,
            Woken::Frames => task.read(&clocks),
            Woken::Batch(batch) => {
                task.receive(&batch, clocks.now);
                // All that are here, before the bus gets them.
                while let Ok(batch) = batches.try_recv() {
                    task.receive(&batch, clocks.now);
                }
                task.write(clocks.now);
            }
            Woken::Room => task.write(clocks.now),
            Woken::Changed => task.reopen_if_other(),
            Woken::Due if task.port.is_none() => task.open(),
            Woken::Due => {}
        }
        task.publish(&clocks);
        if task.has_more {
            // The engine sends on this thread too, and its queue is not long enough for all that may be in the port.
            yield_now().await;
        }
    }
}

/// However quiet the bus, its socket is seen empty each [`HEARTBEAT`], as [`Entries::is_empty`] demands. Those of all buses
/// are looked at together, which wakes an idle process once.
///
/// [`Entries::is_empty`]: crate::flow::Entries::is_empty
fn looked_at(now: Moment) -> Moment {
    now + (HEARTBEAT - Duration::from_nanos(now.0 % HEARTBEAT.as_nanos() as u64))
}

struct Task {
    around: Around,
    topic: Topic,
    port: Option<(String, Port)>,
    /// The bus takes no more frames right now.
    is_full: bool,
    /// There are frames that were not read yet.
    has_more: bool,
    alarm: Alarm,
}

impl Task {
    async fn wait(&mut self, now: Moment, batches: &mut mpsc::Receiver<Batch>) -> Woken {
        let (due, gathers) = {
            let bus = self.around.bus.lock();
            (bus.due(now).map_or(looked_at(now), |due| due.min(looked_at(now))), bus.gathers_until(now))
        };
        // After a batch has left, the next one gathers for a moment: its frames are read at once when it is due, which is
        // one wake-up instead of many.
        let (reads, has_more) = (gathers.is_none(), self.has_more);
        self.alarm.set(gathers.map_or(due, |gathers| gathers.min(due)));
        let is_full = self.is_full;
        match &mut self.port {
            Some((_, port)) => {
                let frames = async {
                    if !has_more {
                        port.has_frames().await;
                    }
                };
                tokio::select! {
                    batch = batches.recv() => batch.map_or(Woken::Over, Woken::Batch),
                    () = self.around.changed.notified() => Woken::Changed,
                    () = frames, if reads => Woken::Frames,
                    () = port.has_room(), if is_full => Woken::Room,
                    () = self.alarm.rings() => Woken::Frames,
                }
            }
            None => tokio::select! {
                batch = batches.recv() => batch.map_or(Woken::Over, Woken::Batch),
                () = self.around.changed.notified() => Woken::Changed,
                () = sleep(OPEN_AGAIN) => Woken::Due,
            },
        }
    }

    fn open(&mut self) {
        let (interface, is_paced) = self.around.bus.lock().interface();
        let before = Passed::of(&interface).ok();
        let opened = Port::open(&interface, is_paced);
        // If another interface has taken its place, it is opened again.
        let passed = Passed::of(&interface).ok();
        let passed =
            before.filter(|before| passed.is_some_and(|passed| passed.interface == before.interface));
        let mut bus = self.around.bus.lock();
        match opened {
            Ok(port) => {
                if bus.set_problem(None) {
                    info!(span = %bus.span(), %interface, "the span port is open");
                    self.around.news.notify_one();
                }
                bus.opened(Clocks::now(), passed);
                self.port = Some((interface, port));
            }
            Err(why) => {
                if bus.set_problem(Some(why.clone())) {
                    warn!(span = %bus.span(), "{why}; trying again until it is there");
                    self.around.news.notify_one();
                }
            }
        }
    }

    /// The port may be another one now.
    fn reopen_if_other(&mut self) {
        let (wanted, _) = self.around.bus.lock().interface();
        if self.port.as_ref().is_none_or(|(interface, _)| *interface != wanted) {
            self.port = None;
            self.open();
        }
    }

    fn read(&mut self, clocks: &Clocks) {
        let Some((interface, port)) = &mut self.port else { return };
        match port.read() {
            Ok((is_empty, heard)) => {
                let mut bus = self.around.bus.lock();
                if let Some(looped) = bus.take_in(heard, clocks) {
                    warn!(span = %bus.span(), "{looped}");
                    self.around.news.notify_one();
                }
                if is_empty {
                    bus.emptied(*clocks);
                    if bus.wants_look(clocks.now)
                        && let Ok(passed) = Passed::of(interface)
                    {
                        bus.looked(clocks.now, port.lost(), passed);
                    }
                }
                self.has_more = !is_empty;
            }
            Err(why) => {
                warn!(span = %self.around.bus.lock().span(), "{why}; opening it again");
                (self.port, self.is_full, self.has_more) = (None, false, false);
                self.open();
            }
        }
    }

    /// Sends the batch that is due, if one is.
    fn publish(&self, clocks: &Clocks) {
        let mut bus = self.around.bus.lock();
        let mut encoder = self.around.encoder.lock();
        let batch = bus.leaves(clocks, &mut encoder).map(<[u8]>::to_vec);
        drop(encoder);
        // With the lock held: batches must not overtake each other.
        if let Some(batch) = batch {
            self.around.mesh.send(&self.topic, batch);
        }
    }

    fn receive(&self, batch: &Batch, now: Moment) {
        let hosts = self.around.hosts.lock();
        self.around.bus.lock().receive(&batch.host, &batch.bytes, &hosts, now);
    }

    /// Writes what waits to the bus, as far as it takes it.
    fn write(&mut self, mut now: Moment) {
        let Some((_, port)) = &mut self.port else { return };
        let mut bus = self.around.bus.lock();
        bus.keep();
        self.is_full = false;
        loop {
            let frames = bus.next_for_bus(now, AT_ONCE);
            if frames.is_empty() {
                break;
            }
            match port.send(&frames) {
                Sent::First(sent) => frames.iter().take(sent).for_each(|frame| bus.written(now, frame)),
                Sent::Later => {
                    bus.keep();
                    self.is_full = true;
                    return;
                }
                Sent::Never(err) => {
                    if bus.not_written() {
                        warn!(span = %bus.span(), %err, "the bus does not take a frame of another host");
                    }
                }
            }
            if !bus.has_for_bus() {
                break;
            }
            now = Moment::now();
        }
        bus.keep();
        port.needs_no_room();
    }
}
