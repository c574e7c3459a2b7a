//! `faults.json`: the faults that last. They survive the process and end with the boot, so the file has the boot's ID and is
//! not synced.

use std::fs;

use serde::{Deserialize, Serialize};

use super::{
    Store, VERSION,
    disk::{Durability, replace},
    load::{Unreadable, read},
};
use crate::{
    error::Error,
    fault::{Fault, Faults},
};

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    boot: String,
    last_id: u64,
    faults: Vec<Fault>,
}

impl Store {
    /// Writes all faults so that they survive this process.
    ///
    /// # Errors
    /// [`Error::State`] with the file and the reason.
    pub fn save_faults(&self, faults: &Faults) -> Result<(), Error> {
        if !self.writes {
            return Ok(());
        }
        let path = self.faults_file();
        let document = Document {
            version: VERSION,
            boot: self.boot.clone(),
            last_id: faults.last_id(),
            faults: faults.all().to_vec(),
        };
        let write = || {
            fs::create_dir_all(&self.dir)?;
            replace(&*self.disk, &path, &serde_json::to_vec_pretty(&document)?, Durability::Crash)
        };
        let written = write();
        self.saved(path, written)
    }

    /// Reads the faults of this boot. Those of another have ended with it.
    ///
    /// # Errors
    /// One sentence, if the file cannot be read or parsed. The faults have then ended.
    pub fn load_faults(&self) -> Result<Faults, String> {
        let path = self.faults_file();
        let lost = |why: String| {
            format!("cannot read the faults in {}: {why}; those that lasted have ended", path.display())
        };
        match read::<Document>(&path) {
            Ok(Some(record)) if record.boot == self.boot && record.version == VERSION => {
                Ok(Faults::new(record.faults, record.last_id))
            }
            Ok(_) => Ok(Faults::default()),
            Err(Unreadable::Content(why)) => Err(lost(why)),
            Err(Unreadable::Io(err)) => Err(lost(err.to_string())),
        }
    }

    fn faults_file(&self) -> std::path::PathBuf {
        self.dir.join("faults.json")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn faults_survive_the_process_and_end_with_the_boot() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("state"), "boot");
        let mut faults = Faults::default();
        let fault = Fault {
            id: 0,
            network: "a1".repeat(32).try_into().unwrap(),
            member: Some("door".into()),
            endpoint: Some("e1".repeat(32).try_into().unwrap()),
            effects: vec!["error=ack@3".parse().unwrap(), "cut".parse().unwrap()],
            began: Duration::from_millis(1234),
            ends: Some(Duration::from_millis(2234)),
            label: Some("first".into()),
        };
        faults.add(fault.clone(), |_| 1).unwrap();
        faults.add(Fault { member: None, ends: None, label: None, ..fault }, |_| 1).unwrap();
        faults.remove(|fault| fault.id == 2);
        store.save_faults(&faults).unwrap();
        let loaded = store.load_faults().unwrap();
        assert_eq!((loaded.all(), loaded.last_id()), (faults.all(), 2), "no number is given twice");
        let next = Store::new(dir.path().join("state"), "another boot").load_faults().unwrap();
        assert_eq!((next.all(), next.last_id()), (&[][..], 0));
        fs::write(store.faults_file(), "{").unwrap();
        assert!(store.load_faults().unwrap_err().contains("those that lasted have ended"));
    }
}
