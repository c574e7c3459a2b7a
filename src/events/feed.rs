//! Delivers events to listeners. The most recent ones are kept, and no listener can block anything.

use std::{collections::VecDeque, sync::Arc, time::SystemTime};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{self, error::RecvError};

use super::Event;
use crate::clock::rfc3339;

/// Number of events that are kept for later listeners, and by which a listener may lag behind: about 100 KB.
pub const KEPT: usize = 256;

/// An event with its sequence number and time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Sequence number since canhub started, from 1.
    pub seq: u64,
    /// RFC 3339, UTC.
    pub time: String,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

/// What a listener receives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FeedItem {
    /// An event.
    Event(Arc<Entry>),
    /// The listener was too slow.
    Missed {
        /// Number of events that it missed.
        missed: u64,
    },
}

/// The publishing side.
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
        // Fails if there are no listeners.
        let _ = self.sender.send(entry);
    }

    pub(super) fn listen(&self, last: usize) -> Reader {
        // Under the lock, so that no event is lost between the backlog and the live ones.
        let kept = self.kept.lock();
        let skipped = kept.entries.len().saturating_sub(last);
        Reader {
            backlog: kept.entries.iter().skip(skipped).cloned().collect(),
            live: self.sender.subscribe(),
        }
    }
}

/// A listener.
pub struct Reader {
    backlog: VecDeque<Arc<Entry>>,
    live: broadcast::Receiver<Arc<Entry>>,
}

impl Reader {
    /// Number of kept events that are still to be read.
    pub fn backlog(&self) -> usize {
        self.backlog.len()
    }

    /// The next kept event, if any is left.
    pub fn next_of_backlog(&mut self) -> Option<FeedItem> {
        self.backlog.pop_front().map(FeedItem::Event)
    }

    /// Skips everything received so far.
    pub fn skip(&mut self) {
        self.backlog.clear();
        self.live = self.live.resubscribe();
    }

    /// Waits for the next event. `None` when canhub stops.
    pub async fn next(&mut self) -> Option<FeedItem> {
        if let Some(told) = self.next_of_backlog() {
            return Some(told);
        }
        match self.live.recv().await {
            Ok(entry) => Some(FeedItem::Event(entry)),
            Err(RecvError::Lagged(missed)) => Some(FeedItem::Missed { missed }),
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

    fn seq(told: Option<FeedItem>) -> u64 {
        match told {
            Some(FeedItem::Event(entry)) => entry.seq,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_listener_gets_kept_and_new_events_without_a_gap() {
        let feed = Feed::default();
        (0..KEPT + 10).for_each(|_| feed.publish(Event::new(Kind::Joined)));
        let mut reader = feed.listen(2);
        feed.publish(Event::new(Kind::Left));
        let last = KEPT as u64 + 10;
        for expected in [last - 1, last, last + 1] {
            assert_eq!(seq(reader.next().await), expected);
        }
        assert_eq!(feed.listen(usize::MAX).backlog(), KEPT, "no more than KEPT events are kept");
    }

    #[tokio::test]
    async fn after_a_skip_only_new_events_are_delivered() {
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
        assert_eq!(reader.next().await, Some(FeedItem::Missed { missed: 44 }));
        assert_eq!(seq(reader.next().await), 45);
        drop(feed);
        for _ in 0..KEPT - 1 {
            reader.next().await.unwrap();
        }
        assert_eq!(reader.next().await, None);
    }
}
