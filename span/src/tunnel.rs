//! Tunnels to programs and microcontrollers that speak cannelloni: one more member of a bus that is on a span.
//!
//! A tunnel has a socket of its own on canhub-span's end of the span port. So it hears what the members of this host send and
//! what other hosts send, and never what it sent itself; and what it sends reaches the members and, through canhub-span's
//! other socket, all hosts. The format has no times and no proof of who sent it: a tunnel takes packets from one address
//! only, and belongs on a wire that you trust.
//!
//! Nothing waits for the other side: what cannot be sent now is dropped and counted. Over UDP that is all. Over TCP the kernel
//! keeps what was sent until the other side has it, at most for `tcp::UNACKNOWLEDGED`.

mod end;
mod outgoing;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use canhub::{
    names::SpanName,
    span::protocol::{Frames, HostState, Port},
};
use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinSet, time::sleep};
use tracing::{info, warn};

use crate::fleet::time;
use end::End;

/// Between two attempts.
const RETRY: Duration = Duration::from_secs(1);

/// A tunnel, as in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// The span of the bus.
    pub span: SpanName,
    /// How it is reached.
    pub over: Over,
}

/// How the other side is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Packets; taken from this address with any port, as cannelloni does.
    Udp {
        /// Where packets arrive.
        local: SocketAddr,
        /// Where they are sent to.
        remote: SocketAddr,
    },
    /// A connection to the other side.
    TcpTo(SocketAddr),
    /// A connection from the other side, one at a time.
    TcpFrom {
        /// Where it arrives.
        local: SocketAddr,
        /// From where; anybody else is refused.
        remote: IpAddr,
    },
}

/// The bus, as far as a tunnel has to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// canhub-span's end of the span port.
    pub interface: String,
    /// Whether frames go to a wire.
    pub is_paced: bool,
    /// Frames that are older are dropped.
    pub age: Duration,
    /// Whether the bus carries FD frames.
    pub takes_fd: bool,
}

/// What is shown of a tunnel, like a host of the span.
pub type Status = Arc<Mutex<HostState>>;

impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.over {
            Over::Udp { remote, .. } => write!(f, "cannelloni udp {remote}"),
            Over::TcpTo(remote) => write!(f, "cannelloni tcp {remote}"),
            Over::TcpFrom { remote, .. } => write!(f, "cannelloni tcp {remote}"),
        }
    }
}

impl Tunnel {
    /// A status for it: never heard.
    pub fn status(&self) -> Status {
        let name = self.to_string();
        Arc::new(Mutex::new(HostState { name, since: seconds(), ..HostState::default() }))
    }
}

/// The tunnels of this host.
#[derive(Debug, Default)]
pub struct Tunnels(Vec<Running>);

#[derive(Debug)]
struct Running {
    span: SpanName,
    link: watch::Sender<Option<Link>>,
    status: Status,
}

impl Tunnels {
    /// Starts them; they wait for their ports.
    pub fn start(tunnels: &[Tunnel], tasks: &mut JoinSet<()>) -> Self {
        let start = |tunnel: &Tunnel| {
            let (link, links) = watch::channel(None);
            let status = tunnel.status();
            tasks.spawn(run(tunnel.clone(), links, status.clone()));
            Running { span: tunnel.span.clone(), link, status }
        };
        Self(tunnels.iter().map(start).collect())
    }

    /// The span ports of this host changed.
    pub fn set_ports(&self, ports: &[Port]) {
        for Running { span, link, .. } in &self.0 {
            let port = ports.iter().find(|port| port.span == *span).map(Link::from);
            link.send_if_modified(|link| std::mem::replace(link, port.clone()) != port);
        }
    }

    /// What is shown of the tunnels of a span.
    pub fn states(&self, span: &SpanName) -> impl Iterator<Item = HostState> {
        self.0
            .iter()
            .filter(move |running| running.span == *span)
            .map(|running| running.status.lock().clone())
    }
}

impl From<&Port> for Link {
    fn from(port: &Port) -> Self {
        Self {
            interface: port.interface.to_string(),
            is_paced: port.adapter.is_some(),
            age: Duration::from_millis(port.age_ms.into()),
            takes_fd: port.frames == Frames::Fd,
        }
    }
}

/// Carries frames for ever, while `link` says that there is a bus.
pub async fn run(tunnel: Tunnel, mut link: watch::Receiver<Option<Link>>, status: Status) {
    let (mut told, mut last) = (None, None);
    loop {
        let Some(bus) = link.borrow_and_update().clone() else {
            if link.changed().await.is_err() {
                return;
            }
            continue;
        };
        let ended = tokio::select! {
            Err(why) = carry(&tunnel, &mut last, &bus, &status) => Some(why),
            changed = link.changed() => match changed {
                Ok(()) => None,
                Err(_) => return,
            },
        };
        if offline(&status) {
            told = None;
        }
        if let Some(why) = ended {
            if told.as_ref() != Some(&why) {
                warn!(span = %tunnel.span, %tunnel, "{why}; trying again every second");
                told = Some(why);
            }
            sleep(RETRY).await;
        }
    }
}

/// Returns only with the reason why it cannot go on.
async fn carry(
    tunnel: &Tunnel,
    last: &mut Option<SocketAddr>,
    bus: &Link,
    status: &Status,
) -> Result<(), String> {
    match tunnel.over {
        Over::Udp { local, remote } => udp::carry(local, remote, End::open(bus, status)?).await,
        Over::TcpTo(remote) => tcp::dial(remote, last, bus, status).await,
        Over::TcpFrom { local, remote } => tcp::listen(local, remote, bus, status).await,
    }
}

/// Something came from the other side.
fn heard(status: &Status, from: SocketAddr) {
    let now = seconds();
    let mut status = status.lock();
    status.heard = Some(now);
    if !status.online {
        (status.online, status.since, status.path) = (true, now, Some(from.to_string()));
        info!(tunnel = %status.name, "the other side is there");
    }
}

/// The other side is gone. Returns whether it was there.
fn offline(status: &Status) -> bool {
    let mut status = status.lock();
    let was_online = status.online;
    if was_online {
        (status.online, status.since, status.path) = (false, seconds(), None);
    }
    was_online
}

fn seconds() -> u64 {
    time::now().unsigned_abs()
}
