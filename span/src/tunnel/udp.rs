//! Packets of cannelloni over UDP.

use std::{io, mem::take, net::SocketAddr};

use canhub::frames::CanAnyFrame;
use tokio::net::UdpSocket;
use tracing::debug;

use super::{
    end::{End, Socket},
    heard,
};
use crate::cannelloni::udp::{Encoder, PAYLOAD, decode};

/// The longest UDP packet.
const LONGEST: usize = 65_535;

/// Carries frames.
///
/// # Errors
/// One sentence: why it cannot go on.
pub(super) async fn carry(
    local: SocketAddr,
    remote: SocketAddr,
    mut end: End<impl Socket>,
) -> Result<(), String> {
    let socket =
        UdpSocket::bind(local).await.map_err(|err| format!("cannot listen on UDP {local}: {err}"))?;
    // The runtime tries to send only when it knows that there is room.
    socket.writable().await.map_err(|err| format!("cannot send on UDP {local}: {err}"))?;
    let mut buffer = vec![0; LONGEST];
    let mut out =
        Out { socket: &socket, remote, encoder: Encoder::new(PAYLOAD), frames: 0, sent: 0, lost: 0 };
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => match received {
                Ok((length, from)) if from.ip().to_canonical() == remote.ip().to_canonical() => {
                    let packet = buffer.get(..length).unwrap_or_default();
                    receive(packet, from, &mut end);
                }
                Ok((_, from)) => debug!(%from, "a packet from another address is ignored"),
                // A report that an earlier packet did not arrive.
                Err(err) if err.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(err) => return Err(format!("cannot receive on UDP {local}: {err}")),
            },
            () = end.is_ready() => {
                end.read(|frame| out.push(frame))?;
                out.flush();
                end.flush();
                let mut status = end.status.lock();
                status.frames_out += take(&mut out.sent);
                status.lost += take(&mut out.lost);
            }
        }
    }
}

fn receive(packet: &[u8], from: SocketAddr, end: &mut End<impl Socket>) {
    match decode(packet) {
        Ok(packet) => {
            heard(&end.status, from);
            end.write(packet);
        }
        Err(why) => {
            debug!(%from, "a packet is refused: {why}");
            end.status.lock().refused += 1;
        }
    }
}

/// The way out.
struct Out<'a> {
    socket: &'a UdpSocket,
    remote: SocketAddr,
    /// The packet that is being filled.
    encoder: Encoder,
    /// How many frames it has.
    frames: u64,
    /// Frames that were sent and that were not, since somebody asked.
    sent: u64,
    lost: u64,
}

impl Out<'_> {
    fn push(&mut self, frame: &CanAnyFrame) {
        if self.encoder.push(frame) == Ok(false) {
            self.flush();
            if self.encoder.push(frame) != Ok(true) {
                self.lost += 1;
                return;
            }
        }
        self.frames += 1;
    }

    /// Sends the packet. If the kernel has no room for it, it is lost: nothing waits for the other side.
    fn flush(&mut self) {
        if self.encoder.is_empty() {
            return;
        }
        let frames = take(&mut self.frames);
        match self.encoder.flush(|packet| self.socket.try_send_to(packet, self.remote)) {
            Ok(_) => self.sent += frames,
            Err(_) => self.lost += frames,
        }
    }
}
