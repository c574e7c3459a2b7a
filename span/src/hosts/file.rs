//! The file that keeps what is known of other hosts, `hosts.json`.

use std::{collections::BTreeMap, fs, io, path::Path};

use canhub::span::protocol::UnixSeconds;
use serde::{Deserialize, Serialize};

use super::Hosts;

/// What is known of a host and outlives its connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// When it was last heard; `None`: never.
    pub heard: Option<UnixSeconds>,
    /// Since when it is online or offline.
    pub since: UnixSeconds,
    /// Whether it said that it leaves the fleet.
    pub left: bool,
    /// Whether it is not to be listed until it is heard again.
    pub forgotten: bool,
}

/// Reads the file. A missing one is an empty one.
///
/// # Errors
/// One sentence: it cannot be read, or is none.
pub fn load(path: &Path) -> Result<BTreeMap<String, Record>, String> {
    let failed = |why: &dyn std::fmt::Display| {
        format!("cannot read {}, so all hosts count as never heard: {why}", path.display())
    };
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|err| failed(&err)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(err) => Err(failed(&err)),
    }
}

impl Hosts {
    /// The content of the file.
    pub fn to_file(&self) -> String {
        serde_json::to_string_pretty(&self.records()).unwrap_or_default()
    }
}
