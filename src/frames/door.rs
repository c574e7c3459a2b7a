//! A socketcand server, for programs on other systems: python-can, cantools, SavvyCAN.
//!
//! Raw mode only. The protocol has neither remote frames nor FD frames, and no password. Each client has a socket of its
//! own on the bus, so that it hears the others and not itself.

mod client;
mod protocol;
#[cfg(test)]
mod tests;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

use client::{Client, Ended};

/// Told to those who come when the door is full.
const FULL: &[u8] = b"< error too many clients >";
/// A silent client is asked whether it is still there after this time, then three times as often; after nine questions
/// (`net.ipv4.tcp_keepalive_probes`) it is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// After an error of `accept`, such as no free descriptor.
const PAUSE: Duration = Duration::from_millis(100);

/// What clients may do.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Send.
    pub write: bool,
    /// Hear and send FD frames, as frames with more data. No client that is known expects them.
    pub fd: bool,
    /// How many there may be at a time.
    pub clients: usize,
}

/// A door to one bus.
pub struct Door {
    interface: String,
    names: Vec<String>,
    options: Options,
    report: Box<dyn Fn(&str) + Send + Sync>,
    counts: Counts,
}

/// What went through, for all clients together.
#[derive(Debug, Default)]
struct Counts {
    clients: AtomicU64,
    dropped: AtomicU64,
    sent: AtomicU64,
    lost: AtomicU64,
    unspeakable: AtomicU64,
}

impl Door {
    /// A door to the bus on this interface of the host, which clients open by one of these names. `report` gets a line for
    /// each client that comes and goes.
    pub fn new(
        interface: String,
        names: Vec<String>,
        options: Options,
        report: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        Self { interface, names, options, report: Box::new(report), counts: Counts::default() }
    }

    /// Serves clients until `stop` is ready.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut clients = JoinSet::new();
        loop {
            tokio::select! {
                () = &mut stop => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, address)) if clients.len() < self.options.clients => {
                        keep_alive(&stream);
                        self.counts.clients.fetch_add(1, Ordering::Relaxed);
                        self.report(&format!("{address} connected"));
                        let (door, client) = (Arc::clone(&self), Client::new(Arc::clone(&self), stream));
                        clients.spawn(async move {
                            door.note_end(&address.to_string(), &client.serve().await);
                        });
                    }
                    Ok((stream, address)) => {
                        self.report(&format!("{address} was refused: there are {} clients already", clients.len()));
                        refuse(&stream);
                    }
                    Err(err) => {
                        self.report(&format!("a client could not be accepted: {err}"));
                        sleep(PAUSE).await;
                    }
                },
                Some(_) = clients.join_next() => {}
            }
        }
    }

    fn note_end(&self, address: &str, ended: &Ended) {
        match ended {
            Ended::Left => self.report(&format!("{address} disconnected")),
            Ended::Dropped(why) => {
                self.counts.dropped.fetch_add(1, Ordering::Relaxed);
                self.report(&format!("{address} was dropped: {why}"));
            }
        }
    }

    /// What happened since the start: one sentence.
    pub fn summary(&self) -> String {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &self.counts;
        let mut text = format!(
            "{} {}, {} of them dropped; they sent {} frames",
            count(&counts.clients),
            if count(&counts.clients) == 1 { "client" } else { "clients" },
            count(&counts.dropped),
            count(&counts.sent)
        );
        if count(&counts.lost) > 0 {
            text += &format!("; {} frames were lost, because this program was too slow", count(&counts.lost));
        }
        if count(&counts.unspeakable) > 0 {
            text += &format!("; {} remote or FD frames were not passed on", count(&counts.unspeakable));
        }
        text
    }

    fn report(&self, line: &str) {
        (self.report)(line);
    }

    /// Tells the first loss at once; the sum is in the summary.
    fn count_lost(&self, lost: u32) {
        let before = self.counts.lost.fetch_add(u64::from(lost), Ordering::Relaxed);
        if before == 0 && lost > 0 {
            self.report(&format!("{lost} frames were lost, because this program is too slow for the bus"));
        }
    }

    fn count_unspeakable(&self) {
        if self.counts.unspeakable.fetch_add(1, Ordering::Relaxed) == 0 {
            self.report(
                "there are remote or FD frames on the bus, which the protocol lacks: clients do not get them",
            );
        }
    }

    fn count_sent(&self) {
        self.counts.sent.fetch_add(1, Ordering::Relaxed);
    }
}

/// A client whose machine is gone must not keep its place. If the kernel refuses, it keeps it until it is sent something.
fn keep_alive(stream: &TcpStream) {
    let often = TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE / 3);
    let _ = SockRef::from(stream).set_tcp_keepalive(&often);
}

/// Without waiting: the socket of a new client has room.
fn refuse(stream: &TcpStream) {
    match stream.try_write(FULL) {
        Ok(_) => {}
        Err(err) => drop::<io::Error>(err),
    }
}
