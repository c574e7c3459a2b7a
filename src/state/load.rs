//! Loads the state folder: what cannot be parsed is renamed, what cannot be read stays.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::de::DeserializeOwned;

use super::{Document, EndpointRecord, Store, Unread, VERSION, disk::FRESH};
use crate::{clock::unix_seconds, endpoint::Endpoint, names::NetworkId, network::Network};

/// The content of a state folder.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The networks.
    pub networks: Vec<Network>,
    /// The endpoints of this boot.
    pub endpoints: Vec<Endpoint>,
    /// One sentence per problem, for the log.
    pub warnings: Vec<String>,
    /// Why the networks could not be read; they may be readable later.
    pub unread: Option<String>,
}

impl Store {
    /// Reads everything. Never fails: what cannot be parsed is renamed, what cannot be read stays, and both are
    /// reported.
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
                    transient: record.transient,
                    name: record.name,
                    engine: record.engine,
                    found: record.found,
                    ..network.with_lists_lost(record.lists_lost)
                }),
                Err(why) => {
                    loaded.warnings.push(format!("ignored network {} in the state file: {why}", id.short()))
                }
            }
        }
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
                // A write that was interrupted by a crash; the endpoint's record is next to it, or never existed.
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

    /// Renames a state file that cannot be parsed, so that nothing is lost, and reports it. If it cannot be renamed, it
    /// counts as unread, because the next save would overwrite it.
    fn set_aside(&self, why: &str, loaded: &mut Loaded) {
        let path = self.state_file();
        if !self.writes {
            loaded.warnings.push(format!("the state file {} cannot be read ({why})", path.display()));
            return;
        }
        let aside = aside(&path);
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
}

/// Where a file that cannot be parsed is kept.
pub(super) fn aside(path: &Path) -> PathBuf {
    path.with_extension(format!("unreadable-{}", unix_seconds(SystemTime::now())))
}

/// Why a record could not be read.
pub(super) enum Unreadable {
    /// The file could not be read, but may be intact.
    Io(io::Error),
    /// Its content cannot be parsed.
    Content(String),
}

/// `Ok(None)` if there is no file.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Unreadable> {
    match fs::read(path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map(Some).map_err(|err| Unreadable::Content(err.to_string()))
        }
        Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(err) => Err(Unreadable::Io(err)),
    }
}
