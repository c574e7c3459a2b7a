//! Listens where everything can be heard.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tracing::warn;

use super::{
    super::{
        listener::{Listener, class, ids},
        watched::Watched,
    },
    SOON, Watcher,
};
use crate::{
    checks::{Files, modules},
    error::Error,
    kernel::{BcmId, refused},
    manager::{Ears, Place},
};

/// While something cannot be heard, where to listen is found out this often, and more often after a container has
/// joined: its name comes a moment later.
const RETRY: Duration = Duration::from_secs(2);
const RETRY_SOON: Duration = Duration::from_millis(200);

impl Watcher {
    /// Listens where everything can be heard now.
    pub(super) fn bind(&mut self, found: Option<Result<Ears, Error>>, now: Instant) {
        let ears = match found {
            Some(Ok(ears)) => ears,
            failed => {
                if let Some(Err(err)) = failed {
                    warn!(%err, "could not find out where to listen for expected frames; will retry");
                }
                self.search_at = Some(now + RETRY);
                return;
            }
        };
        // While each socket still knows what it listened for.
        let now = self.work(Duration::ZERO, now, true);
        self.members = ears.members;
        let mut places = ears.places;
        let mut old = std::mem::take(&mut self.watched);
        for expectation in self.manager.expectations().all() {
            let known = old.iter().position(|one| one.expectation == expectation);
            let mut one = known.map_or_else(|| Watched::new(expectation), |at| old.swap_remove(at));
            if let Some((network, place)) = places.remove(&one.component) {
                one.moves(network, place, now);
            }
            self.watched.push(one);
        }
        self.listen(now);
        let soon = now < self.eager_until;
        let unheard = |one: &Watched| one.key.is_none();
        if self.search_at.is_none() && (self.watched.iter().any(unheard) || soon && ears.unnamed) {
            self.search_at = Some(now + if soon { RETRY_SOON } else { RETRY });
        }
        // Health shall not keep what does not exist any more.
        self.refresh = now;
    }

    pub(super) fn listen(&mut self, now: Instant) {
        let mut wanted: BTreeMap<(u32, u32), Vec<(BcmId, usize)>> = BTreeMap::new();
        for (by, one) in self.watched.iter().enumerate() {
            let Some(Place::At { index, fd }) = one.place else { continue };
            let key = (index, class(one.expectation.every));
            wanted.entry(key).or_default().extend(ids(&one.expectation, fd).map(|id| (id, by)));
        }
        self.listeners.retain(|key, listener| {
            let Some(wanted) = wanted.get(key) else { return false };
            listener.retain(|id| wanted.iter().any(|(other, _)| *other == id));
            true
        });
        for (key, wanted) in wanted {
            let listener = match self.listeners.remove(&key) {
                Some(listener) => Ok(listener),
                None => Listener::open(key.0, now),
            };
            let bound = listener.and_then(|mut listener| {
                for (id, by) in &wanted {
                    let Some(one) = self.watched.get(*by) else { continue };
                    listener.listen(*id, *by, one.judge.timeout(), one.key != Some(key))?;
                }
                Ok(listener)
            });
            let mut ones: Vec<usize> = wanted.iter().map(|(_, by)| *by).collect();
            ones.dedup();
            match bound {
                Ok(mut listener) => {
                    listener.set_pace(|by| Some(&self.watched.get(by)?.judge));
                    self.listeners.insert(key, listener);
                    for by in ones {
                        if let Some(one) = self.watched.get_mut(by).filter(|one| one.key != Some(key)) {
                            one.gets_ear(key, now);
                        }
                    }
                }
                Err(err) => {
                    let gone = err.kind() == std::io::ErrorKind::NotFound || refused::is_gone(&err);
                    self.eager_until = if gone { now + SOON } else { self.eager_until };
                    for by in ones {
                        let Some(one) = self.watched.get_mut(by) else { continue };
                        one.loses_ear(now);
                        one.refused = (!gone).then(|| refusal(&err));
                    }
                }
            }
        }
    }
}

fn refusal(err: &std::io::Error) -> String {
    let missing = || modules::missing(&Files::default(), &["can-bcm"]);
    match refused::is_unsupported(err) {
        true => missing().unwrap_or_else(|| format!("this kernel has no can-bcm ({err})")),
        false => err.to_string(),
    }
}
