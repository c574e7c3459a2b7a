//! The records that must survive the process.
//!
//! `state.json` has the networks and survives power cuts, because Docker never repeats CreateNetwork.
//! `endpoints/ID.json` has one endpoint each and only needs to survive a crash of canhub: endpoints do not outlive the
//! boot, so these files contain the boot ID and are not synced, and a Join writes one small file however large the bus
//! is.
//!
//! `expectations.json` has what somebody expects on the buses, and survives power cuts too.
//!
//! `faults.json` has the faults on purpose that last. They too do not outlive the boot.
//!
//! A state file that cannot be parsed is renamed. One that cannot be read (EIO, EMFILE, a lost mount) may be intact: it
//! stays, is not overwritten, and is retried until it can be read ([`Store::read_again`]).

mod disk;
mod expectations;
mod faults;
mod load;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

pub use expectations::LoadedExpectations;
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
    /// Whether it writes, moves or removes anything at all.
    writes: bool,
    /// Files that could not be written, so that their content is in memory only, and why.
    unsaved: Arc<Mutex<BTreeMap<PathBuf, String>>>,
    /// Set if the state file exists but could not be read.
    unread: Arc<Mutex<Option<Unread>>>,
    disk: Arc<dyn Disk>,
}

/// A state file that could not be read.
#[derive(Debug)]
struct Unread {
    /// One sentence.
    why: String,
    /// Networks deleted since then: their records in the file are obsolete.
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
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    transient: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    lists_lost: bool,
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
    /// A store in a folder, for the boot with this ID.
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

    /// A read-only store: saving does nothing.
    pub fn observing(dir: impl Into<PathBuf>, boot: impl Into<String>) -> Self {
        Self { writes: false, ..Self::new(dir, boot) }
    }

    /// Like [`Self::load`], without changing anything.
    pub fn peek(&self) -> Loaded {
        Self { writes: false, ..self.clone() }.load()
    }

    /// Why the networks' file could not be read on the last attempt; `None` if it could, or does not exist.
    pub fn unread(&self) -> Option<String> {
        self.unread.lock().as_ref().map(|unread| unread.why.clone())
    }

    /// Reads everything again if the networks' file could not be read before but can be read now.
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

    /// Whether the networks' file exists and can be parsed.
    pub fn is_readable(&self) -> bool {
        matches!(read::<Document>(&self.state_file()), Ok(Some(document)) if document.version == VERSION)
    }

    /// Whether there is no networks' file: nothing was saved yet, or someone deleted it.
    pub fn is_missing(&self) -> bool {
        fs::symlink_metadata(self.state_file()).is_err_and(|err| err.kind() == io::ErrorKind::NotFound)
    }

    /// Writes all networks. They are on disk when this returns.
    ///
    /// # Errors
    /// [`Error::State`] with the file and the reason; after a power cut the old file may be back. [`Error::Unread`]
    /// while that file cannot be read: it may be intact, so it is not overwritten.
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
                transient: network.transient,
                lists_lost: network.options.filters.lost,
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

    /// Writes an endpoint so that it survives this process.
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
            let content = serde_json::to_vec(&record)?;
            let replace = || replace(&*self.disk, &path, &content, Durability::Crash);
            match replace() {
                // The folder was created at start-up, and someone removed it.
                Err(err) if err.kind() == io::ErrorKind::NotFound => {
                    fs::create_dir_all(self.endpoint_dir())?;
                    replace()
                }
                written => written,
            }
        };
        let written = write();
        self.saved(path, written)
    }

    /// Removes the record of an endpoint, if there is one.
    pub fn remove_endpoint(&self, id: &EndpointId) {
        if !self.writes {
            return;
        }
        let path = self.endpoint_file(id);
        let _ = fs::remove_file(&path);
        self.unsaved.lock().remove(&path);
    }

    /// Why files could not be written when last tried, so that their content is in memory only: one sentence per file.
    pub fn unsaved(&self) -> Vec<String> {
        self.unsaved.lock().values().cloned().collect()
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Records whether a file was written successfully.
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
