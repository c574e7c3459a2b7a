//! This host in its fleet: one task that opens the engine, says hello, watches the others, and tells canhub.

mod buses;
mod due;
mod membership;
mod tell;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use canhub::{
    clock::unix_seconds,
    span::protocol::{Port, State, ToSpan},
};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::sleep,
};
use tracing::{info, warn};

use crate::{
    batch::Encoder,
    bus::Bus,
    config::Config,
    engine::{Event, Topic, zenoh::Troubles},
    fleet::{Identity, SignedList, Stamp, Store, random},
    flow::Moment,
    hello::Refusal,
    hosts::{Change, HELLO, Hosts, Now},
    ledger::Ledgers,
    mesh::{Mesh, Timed},
    tunnel::Tunnels,
};
use due::Due;

/// Not more than one hello, fleet list or state in this time, apart from the regular ones.
const SOON: Duration = Duration::from_millis(250);
/// Between two fleet lists for a host that has an older one, or says nothing.
const LIST_AGAIN: Duration = Duration::from_secs(3);
/// Between two states for canhub.
const SHOW: Duration = Duration::from_secs(1);

/// Between two attempts to find a host again that others hear; doubles each time.
const RECONNECT: Duration = Duration::from_secs(5);
const RECONNECT_MAX: Duration = Duration::from_secs(600);

/// This host in its fleet.
pub(super) struct Session {
    config: Config,
    /// Where the settings are, as for [`Config::load`].
    file: Option<PathBuf>,
    store: Store,
    troubles: Troubles,
    show: watch::Sender<Arc<State>>,
    ledgers: Ledgers,
    instance: u64,
    started: Now,
    mesh: Arc<Mesh>,
    encoder: Arc<Mutex<Encoder>>,
    /// A bus has something to tell canhub.
    news: Arc<Notify>,
    hosts: Option<Arc<Mutex<Hosts>>>,
    fleet: Option<(Identity, SignedList)>,
    stamp: Option<Stamp>,
    problem: Option<String>,
    ports: Vec<Port>,
    buses: BTreeMap<String, (Arc<Mutex<Bus>>, Arc<Notify>)>,
    /// Buses that were on a span before: what they counted, and the numbers of their batches, go on if they come back.
    former: BTreeMap<String, Arc<Mutex<Bus>>>,
    tunnels: Tunnels,
    tasks: JoinSet<()>,
    /// The hosts are being written to disk.
    saving: Option<JoinHandle<()>>,
    watchdog: Option<Duration>,
    /// How long to wait after the next attempt to find a host again that others hear.
    reconnect: Duration,
    due: Due,
}

impl Session {
    pub(super) fn new(
        config: Config,
        file: Option<PathBuf>,
        ledgers: Ledgers,
        troubles: Troubles,
        show: watch::Sender<Arc<State>>,
    ) -> Result<Self, String> {
        let now = Moment::now();
        let mut tasks = JoinSet::new();
        Ok(Self {
            store: Store::new(&config.state),
            tunnels: Tunnels::start(&config.tunnels, &mut tasks),
            config,
            file,
            troubles,
            show,
            ledgers,
            instance: instance()?,
            started: wall(now),
            mesh: Arc::default(),
            encoder: Arc::default(),
            news: Arc::default(),
            hosts: None,
            fleet: None,
            stamp: None,
            problem: None,
            ports: Vec::new(),
            buses: BTreeMap::new(),
            former: BTreeMap::new(),
            tasks,
            saving: None,
            watchdog: None,
            reconnect: RECONNECT,
            due: Due::at(now),
        })
    }

    /// Tells systemd that this task is alive, at least this often.
    pub(super) fn feed_watchdog(&mut self, pause: Duration) {
        self.watchdog = Some(pause);
        self.due.watchdog = Moment::now();
    }

    /// Runs until this host has left its fleet.
    pub(super) async fn run(&mut self, mut told: mpsc::Receiver<ToSpan>) {
        let (sink, mut events) = self.mesh.sink();
        self.troubles.tell(sink.clone());
        loop {
            let sleeps = sleep(self.due.next().since(Moment::now()));
            tokio::select! {
                Some(event) = events.recv() => self.happened(event),
                Some(message) = told.recv() => self.told(message),
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Err(err) = ended && err.is_panic() {
                        tracing::error!(%err, "the task of a bus or a tunnel panicked; this is a bug in canhub: restart canhub-span");
                    }
                }
                () = self.news.notified() => self.due.show = Moment::now(),
                () = sleeps => {}
            }
            let now = Moment::now();
            if self.look(now) && self.leave().await {
                return;
            }
            if self.due.open.is_some_and(|due| due <= now) {
                self.open(&sink).await;
            }
            self.regular(Moment::now());
        }
    }

    fn told(&mut self, message: ToSpan) {
        match message {
            ToSpan::Ports(ports) => {
                self.tunnels.set_ports(&ports);
                self.ports = ports;
                self.sync_buses();
            }
            ToSpan::Forget(host) => {
                if let Some(hosts) = &self.hosts
                    && hosts.lock().forget(&host)
                {
                    info!(%host, "forgotten");
                    self.save();
                }
            }
        }
        let now = Moment::now();
        (self.due.hello, self.due.show) = (self.due.hello.min(now + SOON / 4), now);
    }

    fn happened(&mut self, (at, event): Timed) {
        let Some(hosts) = self.hosts.clone() else { return };
        let now = wall(at);
        let changes = match event {
            Event::Connected(link) => {
                self.due.list = self.due.list.min(at + SOON);
                self.due.hello = self.due.hello.min(at + SOON / 4);
                hosts.lock().connected(link, now)
            }
            Event::Disconnected(link) => hosts.lock().disconnected(&link, now),
            Event::Received { topic: Topic::Hello, host, payload } => {
                let mut hosts = hosts.lock();
                let changes = hosts.heard(&host, &payload, now);
                self.due.hello = hosts.hello_due().map_or(self.due.hello, |due| due.min(self.due.hello));
                changes
            }
            Event::Received { topic: Topic::Refusal, host, payload } => match Refusal::decode(&payload) {
                Some(refusal) => hosts.lock().refused_by(&host, &refusal, now),
                None => Vec::new(),
            },
            Event::Received { topic: Topic::Fleet, host, payload } => {
                self.offered(&host, &payload, at);
                Vec::new()
            }
            Event::Received { topic: Topic::Data(_), .. } => Vec::new(),
            Event::Unreachable { address, reason } => hosts.lock().not_reached(address, reason, now),
            Event::Refused { address, reason } => {
                hosts.lock().not_connected(address.as_deref(), &reason, now)
            }
        };
        self.act(changes);
        self.sync_online();
    }

    /// Logs what happened to hosts, and does what follows.
    fn act(&mut self, changes: Vec<Change>) {
        for change in changes {
            self.due.show = self.due.show.min(Moment::now() + SOON);
            match change {
                Change::Online(host) => {
                    info!(%host, "online");
                    self.save();
                }
                Change::Offline(host, why) => {
                    info!(%host, "offline: {why}");
                    self.save();
                }
                Change::Left(host) => info!(%host, "it has left the fleet"),
                Change::Refused(refused) => warn!(host = %refused.host, "refused: {}", refused.reason),
                Change::Unreachable { address, reason } => {
                    info!(%address, "cannot reach another host; trying again until it is there: {reason}");
                }
                Change::Tell(refusal) => self.mesh.send(&Topic::Refusal, refusal.encode()),
            }
        }
    }

    /// Does what is due.
    fn regular(&mut self, now: Moment) {
        if let Some(hosts) = self.hosts.clone() {
            let changes = hosts.lock().tick(wall(now));
            if !changes.is_empty() {
                self.act(changes);
                self.sync_online();
            }
            let apart = hosts.lock().apart(now);
            if let Some(host) = apart.filter(|_| self.due.reconnect <= now) {
                info!(%host, "others hear it and this host does not; reopening the connections to find it");
                self.due.reconnect = now + self.reconnect;
                self.reconnect = (self.reconnect * 2).min(RECONNECT_MAX);
                self.due.open = Some(now);
            }
        }
        if self.due.hello <= now {
            self.say_hello(now, false);
            self.due.hello = self.hosts.as_ref().map_or(now + HELLO, |hosts| hosts.lock().says_hello(now));
        }
        if self.due.list <= now {
            self.due.list = now + LIST_AGAIN;
            let wanted = self.hosts.as_ref().is_some_and(|hosts| hosts.lock().wants_list());
            if let Some((_, list)) = self.fleet.as_ref().filter(|_| wanted) {
                self.mesh.send(&Topic::Fleet, list.text().as_bytes().to_vec());
            }
        }
        if self.due.show <= now {
            self.due.show = now + SHOW;
            // The control socket has one receiver of its own, and one for canhub.
            if self.show.receiver_count() > 1 {
                self.show.send_replace(Arc::new(self.state()));
            }
        }
        if self.due.save <= now {
            self.save();
        }
        if let Some(pause) = self.watchdog
            && self.due.watchdog <= now
        {
            self.due.watchdog = now + pause;
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        }
    }

    /// Ends all tasks and the session.
    pub(super) async fn close(&mut self) {
        // What is being written may be older than what is known now.
        self.saved().await;
        self.save();
        self.saved().await;
        self.tasks.shutdown().await;
        self.mesh.close().await;
    }
}

fn wall(moment: Moment) -> Now {
    Now { moment, wall: unix_seconds(SystemTime::now()) }
}

/// A random number other than 0.
fn instance() -> Result<u64, String> {
    random().map(|bytes| u64::from_ne_bytes(bytes) | 1)
}
