//! This host's membership of its fleet: what the files of the commands say, the connections that follow from it, and what is
//! kept of other hosts.

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{task::spawn_blocking, time::sleep};
use tracing::{info, warn};

use super::{SOON, Session, due::SAVE, wall};
use crate::{
    config::Config,
    engine::{
        Sink,
        zenoh::{Settings, Zenoh},
    },
    fleet::{Offered, write_secret},
    flow::Moment,
    hosts::{self, Hosts},
};

const NO_FLEET: &str =
    "this host is in no fleet: run canhub-span init here, or canhub-span join with an invitation";
/// After a session could not be opened.
const OPEN_AGAIN: Duration = Duration::from_secs(2);
/// Between two looks at the files that commands change.
const LOOK: Duration = Duration::from_secs(1);

impl Session {
    /// Looks whether a command changed the files. Returns whether this host is in no fleet any more.
    pub(super) fn look(&mut self, now: Moment) -> bool {
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
    pub(super) async fn leave(&mut self) -> bool {
        self.say_hello(Moment::now(), true);
        // What was said must have left.
        sleep(SOON).await;
        // The next fleet has other hosts.
        self.saved().await;
        self.hosts = None;
        self.ledgers.clear();
        let _ = fs::remove_file(self.store.hosts_file());
        true
    }

    /// Opens the session (again), with what the files say now.
    pub(super) async fn open(&mut self, sink: &Sink) {
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
                if !is_open {
                    info!("{NO_FLEET}");
                }
                self.problem = (!is_open).then(|| NO_FLEET.to_owned());
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

    pub(super) async fn open_now(&mut self, sink: &Sink) -> Result<bool, String> {
        let started = Moment::now();
        self.stamp = Some(self.store.stamp());
        let Some(identity) = self.store.identity()? else {
            self.fleet = None;
            return Ok(false);
        };
        if self.fleet.is_none() {
            // `init` and `join` write the settings of a service that was started before.
            self.config = Config::load(self.file.as_deref())?;
        }
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
            Some(hosts) => hosts.lock().set_list((*list).clone(), &host, &identity.certificate.serial, now),
            None => {
                self.instance = self.ledgers.resume(&format!("{} {host}", list.fleet), self.instance);
                let records = hosts::load(&self.store.hosts_file()).unwrap_or_else(|why| {
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

    /// Another host has sent its fleet list.
    pub(super) fn offered(&mut self, host: &str, payload: &[u8], now: Moment) {
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

    pub(super) fn save(&mut self) {
        let now = Moment::now();
        if self.saving.as_ref().is_some_and(|saving| !saving.is_finished()) {
            self.due.save = now + SOON;
            return;
        }
        self.due.save = now + SAVE;
        let Some(hosts) = &self.hosts else { return };
        let (file, content) = (self.store.hosts_file(), hosts.lock().to_file());
        // Not in this task: a disk may take longer than the other hosts wait for a hello.
        self.saving = Some(spawn_blocking(move || {
            if let Err(why) = write_secret(&file, &content) {
                warn!("{why}");
            }
        }));
    }

    /// Waits until the hosts are on disk.
    pub(super) async fn saved(&mut self) {
        if let Some(saving) = self.saving.take() {
            let _ = saving.await;
        }
    }
}
