//! The engine as it is now: open, or not. Buses send through it whatever happens to it.

use std::{collections::HashMap, sync::Arc};

use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc;
use tracing::warn;

use crate::{
    engine::{Engine, Event, Sink, Topic},
    flow::Moment,
};

/// Batches that wait for a bus: with more, it is too slow, and the newest are lost. They are found missing by their numbers.
const BATCHES_MAX: usize = 512;
/// The same for everything else.
const EVENTS_MAX: usize = 4096;

/// A batch from another host.
#[derive(Debug)]
pub struct Batch {
    /// Its sender.
    pub host: String,
    /// The batch.
    pub bytes: Vec<u8>,
}

/// An event, and when it came.
pub type Timed = (Moment, Event);

/// The engine as it is now.
#[derive(Debug, Default)]
pub struct Mesh {
    engine: RwLock<Option<Arc<dyn Engine>>>,
    buses: Arc<RwLock<HashMap<Arc<str>, mpsc::Sender<Batch>>>>,
    /// Why the last payload was not sent.
    failing: Mutex<Option<String>>,
}

impl Mesh {
    /// Where an engine tells its events: batches go to their bus, all others to the returned channel.
    pub fn sink(&self) -> (Sink, mpsc::Receiver<Timed>) {
        let (send, events) = mpsc::channel(EVENTS_MAX);
        let buses = self.buses.clone();
        let sink: Sink = Arc::new(move |event| match event {
            Event::Received { topic: Topic::Data(span), host, payload } => {
                let bus = buses.read().get(&span).cloned();
                if let Some(bus) = bus {
                    let _ = bus.try_send(Batch { host, bytes: payload });
                }
            }
            event => drop(send.try_send((Moment::now(), event))),
        });
        (sink, events)
    }

    /// From now on this engine is used. It joins the spans of all buses.
    pub fn use_engine(&self, engine: Arc<dyn Engine>) {
        for span in self.buses.read().keys() {
            if let Err(why) = engine.join(span) {
                warn!(%span, "{why}");
            }
        }
        *self.engine.write() = Some(engine);
    }

    /// Closes the engine.
    pub async fn close(&self) {
        let engine = self.engine.write().take();
        if let Some(engine) = engine {
            engine.close().await;
        }
    }

    /// There is a bus on this span: its batches come out of the returned channel.
    pub fn join(&self, span: &Arc<str>) -> mpsc::Receiver<Batch> {
        let (send, batches) = mpsc::channel(BATCHES_MAX);
        self.buses.write().insert(span.clone(), send);
        let engine = self.engine.read().clone();
        if let Some(Err(why)) = engine.map(|engine| engine.join(span)) {
            warn!(%span, "{why}");
        }
        batches
    }

    /// There is no bus on this span any more.
    pub fn leave(&self, span: &str) {
        self.buses.write().remove(span);
        let engine = self.engine.read().clone();
        if let Some(engine) = engine {
            engine.leave(span);
        }
    }

    /// Sends, if there is an engine. What is not sent is missing at the others, who count it.
    pub fn send(&self, topic: &Topic, payload: Vec<u8>) {
        let engine = self.engine.read().clone();
        let Some(engine) = engine else { return };
        let failed = engine.send(topic, payload).err();
        let mut failing = self.failing.lock();
        if *failing != failed {
            if let Some(why) = &failed {
                warn!("{why}");
            }
            *failing = failed;
        }
    }

    /// Why sending fails, if the last payload was not sent.
    pub fn problem(&self) -> Option<String> {
        self.failing.lock().clone()
    }
}
