//! What must outlive the process.
//!
//! `state.json` holds the networks and outlives power cuts: Docker never sends CreateNetwork again.
//! `endpoints/ID.json` holds one endpoint each and need only outlive a crash of canhub: every endpoint
//! ends with the boot, so these carry the boot's id and are not synced, and Join writes one small file
//! however large the bus is.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use atomic_write_file::AtomicWriteFile;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    endpoint::Endpoint,
    error::Error,
    names::{EndpointId, NetworkId},
    network::{Found, Network},
    options::RawOptions,
};

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
        Self { dir: dir.into(), boot: boot.into(), unsaved: Arc::default(), writes: true }
    }

    /// A store that reads and never changes the folder: saving to it does nothing.
    pub fn observing(dir: impl Into<PathBuf>, boot: impl Into<String>) -> Self {
        Self { writes: false, ..Self::new(dir, boot) }
    }

    /// As [`Self::load`], and changes nothing.
    pub fn peek(&self) -> Loaded {
        Self { writes: false, ..self.clone() }.load()
    }

    /// Reads everything, and never fails: what cannot be read is kept aside and named.
    pub fn load(&self) -> Loaded {
        let mut loaded = Loaded::default();
        if self.writes
            && let Err(err) = fs::create_dir_all(self.endpoint_dir())
        {
            loaded.warnings.push(self.failed(&self.dir, err).to_string());
        }
        match read::<Document>(&self.state_file()) {
            Ok(None) => {}
            Ok(Some(document)) if document.version == VERSION => {
                for (id, record) in document.networks {
                    match Network::new(id.clone(), record.options) {
                        Ok(network) => loaded.networks.push(Network {
                            provisional: record.provisional,
                            name: record.name,
                            found: record.found,
                            ..network
                        }),
                        Err(why) => {
                            loaded.warnings.push(format!("network {} of the state file: {why}", id.short()))
                        }
                    }
                }
            }
            Ok(Some(document)) => {
                loaded.warnings.push(self.set_aside(&format!(
                    "its version is {} and this canhub knows {VERSION}",
                    document.version
                )))
            }
            Err(why) => loaded.warnings.push(self.set_aside(&why)),
        }
        self.load_endpoints(&mut loaded);
        loaded
    }

    /// Whether the networks' file is there and makes sense.
    pub fn is_readable(&self) -> bool {
        matches!(read::<Document>(&self.state_file()), Ok(Some(document)) if document.version == VERSION)
    }

    fn load_endpoints(&self, loaded: &mut Loaded) {
        for entry in fs::read_dir(self.endpoint_dir()).into_iter().flatten().flatten() {
            let path = entry.path();
            match read::<EndpointRecord>(&path) {
                Ok(Some(record)) if record.boot == self.boot && record.version == VERSION => {
                    loaded.endpoints.push(record.endpoint);
                }
                Ok(_) if self.writes => {
                    let _ = fs::remove_file(&path);
                }
                Ok(_) => {}
                Err(why) if self.writes => {
                    loaded.warnings.push(format!("dropped the endpoint record {}: {why}", path.display()));
                    let _ = fs::remove_file(&path);
                }
                Err(why) => {
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
    /// [`Error::State`] with the file and the reason; the old file then stands as it was.
    pub fn save_networks<'a>(&self, networks: impl IntoIterator<Item = &'a Network>) -> Result<(), Error> {
        if !self.writes {
            return Ok(());
        }
        let record = |network: &Network| {
            let record = NetworkRecord {
                options: network.raw.clone(),
                provisional: network.provisional,
                name: network.name.clone(),
                found: network.found.clone(),
            };
            (network.id.clone(), record)
        };
        let document = Document { version: VERSION, networks: networks.into_iter().map(record).collect() };
        let path = self.state_file();
        let write = || -> io::Result<()> {
            fs::create_dir_all(&self.dir)?;
            let mut file = AtomicWriteFile::open(&path)?;
            serde_json::to_writer_pretty(&mut file, &document)?;
            file.commit()
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
        let fresh = path.with_extension("new");
        let write = || -> io::Result<()> {
            fs::create_dir_all(self.endpoint_dir())?;
            fs::write(&fresh, serde_json::to_vec(&record)?)?;
            fs::rename(&fresh, &path)
        };
        let written = write().inspect_err(|_| drop(fs::remove_file(&fresh)));
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

    /// Renames an unreadable state file, so that nothing of it is lost, and says so.
    fn set_aside(&self, why: &str) -> String {
        let path = self.state_file();
        if !self.writes {
            return format!("the state file {} cannot be read ({why})", path.display());
        }
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let aside = path.with_extension(format!("unreadable-{seconds}"));
        match fs::rename(&path, &aside) {
            Ok(()) => format!(
                "the state file {} cannot be read ({why}); it is kept as {}, and what still runs is adopted",
                path.display(),
                aside.display()
            ),
            Err(err) => {
                format!("the state file {} cannot be read ({why}) nor set aside ({err})", path.display())
            }
        }
    }

    fn failed(&self, path: &Path, source: io::Error) -> Error {
        Error::State { path: path.to_owned(), source }
    }

    fn state_file(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    fn endpoint_dir(&self) -> PathBuf {
        self.dir.join("endpoints")
    }

    fn endpoint_file(&self, id: &EndpointId) -> PathBuf {
        self.endpoint_dir().join(format!("{id}.json"))
    }
}

/// `Ok(None)` when there is no file; `Err` with a reason when it makes no sense.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, String> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|err| err.to_string()),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Stage;

    fn network() -> Network {
        Network::new("a1".repeat(32).try_into().unwrap(), [("hub".into(), "vcan7".into())].into()).unwrap()
    }

    fn endpoint() -> Endpoint {
        Endpoint {
            id: "b2".repeat(32).try_into().unwrap(),
            network: network().id,
            ifname: "can0".parse().unwrap(),
            stage: Stage::Joined { sandbox: "/var/run/docker/netns/abc".into() },
        }
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), "boot-1");
        assert!(store.load().networks.is_empty());
        store.save_networks([&network()]).unwrap();
        store.save_endpoint(&endpoint()).unwrap();
        let loaded = store.load();
        assert_eq!((loaded.networks, loaded.endpoints), (vec![network()], vec![endpoint()]));
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    }

    #[test]
    fn endpoints_end_with_the_boot_and_networks_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), "boot-1");
        store.save_networks([&network()]).unwrap();
        store.save_endpoint(&endpoint()).unwrap();
        let loaded = Store::new(dir.path(), "boot-2").load();
        assert_eq!((loaded.networks.len(), loaded.endpoints.len()), (1, 0));
        assert_eq!(fs::read_dir(dir.path().join("endpoints")).unwrap().count(), 0, "nothing is left over");
    }

    #[test]
    fn rubbish_is_kept_aside_and_named() {
        for rubbish in ["", "not json", "{\"version\":99,\"networks\":{}}", "{\"version\":1}", "\0\0\0"] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("state.json"), rubbish).unwrap();
            let loaded = Store::new(dir.path(), "boot").load();
            assert!(loaded.networks.is_empty());
            let [warning] = &loaded.warnings[..] else { panic!("{:?}", loaded.warnings) };
            let aside = fs::read_dir(dir.path())
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .find(|path| path.to_string_lossy().contains("unreadable"))
                .unwrap();
            assert!(warning.contains(&*aside.to_string_lossy()), "{warning}");
            assert_eq!(fs::read_to_string(aside).unwrap(), rubbish);
        }
    }

    #[test]
    fn who_only_observes_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let absent = dir.path().join("absent");
        assert!(Store::observing(&absent, "boot").load().warnings.is_empty());
        assert!(!absent.exists());

        let store = Store::new(dir.path(), "boot-1");
        store.save_endpoint(&endpoint()).unwrap();
        fs::write(dir.path().join("state.json"), "rubbish").unwrap();
        let observer = Store::observing(dir.path(), "boot-2");
        let warnings = observer.load().warnings;
        assert!(warnings.len() == 1 && warnings[0].contains("cannot be read"), "{warnings:?}");
        assert!(!observer.is_readable());
        observer.save_networks([&network()]).unwrap();
        observer.remove_endpoint(&endpoint().id);
        assert_eq!(fs::read_to_string(dir.path().join("state.json")).unwrap(), "rubbish");
        assert_eq!(store.load().endpoints, [endpoint()], "it is of another boot and stays all the same");
    }

    #[test]
    fn a_folder_that_takes_nothing_is_named_with_the_next_step() {
        // A file where the folder should be fails for root too.
        let file = tempfile::NamedTempFile::new().unwrap();
        let store = Store::new(file.path(), "boot");
        let err = store.save_networks([&network()]).unwrap_err().to_string();
        assert!(err.contains("state.json") && err.contains("--state-dir"), "{err}");
        assert!(store.save_endpoint(&endpoint()).is_err());
        assert_eq!(store.unsaved().len(), 2, "{:?}", store.unsaved());
        store.remove_endpoint(&endpoint().id);
        assert_eq!(store.unsaved().len(), 1, "an endpoint that left needs no record");
        assert_eq!(store.load().warnings.len(), 2, "the folder, and the file in it");
    }
}
