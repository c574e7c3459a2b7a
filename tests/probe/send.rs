//! Sends numbered frames, as fast as the kernel accepts them or with pauses.

use std::{
    io,
    thread::sleep,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use socketcan::{Socket, SocketOptions};

use crate::{
    StopSignal,
    clock::Clock,
    frames, line, listen,
    report::{Kind, Sent},
    socket,
};

/// What `probe send` was asked for.
#[derive(Debug, clap::Args)]
pub struct Send {
    interface: String,
    /// The sender's number
    #[arg(long)]
    from: u8,
    /// Which frames; several are sent in turns
    #[arg(long, value_delimiter = ',', default_value = "classic")]
    kind: Vec<Kind>,
    /// How many of each kind; without it, until the input ends
    #[arg(long)]
    count: Option<u32>,
    /// Milliseconds between two rounds
    #[arg(long, default_value_t = 0)]
    gap: u64,
    /// Send so many frames a second, all kinds together; some at a time, because short sleeps are not exact
    #[arg(long, conflicts_with = "gap")]
    rate: Option<u32>,
    /// Put the time into each frame that has room for it
    #[arg(long)]
    stamp: bool,
    /// Listen to the socket's own frames too
    #[arg(long)]
    recv_own: bool,
    /// Where the interface is lost, wait for it and go on
    #[arg(long)]
    persist: bool,
}

impl Send {
    /// With a rate, sleeps until the time of this round.
    fn wait_until_due(&self, begun: Instant, round: u32) {
        let Some(rate) = self.rate else { return };
        let frames = f64::from(round) * self.kind.len() as f64;
        let due = begun + Duration::from_secs_f64(frames / f64::from(rate));
        let ahead = due.saturating_duration_since(Instant::now());
        if !ahead.is_zero() {
            sleep(ahead.max(Duration::from_millis(1)));
        }
    }
}

/// Sends, then reports how many the kernel accepted and how many came back to this socket.
pub fn run(args: &Send) -> io::Result<()> {
    let mut socket = socket::open(&args.interface)?;
    socket.set_recv_own_msgs(args.recv_own)?;
    let stop_signal = args.count.is_none().then(StopSignal::on_stdin_closed);
    let stop = || stop_signal.as_ref().is_some_and(StopSignal::is_set);
    let (clock, begun) = (Clock::now(), Instant::now());
    let mut sequence = 0;
    'rounds: while args.count.is_none_or(|count| sequence < count) && !stop() {
        args.wait_until_due(begun, sequence);
        for kind in &args.kind {
            let stamp = args.stamp.then(|| clock.stamp());
            let frame =
                frames::stamped(args.from, *kind, sequence, stamp).ok_or(io::ErrorKind::InvalidInput)?;
            while let Err(err) = socket::send(&socket, &frame) {
                if !(args.persist && socket::is_lost(&err)) {
                    return Err(err);
                }
                match socket::open_when_there(&args.interface, stop)? {
                    Some(again) => socket = again,
                    None => break 'rounds,
                }
                // A link that is down can be opened; only sending fails.
                sleep(Duration::from_millis(1));
            }
        }
        sequence += 1;
        if args.gap > 0 {
            sleep(Duration::from_millis(args.gap));
        }
    }
    let own = if args.persist { 0 } else { listen::count_from(&socket, args.from)? };
    line(&serde_json::to_string(&Sent { sent: sequence * args.kind.len() as u32, own })?)
}

/// Sends until a socket that does not wait is refused.
pub fn fill(interface: &str, from: u8) -> io::Result<()> {
    let socket = socketcan::CanFdSocket::open(interface)?;
    socket.set_nonblocking(true)?;
    for sequence in 0.. {
        let frame = frames::frame(from, Kind::Classic, sequence).ok_or(io::ErrorKind::InvalidInput)?;
        if let Err(err) = socket.write_frame(&frame) {
            return line(&format!("{sequence} {}", err.raw_os_error().unwrap_or_default()));
        }
    }
    Ok(())
}

/// Sends one frame as the very first action. Its number is the time, so that runs differ.
pub fn first(interface: &str, from: u8) -> io::Result<()> {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let frame = frames::frame(from, Kind::Classic, millis as u32).ok_or(io::ErrorKind::InvalidInput)?;
    socketcan::CanFdSocket::open(interface)?.write_frame(&frame)
}
