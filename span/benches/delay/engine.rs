//! The least that the engine costs: each frame of a bus goes at once into a payload of its own, over a session with
//! certificates on both sides. No batches, no numbers, no ages.

use std::{path::Path, sync::Arc};

use canhub_span::{
    cannelloni::tcp,
    engine::{
        Engine as _, Event, Sink, Topic,
        zenoh::{Settings, Zenoh, runtime},
    },
    fleet::Store,
};
use parking_lot::Mutex;
use socketcan::{CanFdSocket, Socket as _};

/// A span that all hosts may use.
const SPAN: &str = "delay";

/// Carries frames with the certificates of the host in this folder, until the program ends.
pub fn carry(bus: &str, folder: &Path, end: &str, address: &str) {
    let runtime = runtime();
    // One socket for both directions does not hear what it sends.
    let bus = Arc::new(CanFdSocket::open(bus).unwrap());
    let opened = runtime.block_on(Zenoh::open(&settings(folder, end, address), sink(bus.clone())));
    let (engine, topic) = (opened.unwrap(), Topic::Data(SPAN.into()));
    engine.join(SPAN).unwrap();
    loop {
        let mut payload = Vec::new();
        if tcp::put(&mut payload, &bus.read_frame().unwrap()).is_ok() {
            engine.send(&topic, payload).unwrap();
        }
    }
}

fn settings(folder: &Path, end: &str, address: &str) -> Settings {
    let store = Store::new(folder);
    let (identity, list) = (store.identity().unwrap().unwrap(), store.list().unwrap());
    let (listen, connect) = match end {
        "listen" => (vec![address.to_owned()], Vec::new()),
        _ => (Vec::new(), vec![address.to_owned()]),
    };
    Settings {
        host: identity.certificate.host.to_string(),
        listen,
        connect,
        ca: identity.ca_file,
        identity: identity.identity_file,
        list: (*list).clone(),
    }
}

/// Gives what comes to the bus.
fn sink(bus: Arc<CanFdSocket>) -> Sink {
    let mut reader = tcp::Reader::default();
    reader.read(tcp::GREETING, |_| {}).unwrap();
    let reader = Mutex::new(reader);
    Arc::new(move |event| {
        if let Event::Received { topic: Topic::Data(_), payload, .. } = event {
            let write = |frame| drop(bus.write_frame(&frame));
            reader.lock().read(&payload, write).unwrap();
        }
    })
}
