//! cannelloni over TCP, from either side.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::{Instant, sleep_until, timeout},
};
use tracing::{debug, info};

use super::{
    Link, Status,
    end::{End, Socket},
    heard, offline,
    outgoing::Outgoing,
};
use crate::{
    cannelloni::tcp::{GREETING, Reader},
    flow::Moment,
};

/// How long the kernel may try to bring data to the other side; then the connection ends, and with it what it kept. So
/// nothing older arrives after an outage. The kernel repeats a packet after 200 ms at the earliest.
pub(super) const UNACKNOWLEDGED: Duration = Duration::from_millis(500);
/// The time until the other side has to be connected, and to have greeted.
const PATIENCE: Duration = Duration::from_secs(5);
/// What the kernel may keep, in bytes: some 1,500 frames on their way.
const SEND_BUFFER: usize = 32 << 10;
/// How much of it may wait to be sent, in bytes, and how much is written at a time. If the other side reads slowly, the rest
/// waits in [`Outgoing`], where frames get too old; cannelloni announces the smallest window that there is.
const NOT_SENT: u32 = 512;
/// Read at a time, in bytes.
const PIECE: usize = 16 << 10;

/// Connects, and carries frames. `last` is where this host's end of the last connection was.
///
/// # Errors
/// One sentence: why it ended.
pub(super) async fn dial(
    remote: SocketAddr,
    last: &mut Option<SocketAddr>,
    bus: &Link,
    status: &Status,
) -> Result<(), String> {
    let failed = |err: &dyn std::fmt::Display| format!("cannot connect to {remote}: {err}");
    let stream = timeout(PATIENCE, connect(remote, last)).await;
    let stream = stream.map_err(|_| failed(&"no answer"))?.map_err(|err| failed(&err))?;
    carry(stream, remote, End::open(bus, status)?).await
}

/// Connects, from the same port as the last time if that is possible. cannelloni takes one connection at a time, and if it has
/// only received, it does not notice that one ended while the network was down: it would wait in the old one for ever. To a
/// new connection between the same ports its kernel answers that the old one is open, and so learns that it is not (RFC 9293,
/// section 3.5.1); the next attempt, a second later, is a new one.
pub(super) async fn connect(remote: SocketAddr, last: &mut Option<SocketAddr>) -> io::Result<TcpStream> {
    if let Some(local) = *last {
        let socket = if remote.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        if socket.bind(local).is_ok() {
            match socket.connect(remote).await {
                // This host closed it a moment ago: then the other side knows.
                Err(err) if err.kind() == io::ErrorKind::AddrNotAvailable => {}
                connected => return connected,
            }
        }
    }
    let stream = TcpStream::connect(remote).await?;
    *last = stream.local_addr().ok();
    Ok(stream)
}

/// Waits for the other side, and carries frames. A new connection replaces the one before: its sender has forgotten that.
///
/// # Errors
/// One sentence: why it cannot listen.
pub(super) async fn listen(
    local: SocketAddr,
    remote: IpAddr,
    bus: &Link,
    status: &Status,
) -> Result<(), String> {
    let failed = |err| format!("cannot listen on TCP {local}: {err}");
    let listener = TcpListener::bind(local).await.map_err(failed)?;
    let mut next = None;
    loop {
        let (stream, from) = match next.take() {
            Some(accepted) => accepted,
            None => accept(&listener, remote).await.map_err(failed)?,
        };
        let end = End::open(bus, status)?;
        tokio::select! {
            ended = carry(stream, from, end) => if let Err(why) = ended {
                info!(%from, "the tunnel ended: {why}");
            },
            accepted = accept(&listener, remote) => next = Some(accepted.map_err(failed)?),
        }
        offline(status);
    }
}

async fn accept(listener: &TcpListener, remote: IpAddr) -> io::Result<(TcpStream, SocketAddr)> {
    loop {
        let (stream, from) = listener.accept().await?;
        if from.ip().to_canonical() == remote.to_canonical() {
            return Ok((stream, from));
        }
        debug!(%from, "a connection from another address is refused");
    }
}

/// Carries frames until the connection ends.
pub(super) async fn carry(
    stream: TcpStream,
    from: SocketAddr,
    mut end: End<impl Socket>,
) -> Result<(), String> {
    set_up(&stream).map_err(|err| format!("cannot set up the connection: {err}"))?;
    let (mut reader, mut out, mut piece) = (Reader::default(), Outgoing::default(), vec![0; PIECE]);
    out.greet(GREETING);
    let greeted_until = Instant::now() + PATIENCE;
    loop {
        tokio::select! {
            readable = stream.readable() => {
                readable.map_err(|err| err.to_string())?;
                receive(&stream, from, &mut piece, &mut reader, &mut end)?;
            }
            writable = stream.writable(), if !out.is_empty() => {
                writable.map_err(|err| err.to_string())?;
            }
            () = end.is_ready() => {
                let now = Moment::now();
                let mut lost = 0;
                // cannelloni takes a connection up to 2 s after its kernel did: what was sent before would be old by then.
                let is_taken = reader.is_greeted();
                end.read(|frame| lost += u64::from(!is_taken || !out.push(frame, now)))?;
                end.flush();
                end.status.lock().lost += lost;
            }
            () = sleep_until(greeted_until), if !reader.is_greeted() => {
                return Err("the other side does not greet".to_owned());
            }
        }
        let too_old = out.drop_old(Moment::now(), end.age());
        let sent = out
            .send(|bytes| stream.try_write(bytes.get(..NOT_SENT as usize).unwrap_or(bytes)))
            .map_err(|err| err.to_string())?;
        if sent + too_old > 0 {
            let mut status = end.status.lock();
            status.frames_out += sent;
            status.too_old += too_old;
        }
    }
}

fn receive(
    stream: &TcpStream,
    from: SocketAddr,
    piece: &mut [u8],
    reader: &mut Reader,
    end: &mut End<impl Socket>,
) -> Result<(), String> {
    let length = match stream.try_read(piece) {
        Ok(0) => return Err("the other side has closed the connection".to_owned()),
        Ok(length) => length,
        Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(()),
        Err(err) => return Err(err.to_string()),
    };
    let mut frames = Vec::new();
    let read = reader.read(piece.get(..length).unwrap_or_default(), |frame| frames.push(frame));
    if reader.is_greeted() {
        heard(&end.status, from);
    }
    end.write(frames);
    read.map_err(|err| {
        end.status.lock().refused += 1;
        err.to_string()
    })
}

fn set_up(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.set_tcp_notsent_lowat(NOT_SENT)?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    // A quiet connection whose other side is gone: found in 3 s.
    let second = Duration::from_secs(1);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(second).with_interval(second).with_retries(2))
}
