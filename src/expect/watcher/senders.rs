//! Who sends a frame instead of the container that should.

use std::time::{Duration, Instant};

use super::{
    super::{Miss, Verdict, finder::Finder, watched::Watched},
    Watcher,
};

/// Who sends a frame instead of a container is asked this often.
const SEARCHES: Duration = Duration::from_secs(5);
/// For so many frames at a time: each search opens a socket per member.
const FINDERS: usize = 4;

impl Watcher {
    /// Asks who else sends what is expected from one container.
    pub(super) fn search_sender(&mut self, by: usize, now: Instant) {
        let Some(one) = self.watched.get_mut(by).filter(|one| one.expectation.from.is_some()) else { return };
        let busy = self.finders.len() >= FINDERS;
        if busy || one.searched.is_some_and(|last| now < last + SEARCHES) {
            return;
        }
        one.searched = Some(now);
        let network = one.network.clone();
        let members = self.members.iter().filter(|(_, (of, _))| Some(of) == network.as_ref());
        let members = members.map(|(index, (_, name))| (*index, name.as_str()));
        self.finders.push(Finder::start(&one.expectation, members, now));
    }

    /// Asks the same for what has been silent for longer.
    pub(super) fn search_senders(&mut self, now: Instant) {
        let silent =
            |one: &Watched| one.judge.verdict() == Verdict::Missed(Miss::Silent) && one.elsewhere.is_none();
        let silent: Vec<usize> = (0..self.watched.len()).filter(|by| silent(&self.watched[*by])).collect();
        for by in silent {
            self.search_sender(by, now);
        }
    }

    pub(super) fn find_senders(&mut self, now: Instant) {
        let watched = &mut self.watched;
        self.finders.retain_mut(|finder| {
            let Some(who) = finder.found() else { return now < finder.until };
            if let Some(one) = watched.iter_mut().find(|one| one.component == finder.component) {
                one.elsewhere = Some(who);
            }
            false
        });
    }
}
