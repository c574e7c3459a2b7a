//! Events on their way to those who listen: the last ones are kept, and no listener can hold anybody up.

use std::{collections::VecDeque, sync::Arc, time::SystemTime};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{self, error::RecvError};

use super::Event;
use crate::clock::rfc3339;

/// So many events are kept for those who come later, and so many may a listener be behind: about 100 KB.
pub const KEPT: usize = 256;

/// An event with its place in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Rises by one with each event since canhub started, from 1 on.
    pub seq: u64,
    /// When, as RFC 3339 has it, in UTC.
    pub time: String,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Told {
    /// An event.
    Event(Arc<Entry>),
    /// It read too slowly.
    Missed {
        /// So many events were dropped for it.
        missed: u64,
    },
}

/// Where events go in.
pub(super) struct Feed {
    kept: Mutex<Kept>,
    sender: broadcast::Sender<Arc<Entry>>,
}

#[derive(Default)]
struct Kept {
    last_seq: u64,
    entries: VecDeque<Arc<Entry>>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { kept: Mutex::default(), sender: broadcast::channel(KEPT).0 }
    }
}

impl Feed {
    pub(super) fn publish(&self, event: Event) {
        let mut kept = self.kept.lock();
        kept.last_seq += 1;
        let entry = Arc::new(Entry { seq: kept.last_seq, time: rfc3339(SystemTime::now()), event });
        if kept.entries.len() == KEPT {
            kept.entries.pop_front();
        }
        kept.entries.push_back(entry.clone());
        // It fails where nobody listens.
        let _ = self.sender.send(entry);
    }

    pub(super) fn listen(&self, last: usize) -> Reader {
        // Under the lock, so that nothing falls between what was and what comes.
        let kept = self.kept.lock();
        let skipped = kept.entries.len().saturating_sub(last);
        Reader {
            backlog: kept.entries.iter().skip(skipped).cloned().collect(),
            live: self.sender.subscribe(),
        }
    }
}

/// One listener.
pub struct Reader {
    backlog: VecDeque<Arc<Entry>>,
    live: broadcast::Receiver<Arc<Entry>>,
}

impl Reader {
    /// How many of what was are still to be read.
    pub fn backlog(&self) -> usize {
        self.backlog.len()
    }

    /// The next of what was, if any is left.
    pub fn next_of_backlog(&mut self) -> Option<Told> {
        self.backlog.pop_front().map(Told::Event)
    }

    /// Forgets all that came so far.
    pub fn skip(&mut self) {
        self.backlog.clear();
        self.live = self.live.resubscribe();
    }

    /// The next; waits until there is one. `None` when canhub ends.
    pub async fn next(&mut self) -> Option<Told> {
        if let Some(told) = self.next_of_backlog() {
            return Some(told);
        }
        match self.live.recv().await {
            Ok(entry) => Some(Told::Event(entry)),
            Err(RecvError::Lagged(missed)) => Some(Told::Missed { missed }),
            Err(RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Event, Kind},
        *,
    };

    fn seq(told: Option<Told>) -> u64 {
        match told {
            Some(Told::Event(entry)) => entry.seq,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_listener_hears_the_last_ones_and_then_what_comes_without_a_gap() {
        let feed = Feed::default();
        (0..KEPT + 10).for_each(|_| feed.publish(Event::new(Kind::Joined)));
        let mut reader = feed.listen(2);
        feed.publish(Event::new(Kind::Left));
        let last = KEPT as u64 + 10;
        for expected in [last - 1, last, last + 1] {
            assert_eq!(seq(reader.next().await), expected);
        }
        assert_eq!(feed.listen(usize::MAX).backlog(), KEPT, "no more than these are kept");
    }

    #[tokio::test]
    async fn who_skips_hears_only_what_comes_after() {
        let feed = Feed::default();
        (0..KEPT + 44).for_each(|_| feed.publish(Event::new(Kind::Joined)));
        let mut reader = feed.listen(3);
        (0..KEPT + 44).for_each(|_| feed.publish(Event::new(Kind::Joined)));
        reader.skip();
        feed.publish(Event::new(Kind::Left));
        assert_eq!(seq(reader.next().await), 2 * (KEPT as u64 + 44) + 1);
    }

    #[tokio::test]
    async fn a_slow_listener_is_told_how_many_it_missed() {
        let feed = Feed::default();
        let mut reader = feed.listen(0);
        (0..KEPT + 44).for_each(|_| feed.publish(Event::new(Kind::Joined)));
        assert_eq!(reader.next().await, Some(Told::Missed { missed: 44 }));
        assert_eq!(seq(reader.next().await), 45);
        drop(feed);
        for _ in 0..KEPT - 1 {
            reader.next().await.unwrap();
        }
        assert_eq!(reader.next().await, None);
    }
}
