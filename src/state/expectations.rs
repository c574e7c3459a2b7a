//! `expectations.json`: what somebody expects on the buses. People have nothing else that remembers it, so it survives power
//! cuts.

use std::fs;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Store, VERSION,
    disk::{Durability, replace},
    load::{Unreadable, aside, read},
};
use crate::{error::Error, expect::Expectation};

#[derive(Debug, Serialize, Deserialize)]
struct Document<T> {
    version: u32,
    expectations: Vec<T>,
}

/// The recorded expectations.
#[derive(Debug, Default)]
pub struct LoadedExpectations {
    /// All that can be parsed.
    pub expectations: Vec<Expectation>,
    /// One sentence per problem, for the log.
    pub warnings: Vec<String>,
    /// Why the file could not be read; it may be readable later.
    pub unread: Option<String>,
}

impl Store {
    /// Writes all expectations. They are on disk when this returns.
    ///
    /// # Errors
    /// [`Error::State`] with the file and the reason.
    pub fn save_expectations(&self, expectations: &[Expectation]) -> Result<(), Error> {
        if !self.writes {
            return Ok(());
        }
        let path = self.expectations_file();
        let document = Document { version: VERSION, expectations: expectations.to_vec() };
        let write = || {
            fs::create_dir_all(&self.dir)?;
            replace(&*self.disk, &path, &serde_json::to_vec_pretty(&document)?, Durability::PowerCut)
        };
        let written = write();
        self.saved(path, written)
    }

    /// Reads all expectations. What cannot be parsed is renamed, what cannot be read stays, and both are reported.
    pub fn load_expectations(&self) -> LoadedExpectations {
        let path = self.expectations_file();
        let mut loaded = LoadedExpectations::default();
        let why = match read::<Document<Value>>(&path) {
            Ok(None) => return loaded,
            Ok(Some(document)) if document.version == VERSION => {
                for one in document.expectations {
                    match serde_json::from_value(one.clone()) {
                        Ok(expectation) => loaded.expectations.push(expectation),
                        Err(err) => {
                            loaded
                                .warnings
                                .push(format!("ignored the expectation {one} in {}: {err}", path.display()));
                        }
                    }
                }
                return loaded;
            }
            Ok(Some(document)) => {
                format!("its version is {}, this canhub supports {VERSION}", document.version)
            }
            Err(Unreadable::Content(why)) => why,
            Err(Unreadable::Io(err)) => {
                loaded.unread = Some(format!("cannot read the expectations in {}: {err}", path.display()));
                return loaded;
            }
        };
        if !self.writes {
            loaded.warnings.push(format!("the expectations in {} cannot be read ({why})", path.display()));
            return loaded;
        }
        let kept = aside(&path);
        match self.disk.rename(&path, &kept) {
            Ok(()) => loaded.warnings.push(format!(
                "the expectations in {} cannot be read ({why}); kept the file as {}",
                path.display(),
                kept.display()
            )),
            Err(err) => {
                loaded.unread = Some(format!(
                    "the expectations in {} cannot be read ({why}) or renamed ({err})",
                    path.display()
                ));
            }
        }
        loaded
    }

    fn expectations_file(&self) -> std::path::PathBuf {
        self.dir.join("expectations.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expectation(bus: &str) -> Expectation {
        let json = format!(r#"{{"bus":"{bus}","id":"1A0","every":"20ms"}}"#);
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn saved_expectations_are_read_again_and_a_bad_one_hides_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("state"), "boot");
        assert_eq!(store.load_expectations().expectations, []);
        store.save_expectations(&[expectation("body"), expectation("drive")]).unwrap();
        assert_eq!(store.load_expectations().expectations, [expectation("body"), expectation("drive")]);
        let file = store.expectations_file();
        let text = fs::read_to_string(&file).unwrap().replace("body", "");
        fs::write(&file, text).unwrap();
        let loaded = store.load_expectations();
        assert_eq!(loaded.expectations, [expectation("drive")]);
        assert!(loaded.warnings[0].contains("ignored the expectation"), "{loaded:?}");
    }

    #[test]
    fn a_file_that_cannot_be_parsed_is_kept_and_one_that_cannot_be_read_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), "boot");
        let file = store.expectations_file();
        for text in ["{", r#"{"version":2,"expectations":[]}"#] {
            fs::write(&file, text).unwrap();
            let loaded = store.load_expectations();
            assert!(loaded.warnings[0].contains("kept the file as") && !file.exists(), "{loaded:?}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "two in the same second have the same name");
        fs::create_dir(&file).unwrap();
        assert!(store.load_expectations().unread.is_some() && file.exists());
        fs::remove_dir(&file).unwrap();
        fs::write(&file, "{").unwrap();
        let seen = Store::observing(dir.path(), "boot").load_expectations();
        assert!(seen.warnings.len() == 1 && file.exists(), "{seen:?}");
    }
}
