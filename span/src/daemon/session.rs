//! This host in its fleet: one task that opens the engine, says hello, watches the others, and tells canhub.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use canhub::span::protocol::{Port, State, ToSpan, UnixSeconds};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
    time::sleep,
};
use tracing::{info, warn};

use crate::{
    batch::Encoder,
    bus::{self, Around, Bus},
    config::Config,
    engine::{
        Event, Topic,
        zenoh::{Settings, Troubles, Zenoh},
    },
    fleet::{Identity, Offered, SignedList, Stamp, Store, write_secret},
    flow::{Clocks, Moment},
    hello::{Hello, PROTOCOL, Refusal},
    hosts::{self, Change, HELLO, Hosts, Now},
    mesh::{Mesh, Timed},
    tunnel::Tunnels,
};

/// The file with what is known of other hosts.
const HOSTS: &str = "hosts.json";
/// After a session could not be opened.
const OPEN_AGAIN: Duration = Duration::from_secs(2);
/// Not more than one hello, fleet list or state in this time, apart from the regular ones.
const SOON: Duration = Duration::from_millis(250);
/// Between two looks at the files that commands change.
const LOOK: Duration = Duration::from_secs(1);
/// Between two fleet lists for a host that has an older one, or says nothing.
const LIST_AGAIN: Duration = Duration::from_secs(3);
/// Between two states for canhub.
const SHOW: Duration = Duration::from_secs(1);
/// Between two times that the known hosts are saved, if nothing but the time of their last hello changed.
const SAVE: Duration = Duration::from_secs(600);

/// Between two attempts to find a host again that others hear; doubles each time.
const RECONNECT: Duration = Duration::from_secs(5);
const RECONNECT_MAX: Duration = Duration::from_secs(600);
/// Without a watchdog nothing is due for it.
const WITHOUT_WATCHDOG: Duration = Duration::from_secs(1 << 32);

/// This host in its fleet.
pub(super) struct Session {
    config: Config,
    store: Store,
    troubles: Troubles,
    show: watch::Sender<Arc<State>>,
    instance: u64,
    started: Now,
    mesh: Arc<Mesh>,
    encoder: Arc<Mutex<Encoder>>,
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
    watchdog: Option<Duration>,
    /// How long to wait after the next attempt to find a host again that others hear.
    reconnect: Duration,
    due: Due,
}

/// When things are due that are not done at once.
struct Due {
    open: Option<Moment>,
    look: Moment,
    hello: Moment,
    list: Moment,
    show: Moment,
    save: Moment,
    watchdog: Moment,
    offer: Moment,
    reconnect: Moment,
}

impl Due {
    /// The next one.
    fn next(&self) -> Moment {
        let Self { open, look, hello, list, show, save, watchdog, .. } = *self;
        [look, hello, list, show, save, watchdog].into_iter().chain(open).min().unwrap_or(look)
    }
}

impl Session {
    pub(super) fn new(
        config: Config,
        troubles: Troubles,
        show: watch::Sender<Arc<State>>,
    ) -> Result<Self, String> {
        let now = Moment::now();
        let due = Due {
            open: Some(now),
            look: now,
            hello: now,
            list: now,
            show: now,
            save: now + SAVE,
            watchdog: now + WITHOUT_WATCHDOG,
            offer: now,
            reconnect: now,
        };
        let mut tasks = JoinSet::new();
        Ok(Self {
            store: Store::new(&config.state),
            tunnels: Tunnels::start(&config.tunnels, &mut tasks),
            config,
            troubles,
            show,
            instance: instance()?,
            started: wall(now),
            mesh: Arc::default(),
            encoder: Arc::default(),
            hosts: None,
            fleet: None,
            stamp: None,
            problem: None,
            ports: Vec::new(),
            buses: BTreeMap::new(),
            former: BTreeMap::new(),
            tasks,
            watchdog: None,
            reconnect: RECONNECT,
            due,
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

    /// Looks whether a command changed the files. Returns whether this host is in no fleet any more.
    fn look(&mut self, now: Moment) -> bool {
        if now < self.due.look {
            return false;
        }
        self.due.look = now + LOOK;
        let stamp = self.store.stamp();
        if self.stamp.as_ref() == Some(&stamp) {
            return false;
        }
        let is_first = self.stamp.replace(stamp).is_none();
        if !is_first {
            info!("the files of this host's fleet were changed");
        }
        self.due.open = Some(now);
        self.fleet.is_some() && self.store.identity() == Ok(None)
    }

    /// Says good-bye. Returns true.
    async fn leave(&mut self) -> bool {
        self.say_hello(Moment::now(), true);
        // What was said must have left.
        sleep(SOON).await;
        true
    }

    /// Opens the session (again), with what the files say now.
    async fn open(&mut self, sink: &crate::engine::Sink) {
        self.due.open = None;
        self.mesh.close().await;
        if let Some(hosts) = &self.hosts {
            let changes = hosts.lock().all_disconnected(wall(Moment::now()));
            self.act(changes);
        }
        let opened = self.open_now(sink).await;
        let now = Moment::now();
        match opened {
            Ok(is_open) => {
                self.problem = (!is_open).then(|| {
                    "this host is in no fleet: run canhub-span init here, or canhub-span join with an invitation"
                        .to_owned()
                });
            }
            Err(why) => {
                if self.problem.as_ref() != Some(&why) {
                    warn!("{why}; trying again until it works");
                }
                self.problem = Some(why);
                self.due.open = Some(now + OPEN_AGAIN);
            }
        }
        (self.due.hello, self.due.show) = (now, now);
    }

    async fn open_now(&mut self, sink: &crate::engine::Sink) -> Result<bool, String> {
        let started = Moment::now();
        self.stamp = Some(self.store.stamp());
        let Some(identity) = self.store.identity()? else {
            self.fleet = None;
            return Ok(false);
        };
        if let Some(name) = self.config.name.as_ref().filter(|name| **name != identity.certificate.host) {
            return Err(format!(
                "the name in the settings is {name}, and the certificate is that of {}: change the one, or join with an \
                 invitation for the other",
                identity.certificate.host
            ));
        }
        let list = self.store.list()?;
        let host = identity.certificate.host.as_str().to_owned();
        let now = wall(Moment::now());
        match &self.hosts {
            Some(hosts) => hosts.lock().set_list((*list).clone(), &identity.certificate.serial, now),
            None => {
                let records = hosts::load(&self.hosts_file()).unwrap_or_else(|why| {
                    warn!("{why}");
                    BTreeMap::new()
                });
                let serial = &identity.certificate.serial;
                let hosts = Hosts::new(&host, serial, self.instance, now, (*list).clone(), records);
                self.hosts = Some(Arc::new(Mutex::new(hosts)));
            }
        }
        let settings = Settings {
            host: host.clone(),
            listen: self.config.listen.iter().map(ToString::to_string).collect(),
            connect: self.config.connect.clone(),
            ca: identity.ca_file.clone(),
            identity: identity.identity_file.clone(),
            list: (*list).clone(),
        };
        let engine = Zenoh::open(&settings, sink.clone()).await?;
        self.mesh.use_engine(Arc::new(engine));
        let took_ms = Moment::now().since(started).as_millis();
        info!(%host, fleet_list = list.version, took_ms, "connected to the fleet");
        self.fleet = Some((identity, list));
        self.sync_buses();
        Ok(true)
    }

    fn hosts_file(&self) -> PathBuf {
        self.store.folder().join(HOSTS)
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

    /// Starts, changes and ends the tasks of buses, so that there is one for each port.
    fn sync_buses(&mut self) {
        let Some(hosts) = &self.hosts else { return };
        let gone: Vec<String> = self
            .buses
            .keys()
            .filter(|span| !self.ports.iter().any(|port| port.span.as_str() == **span))
            .cloned()
            .collect();
        for span in gone {
            // The task ends with its channel.
            self.mesh.leave(&span);
            self.former.extend(self.buses.remove(&span).map(|(bus, _)| (span.clone(), bus)));
            info!(%span, "this host's bus is no longer on the span");
        }
        for port in &self.ports {
            if let Some((bus, changed)) = self.buses.get(port.span.as_str()) {
                bus.lock().set_port(port.clone());
                changed.notify_one();
                continue;
            }
            let bus = self.former.remove(port.span.as_str());
            let bus = bus.unwrap_or_else(|| Arc::new(Mutex::new(Bus::new(port.clone(), self.instance))));
            bus.lock().set_port(port.clone());
            let changed = Arc::new(Notify::new());
            let batches = self.mesh.join(&Arc::from(port.span.as_str()));
            let around = Around {
                bus: bus.clone(),
                changed: changed.clone(),
                hosts: hosts.clone(),
                mesh: self.mesh.clone(),
                encoder: self.encoder.clone(),
            };
            self.tasks.spawn(bus::run(around, batches));
            info!(span = %port.span, interface = %port.interface, "this host's bus is on the span");
            self.buses.insert(port.span.to_string(), (bus, changed));
        }
        self.sync_online();
    }

    /// Tells each bus which hosts are online on its span.
    fn sync_online(&self) {
        let Some(hosts) = &self.hosts else { return };
        let hosts = hosts.lock();
        for (span, (bus, changed)) in &self.buses {
            let mut bus = bus.lock();
            let online = hosts.online_on(span, &bus.here());
            if bus.set_online(&online) {
                changed.notify_one();
            }
        }
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
            Event::Unreachable { address, reason } => hosts.lock().unreachable(address, reason),
            Event::Refused { address, reason } => {
                hosts.lock().not_connected(address.as_deref(), &reason, now)
            }
        };
        self.act(changes);
        self.sync_online();
    }

    /// Another host has sent its fleet list.
    fn offered(&mut self, host: &str, payload: &[u8], now: Moment) {
        let Ok(text) = std::str::from_utf8(payload) else { return };
        let Some((_, list)) = &self.fleet else { return };
        // Checking a signature takes longer than sending one.
        if text == list.text() || now < self.due.offer {
            return;
        }
        self.due.offer = now + SOON;
        match self.store.offer(text) {
            Ok(Offered::Newer(newer)) => {
                info!(from = %host, version = newer.version, "there is a newer fleet list");
                self.due.open = Some(now);
            }
            Ok(Offered::Known) => {}
            Err(why) => warn!(from = %host, "a fleet list was not accepted: {why}"),
        }
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

    fn say_hello(&self, now: Moment, leaving: bool) {
        let (Some((identity, list)), Some(hosts)) = (&self.fleet, &self.hosts) else { return };
        let clocks = Clocks::now();
        let hello = Hello {
            protocol: PROTOCOL,
            instance: self.instance,
            uptime_ms: u64::try_from(now.since(self.started.moment).as_millis()).unwrap_or(u64::MAX),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            certificate_expires: u64::try_from(identity.certificate.expires).ok(),
            list: list.version,
            sent: clocks.now.0,
            wall: clocks.wall.0,
            leaving,
            spans: self.buses.values().map(|(bus, _)| bus.lock().hello()).collect(),
            echoes: hosts.lock().echoes(now),
        };
        self.mesh.send(&Topic::Hello, hello.encode());
    }

    fn state(&self) -> State {
        let clocks = Clocks::now();
        let problem = self.problem.clone().or_else(|| self.mesh.problem());
        let spans = self.hosts.as_ref().map(|hosts| {
            // One after the other: frames must not wait for all of them.
            let of = |port: &Port| {
                let (bus, _) = self.buses.get(port.span.as_str())?;
                let hosts = hosts.lock();
                let mut state = bus.lock().state(&hosts, &clocks);
                state.hosts.extend(self.tunnels.states(&port.span));
                Some(state)
            };
            self.ports.iter().filter_map(of).collect()
        });
        let hosts = self.hosts.as_ref().map(|hosts| hosts.lock());
        State {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: self
                .fleet
                .as_ref()
                .map(|(identity, _)| identity.certificate.host.to_string())
                .unwrap_or_default(),
            started: self.started.wall,
            problem: problem.or_else(|| hosts.as_ref().and_then(|hosts| hosts.problem())),
            certificate_expires: self
                .fleet
                .as_ref()
                .and_then(|(identity, _)| UnixSeconds::try_from(identity.certificate.expires).ok()),
            refused: hosts.as_ref().map(|hosts| hosts.refused()).unwrap_or_default(),
            spans: spans.unwrap_or_default(),
        }
    }

    fn save(&mut self) {
        self.due.save = Moment::now() + SAVE;
        let Some(hosts) = &self.hosts else { return };
        let content = hosts.lock().to_file();
        if let Err(why) = write_secret(&self.hosts_file(), &content) {
            warn!("{why}");
        }
    }

    /// Ends all tasks and the session.
    pub(super) async fn close(&mut self) {
        self.save();
        self.tasks.shutdown().await;
        self.mesh.close().await;
    }
}

fn wall(moment: Moment) -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Now { moment, wall }
}

/// A random number other than 0.
fn instance() -> Result<u64, String> {
    let mut bytes = [0; 8];
    let read = |err| format!("cannot read /dev/urandom: {err}");
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").map_err(read)?, &mut bytes)
        .map_err(read)?;
    Ok(u64::from_ne_bytes(bytes) | 1)
}
