//! What the span is compared with: each frame of a bus goes at once into a UDP datagram in cannelloni's format, in the clear.

use std::{net::UdpSocket, thread, time::Duration};

use canhub::{frames::CanAnyFrame, kernel::FrameSocket};
use canhub_span::cannelloni::udp;
use tokio::io::Interest;

/// Connects two buses, until the program ends.
pub fn open(one: &str, other: &str) -> [thread::JoinHandle<()>; 4] {
    let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let [a, b] = [0, 1].map(|end: usize| sockets[end].local_addr().unwrap());
    let [here, there] = sockets;
    here.connect(b).unwrap();
    there.connect(a).unwrap();
    let end = |bus: &str, socket: UdpSocket| {
        // One socket on the bus, so that it does not hear what it sends.
        let bus =
            std::sync::Arc::new(parking_lot::Mutex::new(FrameSocket::open(Some(bus), 8 << 20).unwrap()));
        let (reads, writes, out) = (bus.clone(), bus, socket.try_clone().unwrap());
        [thread::spawn(move || send(&reads, &out)), thread::spawn(move || receive(&writes, &socket))]
    };
    let [[a, b], [c, d]] = [end(one, here), end(other, there)];
    [a, b, c, d]
}

type Bus = std::sync::Arc<parking_lot::Mutex<FrameSocket>>;

fn send(bus: &Bus, socket: &UdpSocket) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(async {
        let ready = bus.lock().watch(Interest::READABLE).unwrap();
        let mut heard = Vec::new();
        let mut encoder = udp::Encoder::new(udp::PAYLOAD);
        loop {
            ready.readable().await.unwrap().clear_ready();
            while !bus.lock().receive(&mut heard).unwrap() {}
            for heard in heard.drain(..) {
                let _ = encoder.push(&heard.frame);
                encoder.flush(|bytes| {
                    let _ = socket.send(bytes);
                });
            }
        }
    });
}

fn receive(bus: &Bus, socket: &UdpSocket) {
    let mut bytes = [0; 65_536];
    loop {
        let Ok(length) = socket.recv(&mut bytes) else {
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        let frames: Vec<CanAnyFrame> = udp::decode(&bytes[..length]).unwrap().collect();
        for frame in frames {
            let _ = bus.lock().send(&frame);
        }
    }
}
