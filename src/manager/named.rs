//! Which network somebody means, and how long its name may take.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use super::Manager;
use crate::{model::Model, names::meant, network::Network, suggest::did_you_mean};

/// How long the name of a new network or container may take.
const NAMED_AFTER: Duration = Duration::from_secs(2);

impl Manager {
    /// Looks again for a moment while Docker's API may provide a name that is missing.
    pub(super) fn soon<T>(
        &self,
        is_unnamed: impl Fn(&Model) -> bool,
        look: impl Fn() -> Result<T, String>,
    ) -> Result<T, String> {
        let deadline = Instant::now() + NAMED_AFTER;
        loop {
            let found = look();
            if found.is_ok() || Instant::now() > deadline || !is_unnamed(&self.model.lock()) {
                return found;
            }
            self.signals.want_relearn();
            sleep(NAMED_AFTER / 20);
        }
    }
}

/// Why a name means no network.
pub(super) enum Unknown {
    /// There is none.
    Missing,
    /// There are several; two of their IDs.
    Several(String, String),
}

impl Unknown {
    /// Why nothing can be heard.
    pub(super) fn reason(&self, bus: &str) -> String {
        match self {
            Self::Missing => format!("there is no network {bus}, or not any more"),
            Self::Several(..) => format!("{bus} means several networks"),
        }
    }

    /// The same, and what to do.
    pub(super) fn advice(&self, model: &Model, bus: &str) -> String {
        let all: Vec<&str> = model.networks().map(|network| model.network_name(&network.id)).collect();
        match self {
            Self::Several(one, other) => {
                format!("{bus} means several networks: use the ID of one, {one} or {other}")
            }
            Self::Missing if all.is_empty() => {
                format!(
                    "there is no bus {bus}, and no other: `docker network create -d canhub ...` or `canhub bus create {bus}` makes one"
                )
            }
            Self::Missing => {
                let (nearest, some) = (did_you_mean(bus, &all), all[..all.len().min(5)].join(", "));
                format!("there is no bus {bus}{nearest}; `canhub bus ls` lists them, such as {some}")
            }
        }
    }
}

pub(super) fn find<'a>(model: &'a Model, bus: &str) -> Result<&'a Network, Unknown> {
    let all: Vec<&Network> = model.networks().collect();
    let is_named = |network: &Network| network.name.as_deref() == Some(bus);
    let has_hub = |network: &Network| network.hub().to_string() == bus;
    match meant(bus, &all, |network| &network.id, is_named, has_hub)[..] {
        [] => Err(Unknown::Missing),
        [network] => Ok(network),
        [first, second, ..] => {
            Err(Unknown::Several(first.id.short().to_owned(), second.id.short().to_owned()))
        }
    }
}
