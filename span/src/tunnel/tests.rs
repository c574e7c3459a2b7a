//! Both kinds of tunnels, with somebody on the loopback interface who speaks cannelloni; the bus is memory.

use std::{collections::VecDeque, sync::Arc, time::SystemTime};

use canhub::{frames::CanAnyFrame, kernel::Heard};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Notify,
    time::timeout,
};

use super::{
    end::{End, Socket},
    *,
};
use crate::{
    cannelloni,
    parts::{EXTENDED, FDF, Parts, REMOTE},
    port::Sent,
};

const SOON: Duration = Duration::from_secs(10);

/// A bus: what members sent and the tunnel has not heard yet, and what the tunnel sent.
#[derive(Debug, Default)]
struct Memory {
    unheard: Mutex<VecDeque<(SystemTime, CanAnyFrame)>>,
    sent: Mutex<Vec<CanAnyFrame>>,
    is_full: Mutex<bool>,
    changed: Notify,
}

impl Memory {
    fn send(&self, frames: &[CanAnyFrame]) {
        self.unheard.lock().extend(frames.iter().map(|frame| (SystemTime::now(), *frame)));
        self.changed.notify_one();
    }

    /// Waits until the tunnel has sent so many frames; returns them.
    async fn receives(&self, count: usize) -> Vec<CanAnyFrame> {
        let there = async {
            while self.sent.lock().len() < count {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(SOON, there).await.expect("the tunnel sends them");
        std::mem::take(&mut *self.sent.lock())
    }
}

struct OnMemory(Arc<Memory>, Vec<Heard>);

impl Socket for OnMemory {
    async fn has_frames(&self) {
        if self.0.unheard.lock().is_empty() {
            self.0.changed.notified().await;
        }
    }

    fn read(&mut self) -> Result<(bool, &mut Vec<Heard>), String> {
        let heard = |(at, frame): (SystemTime, CanAnyFrame)| Heard {
            time: canhub::frames::Timestamp::from(at).0,
            interface: 1,
            by_host: false,
            lost: 0,
            frame,
        };
        self.1 = self.0.unheard.lock().drain(..).map(heard).collect();
        Ok((true, &mut self.1))
    }

    fn send(&mut self, frames: &[CanAnyFrame]) -> Sent {
        if *self.0.is_full.lock() {
            return Sent::Later;
        }
        self.0.sent.lock().extend(frames);
        Sent::First(frames.len())
    }

    async fn has_room(&self) {
        sleep(Duration::from_millis(1)).await;
    }

    fn needs_no_room(&mut self) {}
}

/// Classic, remote and FD.
fn frames() -> Vec<CanAnyFrame> {
    let classic = Parts { id: 0x123, flags: 0, length: 4, len8_dlc: 0, data: &[0xDE, 0xAD, 0xBE, 0xEF] };
    let remote = Parts { id: 0x1FFF_FFFF | EXTENDED | REMOTE, flags: 0, length: 3, len8_dlc: 0, data: &[] };
    let fd = Parts { id: 0x7FF, flags: FDF | 1, length: 12, len8_dlc: 0, data: &[7; 12] };
    [classic, remote, fd].map(|parts| parts.frame()).to_vec()
}

fn packet(frames: &[CanAnyFrame]) -> Vec<u8> {
    let mut encoder = cannelloni::udp::Encoder::new(cannelloni::udp::PAYLOAD);
    for frame in frames {
        assert_eq!(encoder.push(frame), Ok(true));
    }
    encoder.flush(<[u8]>::to_vec)
}

fn on(bus: &Arc<Memory>, takes_fd: bool) -> (End<OnMemory>, Status) {
    let over = Over::TcpTo("127.0.0.1:1".parse().unwrap());
    let status = Tunnel { span: "body".parse().unwrap(), over }.status();
    let link = Link { interface: "none".into(), is_paced: false, age: Duration::from_millis(100), takes_fd };
    (End::on(OnMemory(bus.clone(), Vec::new()), &link, &status), status)
}

/// A UDP tunnel and the socket of the other side.
async fn udp_tunnel(bus: &Arc<Memory>, takes_fd: bool) -> (UdpSocket, SocketAddr, Status, JoinSet<()>) {
    let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let free = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (end, status) = on(bus, takes_fd);
    let (remote, mut tasks) = (other.local_addr().unwrap(), JoinSet::new());
    tasks.spawn(async move { panic!("{:?}", udp::carry(free, remote, end).await) });
    // Once it answers, it listens.
    let mut buffer = [0; 1500];
    bus.send(&frames()[..1]);
    let (length, from) = timeout(SOON, other.recv_from(&mut buffer)).await.unwrap().unwrap();
    assert_eq!((&buffer[..length], from), (&packet(&frames()[..1])[..], free));
    (other, free, status, tasks)
}

#[tokio::test]
async fn udp_carries_frames_both_ways_and_refuses_nonsense_and_strangers() {
    let bus = Arc::new(Memory::default());
    let (other, tunnel, status, _tasks) = udp_tunnel(&bus, true).await;
    assert_eq!(status.lock().heard, None, "never heard");
    let stranger = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    stranger.send_to(&packet(&frames()), tunnel).await.unwrap();
    for nonsense in [&[][..], &[2], &[9, 0, 0, 0, 1], &packet(&frames())[..20]] {
        other.send_to(nonsense, tunnel).await.unwrap();
    }
    other.send_to(&packet(&frames()), tunnel).await.unwrap();
    assert_eq!(bus.receives(3).await, frames());
    {
        let status = status.lock();
        assert!(status.online && status.heard.is_some());
        assert_eq!((status.frames_in, status.refused), (3, 4));
    }
    // More than a packet holds; nothing that the tunnel brought comes back.
    let many: Vec<_> = frames().into_iter().cycle().take(600).collect();
    bus.send(&many);
    let (mut heard, mut buffer) = (Vec::new(), [0; 1500]);
    while heard.len() < many.len() {
        let (length, _) = timeout(SOON, other.recv_from(&mut buffer)).await.unwrap().unwrap();
        heard.extend(cannelloni::udp::decode(&buffer[..length]).unwrap());
    }
    assert_eq!(heard, many);
}

#[tokio::test]
async fn frames_that_wait_too_long_or_do_not_fit_are_dropped_and_counted() {
    let bus = Arc::new(Memory::default());
    let (other, tunnel, status, _tasks) = udp_tunnel(&bus, false).await;
    other.send_to(&packet(&frames()), tunnel).await.unwrap();
    assert_eq!(bus.receives(2).await, frames()[..2]);
    assert_eq!(status.lock().refused, 1, "an FD frame on a classic bus");
    *bus.is_full.lock() = true;
    other.send_to(&packet(&frames()[..1]), tunnel).await.unwrap();
    let dropped = async {
        while status.lock().too_old == 0 {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(SOON, dropped).await.expect("it waits for room no longer than its age");
    *bus.is_full.lock() = false;
    other.send_to(&packet(&frames()[1..2]), tunnel).await.unwrap();
    assert_eq!(bus.receives(1).await, frames()[1..2]);
}

/// Both sides of a connection: that of the tunnel, and the other, whose greeting came.
async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (listener.accept().await.unwrap().0, other)
}

async fn read(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    timeout(SOON, stream.read_exact(&mut bytes)).await.unwrap().unwrap();
    bytes
}

#[tokio::test]
async fn tcp_greets_and_carries_frames_both_ways_until_it_is_closed() {
    let bus = Arc::new(Memory::default());
    let (ours, mut other) = connection().await;
    let from = ours.peer_addr().unwrap();
    let (end, status) = on(&bus, true);
    let tunnel = JoinSet::from_iter([tcp::carry(ours, from, end)]);
    assert_eq!(read(&mut other, 12).await, b"CANNELLONIv1");
    assert!(!status.lock().online, "it has not greeted");
    // Nor does it take frames yet: these would wait for it and get old.
    bus.send(&frames()[..1]);
    let is_lost = async {
        while status.lock().lost == 0 {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(SOON, is_lost).await.expect("counted as lost");
    let mut stream = b"CANNELLONIv1".to_vec();
    for frame in frames() {
        cannelloni::tcp::put(&mut stream, &frame).unwrap();
    }
    // In pieces.
    for piece in stream.chunks(5) {
        other.write_all(piece).await.unwrap();
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(bus.receives(3).await, frames());
    assert!(status.lock().online);
    bus.send(&frames());
    assert_eq!(read(&mut other, stream.len() - 12).await, stream[12..]);
    drop(other);
    let ended = timeout(SOON, tunnel.join_all()).await.unwrap();
    assert_eq!(ended, [Err("the other side has closed the connection".to_owned())]);
}

#[tokio::test]
async fn tcp_connects_from_the_same_port_again_so_that_the_other_side_learns_that_the_old_connection_is_over()
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (remote, mut last) = (listener.local_addr().unwrap(), None);
    let first = tcp::connect(remote, &mut last).await.unwrap();
    let (other, from) = listener.accept().await.unwrap();
    // The other side first: this host then keeps nothing of it.
    drop(other);
    first.readable().await.unwrap();
    drop(first);
    let second = tcp::connect(remote, &mut last).await.unwrap();
    assert_eq!(listener.accept().await.unwrap().1, from);
    // While the port is in use, any other does.
    let third = tcp::connect(remote, &mut last).await.unwrap();
    assert_ne!(third.local_addr().unwrap(), second.local_addr().unwrap());
}

#[tokio::test]
async fn tcp_ends_if_the_other_side_speaks_something_else() {
    let bus = Arc::new(Memory::default());
    let (ours, mut other) = connection().await;
    let from = ours.peer_addr().unwrap();
    let (end, status) = on(&bus, true);
    other.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let ended = timeout(SOON, tcp::carry(ours, from, end)).await.unwrap();
    assert_eq!(ended, Err("the other side does not begin with CANNELLONIv1".to_owned()));
    assert!(!status.lock().online && status.lock().refused == 1);
}
