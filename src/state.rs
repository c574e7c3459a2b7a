//! What must outlive the process.
//!
//! `state.json` holds the networks and outlives power cuts: Docker never sends CreateNetwork again.
//! `endpoints/ID.json` holds one endpoint each and need only outlive a crash of canhub: every endpoint
//! ends with the boot, so these carry the boot's id and are not synced, and Join writes one small file
//! however large the bus is.
//!
//! A state file that makes no sense is set aside. One that cannot be read (EIO, EMFILE, a lost mount) may be good:
//! it stays, nothing is written in its place, and it is read again until that works ([`Store::read_again`]).

mod disk;
mod load;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

pub use load::Loaded;

use crate::{
    endpoint::Endpoint,
    error::Error,
    names::{EndpointId, NetworkId},
    network::{Found, Network},
    options::RawOptions,
};
use disk::{Disk, Durability, replace};
use load::read;

const VERSION: u32 = 1;

/// The state folder.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
    boot: String,
    /// Whether anything is written, moved or removed at all.
    writes: bool,
    /// What is in memory only because the disk did not take it: why, by the file.
    unsaved: Arc<Mutex<BTreeMap<PathBuf, String>>>,
    /// The state file is there and could not be read.
    unread: Arc<Mutex<Option<Unread>>>,
    disk: Arc<dyn Disk>,
}

/// A state file that could not be read.
#[derive(Debug)]
struct Unread {
    /// One sentence.
    why: String,
    /// Networks that were deleted since: what the file says of them no longer holds.
    deleted: BTreeSet<NetworkId>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    networks: BTreeMap<NetworkId, NetworkRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
struct NetworkRecord {
    options: RawOptions,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    provisional: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    engine: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    found: Option<Found>,
}

#[derive(Debug, Serialize, Deserialize)]
struct EndpointRecord {
    version: u32,
    boot: String,
    #[serde(flatten)]
    endpoint: Endpoint,
}

impl Store {
    /// A store in a folder, for the boot with this id.
    pub fn new(dir: impl Into<PathBuf>, boot: impl Into<String>) -> Self {
        Self {
            dir: dir.into(),
            boot: boot.into(),
            unsaved: Arc::default(),
            unread: Arc::default(),
            disk: Arc::new(disk::Real),
            writes: true,
        }
    }

    /// A store that reads and never changes the folder: saving to it does nothing.
    pub fn observing(dir: impl Into<PathBuf>, boot: impl Into<String>) -> Self {
        Self { writes: false, ..Self::new(dir, boot) }
    }

    /// As [`Self::load`], and changes nothing.
    pub fn peek(&self) -> Loaded {
        Self { writes: false, ..self.clone() }.load()
    }

    /// Why the networks' file could not be read when that was last tried; `None`: it could, or there is none.
    pub fn unread(&self) -> Option<String> {
        self.unread.lock().as_ref().map(|unread| unread.why.clone())
    }

    /// Reads everything again if the networks' file could not be read before, and can be now.
    pub fn read_again(&self) -> Option<Loaded> {
        self.unread()?;
        Some(self.load()).filter(|loaded| loaded.unread.is_none())
    }

    /// Remembers that a network was deleted while its record could not be read.
    pub fn network_deleted(&self, id: &NetworkId) {
        if let Some(unread) = &mut *self.unread.lock() {
            unread.deleted.insert(id.clone());
        }
    }

    /// Whether the networks' file is there and makes sense.
    pub fn is_readable(&self) -> bool {
        matches!(read::<Document>(&self.state_file()), Ok(Some(document)) if document.version == VERSION)
    }

    /// Writes all networks, so that they are on the disk when this returns.
    ///
    /// # Errors
    /// [`Error::State`] with the file and the reason; after a power cut the old file may stand. [`Error::Unread`] while
    /// that file cannot be read: it may be good, so nothing takes its place.
    pub fn save_networks<'a>(&self, networks: impl IntoIterator<Item = &'a Network>) -> Result<(), Error> {
        if !self.writes {
            return Ok(());
        }
        if let Some(why) = self.unread() {
            return Err(Error::Unread(why));
        }
        let record = |network: &Network| {
            let record = NetworkRecord {
                options: network.raw.clone(),
                provisional: network.provisional,
                name: network.name.clone(),
                engine: network.engine.clone(),
                found: network.found.clone(),
            };
            (network.id.clone(), record)
        };
        let document = Document { version: VERSION, networks: networks.into_iter().map(record).collect() };
        let path = self.state_file();
        let write = || -> io::Result<()> {
            fs::create_dir_all(&self.dir)?;
            replace(&*self.disk, &path, &serde_json::to_vec_pretty(&document)?, Durability::PowerCut)
        };
        let written = write();
        self.saved(path, written)
    }

    /// Writes one endpoint, so that it outlives this process.
    ///
    /// # Errors
    /// [`Error::State`] with the file and the reason.
    pub fn save_endpoint(&self, endpoint: &Endpoint) -> Result<(), Error> {
        if !self.writes {
            return Ok(());
        }
        let path = self.endpoint_file(&endpoint.id);
        let record = EndpointRecord { version: VERSION, boot: self.boot.clone(), endpoint: endpoint.clone() };
        let write = || -> io::Result<()> {
            fs::create_dir_all(self.endpoint_dir())?;
            replace(&*self.disk, &path, &serde_json::to_vec(&record)?, Durability::Crash)
        };
        let written = write();
        self.saved(path, written)
    }

    /// Forgets an endpoint. One that is not there is forgotten already.
    pub fn remove_endpoint(&self, id: &EndpointId) {
        if !self.writes {
            return;
        }
        let path = self.endpoint_file(id);
        let _ = fs::remove_file(&path);
        self.unsaved.lock().remove(&path);
    }

    /// What is in memory only because the disk did not take it when it was last written: one sentence for each file.
    pub fn unsaved(&self) -> Vec<String> {
        self.unsaved.lock().values().cloned().collect()
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Remembers whether a file is on the disk as it should be.
    fn saved(&self, path: PathBuf, written: io::Result<()>) -> Result<(), Error> {
        let saved = written.map_err(|err| self.failed(&path, err));
        match &saved {
            Ok(()) => drop(self.unsaved.lock().remove(&path)),
            Err(err) => drop(self.unsaved.lock().insert(path, err.to_string())),
        }
        saved
    }

    fn failed(&self, path: &Path, source: io::Error) -> Error {
        Error::State { path: path.to_owned(), source }
    }

    /// The file of the networks.
    pub fn state_file(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    fn endpoint_dir(&self) -> PathBuf {
        self.dir.join("endpoints")
    }

    fn endpoint_file(&self, id: &EndpointId) -> PathBuf {
        self.endpoint_dir().join(format!("{id}.json"))
    }
}

#[cfg(test)]
mod tests;
