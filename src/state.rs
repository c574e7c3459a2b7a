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

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    endpoint::Endpoint,
    error::Error,
    names::{EndpointId, NetworkId},
    network::{Found, Network},
    options::RawOptions,
};
use disk::{Disk, Durability, FRESH, replace};

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

/// What a state folder held.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The networks.
    pub networks: Vec<Network>,
    /// The endpoints of this boot.
    pub endpoints: Vec<Endpoint>,
    /// One sentence for each thing that was not as it should be, for the log.
    pub warnings: Vec<String>,
    /// One sentence where the networks could not be read, and may be readable later.
    pub unread: Option<String>,
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

    /// Reads everything, and never fails: what makes no sense is set aside, what cannot be read stays, and both are told.
    pub fn load(&self) -> Loaded {
        let mut loaded = Loaded::default();
        if self.writes
            && let Err(err) = fs::create_dir_all(self.endpoint_dir())
        {
            loaded.warnings.push(self.failed(&self.dir, err).to_string());
        }
        match read::<Document>(&self.state_file()) {
            Ok(None) => {}
            Err(Unreadable::Io(err)) => {
                loaded.unread =
                    Some(format!("cannot read the state file {}: {err}", self.state_file().display()));
            }
            Ok(Some(document)) if document.version == VERSION => self.take_in(document, &mut loaded),
            Ok(Some(document)) => {
                let why = format!("its version is {}, this canhub supports {VERSION}", document.version);
                self.set_aside(&why, &mut loaded);
            }
            Err(Unreadable::Content(why)) => self.set_aside(&why, &mut loaded),
        }
        if self.writes {
            let mut known = self.unread.lock();
            let deleted = known.take().map(|known| known.deleted).unwrap_or_default();
            *known = loaded.unread.clone().map(|why| Unread { why, deleted });
        }
        self.load_endpoints(&mut loaded);
        loaded
    }

    fn take_in(&self, document: Document, loaded: &mut Loaded) {
        let unread = self.unread.lock();
        let is_deleted = |id: &NetworkId| unread.as_ref().is_some_and(|unread| unread.deleted.contains(id));
        for (id, record) in document.networks.into_iter().filter(|(id, _)| !is_deleted(id)) {
            match Network::new(id.clone(), record.options) {
                Ok(network) => loaded.networks.push(Network {
                    provisional: record.provisional,
                    name: record.name,
                    engine: record.engine,
                    found: record.found,
                    ..network
                }),
                Err(why) => {
                    loaded.warnings.push(format!("ignored network {} in the state file: {why}", id.short()))
                }
            }
        }
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

    fn load_endpoints(&self, loaded: &mut Loaded) {
        let entries = match fs::read_dir(self.endpoint_dir()) {
            Ok(entries) => entries,
            Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return;
            }
            Err(err) => {
                let folder = self.endpoint_dir();
                loaded
                    .warnings
                    .push(format!("cannot read the endpoint records in {}: {err}", folder.display()));
                return;
            }
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_none_or(|end| end != "json") {
                // A write that a crash cut short; the endpoint's record is beside it, or never was.
                if self.writes && path.extension().is_some_and(|end| end == FRESH) {
                    let _ = fs::remove_file(&path);
                }
                continue;
            }
            match read::<EndpointRecord>(&path) {
                Ok(Some(record)) if record.boot == self.boot && record.version == VERSION => {
                    loaded.endpoints.push(record.endpoint);
                }
                Ok(_) if self.writes => {
                    let _ = fs::remove_file(&path);
                }
                Ok(_) => {}
                Err(Unreadable::Io(err)) => {
                    loaded
                        .warnings
                        .push(format!("cannot read the endpoint record {}: {err}", path.display()));
                }
                Err(Unreadable::Content(why)) if self.writes => {
                    loaded.warnings.push(format!("dropped the endpoint record {}: {why}", path.display()));
                    let _ = fs::remove_file(&path);
                }
                Err(Unreadable::Content(why)) => {
                    loaded
                        .warnings
                        .push(format!("the endpoint record {} cannot be read ({why})", path.display()));
                }
            }
        }
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

    /// Renames a state file that makes no sense, so that nothing of it is lost, and says so. One that cannot be renamed
    /// counts as unread: the next save would overwrite it.
    fn set_aside(&self, why: &str, loaded: &mut Loaded) {
        let path = self.state_file();
        if !self.writes {
            loaded.warnings.push(format!("the state file {} cannot be read ({why})", path.display()));
            return;
        }
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let aside = path.with_extension(format!("unreadable-{seconds}"));
        match self.disk.rename(&path, &aside) {
            Ok(()) => loaded.warnings.push(format!(
                "the state file {} cannot be read ({why}); kept it as {} and adopted the buses that still exist",
                path.display(),
                aside.display()
            )),
            Err(err) => {
                loaded.unread = Some(format!(
                    "the state file {} cannot be read ({why}) or renamed ({err})",
                    path.display()
                ));
            }
        }
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

/// Why a record could not be had.
enum Unreadable {
    /// The file could not be read, and may be good.
    Io(io::Error),
    /// What is in it makes no sense.
    Content(String),
}

/// `Ok(None)` when there is no file.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Unreadable> {
    match fs::read(path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map(Some).map_err(|err| Unreadable::Content(err.to_string()))
        }
        Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(err) => Err(Unreadable::Io(err)),
    }
}

#[cfg(test)]
mod tests;
