//! A program that speaks cannelloni, for tests of tunnels to one: between an interface and UDP packets or a TCP connection. The
//! formats are those of cannelloni's `doc/udp_format.md` and `doc/tcp_protocol.md`; nothing here is of canhub-span, so that
//! both cannot be wrong alike. Frames leave at once.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread::{self, sleep},
    time::Duration,
};

use nix::libc;
use socketcan::{
    CanAnyFrame, CanFdFrame, CanFdSocket, CanFrame, EmbeddedFrame, ExtendedId, Frame, Id, StandardId,
    id::FdFlags,
};

use crate::{line, socket};

const GREETING: &[u8] = b"CANNELLONIv1";
const VERSION: u8 = 2;
/// The only kind of packet.
const DATA: u8 = 0;
/// In the length of an FD frame.
const FD: u8 = 0x80;
/// Frames of a packet: the longest ones fill no more than Ethernet takes.
const FRAMES: usize = 20;
/// Between two looks for frames of the bus.
const TICK: Duration = Duration::from_millis(100);
/// Between two attempts to connect.
const RETRY: Duration = Duration::from_millis(200);

/// What `probe cannelloni` was asked for.
#[derive(Debug, clap::Args)]
pub struct Cannelloni {
    interface: String,
    /// The other side
    #[arg(long)]
    remote: SocketAddr,
    /// Where packets arrive, or with --tcp connections; without it, connect to the other side
    #[arg(long, required_unless_present = "tcp")]
    local: Option<SocketAddr>,
    /// Not UDP
    #[arg(long)]
    tcp: bool,
}

/// Prints `ready` when it is open, and carries frames until it is killed.
pub fn run(args: &Cannelloni) -> io::Result<()> {
    match (args.tcp, args.local) {
        (false, Some(local)) => {
            let socket = UdpSocket::bind(local)?;
            line("ready")?;
            udp(&args.interface, &socket, args.remote)
        }
        (_, Some(local)) => {
            let listener = TcpListener::bind(local)?;
            line("ready")?;
            loop {
                tcp(&args.interface, &listener.accept()?.0)?;
            }
        }
        (_, None) => {
            line("ready")?;
            loop {
                match TcpStream::connect(args.remote) {
                    Ok(stream) => tcp(&args.interface, &stream)?,
                    Err(_) => sleep(RETRY),
                }
            }
        }
    }
}

fn udp(interface: &str, socket: &UdpSocket, remote: SocketAddr) -> io::Result<()> {
    // One socket for both directions does not hear what it sends.
    let bus = socket::open(interface)?;
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut sequence = 0_u8;
            loop {
                let frames = hear(&bus)?;
                if frames.is_empty() {
                    continue;
                }
                let count = (frames.len() as u16).to_be_bytes();
                let mut packet = vec![VERSION, DATA, sequence, count[0], count[1]];
                frames.iter().for_each(|frame| put(&mut packet, frame));
                // While the network is down, packets are lost.
                let _ = socket.send_to(&packet, remote);
                sequence = sequence.wrapping_add(1);
            }
            #[allow(unreachable_code, reason = "names the type")]
            io::Result::Ok(())
        });
        let mut packet = [0; 65_536];
        loop {
            let Ok((length, from)) = socket.recv_from(&mut packet) else { continue };
            let [VERSION, DATA, _, _, _, ref frames @ ..] = packet[..length] else { continue };
            if from.ip() != remote.ip() {
                continue;
            }
            let mut frames = frames;
            while !frames.is_empty() {
                let frame = take(&mut frames)?;
                socket::send(&bus, &frame)?;
            }
        }
    })
}

/// Until the connection ends.
fn tcp(interface: &str, stream: &TcpStream) -> io::Result<()> {
    let bus = socket::open(interface)?;
    stream.set_nodelay(true)?;
    let mut greeting = [0; GREETING.len()];
    let (mut writes, mut reads) = (stream, io::BufReader::new(stream));
    if writes.write_all(GREETING).is_err() || reads.read_exact(&mut greeting).is_err() {
        return Ok(());
    }
    if greeting != GREETING {
        return Err(io::Error::other("the other side does not greet"));
    }
    thread::scope(|scope| {
        let sends = scope.spawn(|| -> io::Result<()> {
            loop {
                let mut bytes = Vec::new();
                hear(&bus)?.iter().for_each(|frame| put(&mut bytes, frame));
                // Says when the other direction has ended.
                if stream.peer_addr().is_err() || writes.write_all(&bytes).is_err() {
                    return Ok(());
                }
            }
        });
        let mut received = || -> io::Result<()> { socket::send(&bus, &take(&mut reads)?) };
        let ended = loop {
            if let Err(err) = received() {
                break err;
            }
        };
        let _ = stream.shutdown(std::net::Shutdown::Both);
        let sent = sends.join().unwrap_or(Ok(()));
        match ended.kind() {
            io::ErrorKind::InvalidData => Err(ended),
            _ => sent,
        }
    })
}

/// The frames that the bus has, after a while none.
fn hear(bus: &CanFdSocket) -> io::Result<Vec<CanAnyFrame>> {
    let mut frames: Vec<CanAnyFrame> = socket::receive(bus, TICK)?.into_iter().collect();
    while !frames.is_empty() && frames.len() < FRAMES {
        match socket::receive(bus, Duration::ZERO)? {
            Some(frame) => frames.push(frame),
            None => break,
        }
    }
    Ok(frames)
}

fn put(bytes: &mut Vec<u8>, frame: &CanAnyFrame) {
    bytes.extend(frame.id_word().to_be_bytes());
    match frame {
        CanAnyFrame::Fd(fd) => bytes.extend([fd.data().len() as u8 | FD, fd.flags().bits()]),
        CanAnyFrame::Remote(remote) => bytes.push(remote.dlc() as u8),
        _ => bytes.push(frame.data().len() as u8),
    }
    bytes.extend(frame.data());
}

fn take(mut bytes: impl Read) -> io::Result<CanAnyFrame> {
    let mut head = [0; 5];
    bytes.read_exact(&mut head)?;
    let [a, b, c, d, length] = head;
    let word = u32::from_be_bytes([a, b, c, d]);
    let mut flags = [0];
    if length & FD != 0 {
        bytes.read_exact(&mut flags)?;
    }
    let is_remote = word & libc::CAN_RTR_FLAG != 0;
    let mut data = vec![0; if is_remote { 0 } else { usize::from(length & !FD) }];
    bytes.read_exact(&mut data)?;
    let id = match word & libc::CAN_EFF_FLAG {
        0 => StandardId::new((word & libc::CAN_SFF_MASK) as u16).map(Id::from),
        _ => ExtendedId::new(word & libc::CAN_EFF_MASK).map(Id::from),
    };
    let frame = id.and_then(|id| match (is_remote, length & FD) {
        (true, _) => CanFrame::new_remote(id, usize::from(length)).map(CanAnyFrame::from),
        (false, 0) => CanFrame::new(id, &data).map(CanAnyFrame::from),
        (false, _) => {
            CanFdFrame::with_flags(id, &data, FdFlags::from_bits_retain(flags[0])).map(CanAnyFrame::from)
        }
    });
    frame.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no frame: {word:#x} {length}")))
}
