//! When faults really ended, as canhub tells it.

use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc, thread, time::Duration};

use parking_lot::Mutex;

use crate::{
    cli::{ask::AdminSocket, events::EventParser},
    events::{FeedItem, KEPT, Kind},
};

/// Until it listens again, for example while canhub restarts.
const AGAIN: Duration = Duration::from_millis(200);

/// The time of each end, by the number of the fault.
#[derive(Debug, Clone, Default)]
pub(super) struct Ends(Arc<Mutex<BTreeMap<u64, String>>>);

impl Ends {
    /// Listens until the process ends.
    pub(super) fn listen(socket: AdminSocket) -> Self {
        let ends = Self::default();
        let told = ends.clone();
        thread::spawn(move || {
            loop {
                let mut text = EventParser::default();
                let each = |piece: &[u8]| {
                    text.take(piece).iter().for_each(|event| told.note(event));
                    ControlFlow::Continue(())
                };
                // Those that are kept too: nothing is missed between two connections.
                let _ = socket.follow(&format!("/v1/events?last={KEPT}&follow=true"), each);
                thread::sleep(AGAIN);
            }
        });
        ends
    }

    /// When it ended (RFC 3339); `None`: not yet.
    pub(super) fn of(&self, fault: u64) -> Option<String> {
        self.0.lock().get(&fault).cloned()
    }

    fn note(&self, json: &str) {
        if let Ok(FeedItem::Event(entry)) = serde_json::from_str(json)
            && entry.event.kind == Kind::FaultEnded
            && let Some(fault) = entry.event.fault
        {
            self.0.lock().insert(fault, entry.time.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_fault_is_its_end() {
        let ends = Ends::default();
        for event in [
            r#"{"seq":1,"time":"2026-11-28T14:05:00.250Z","event":"fault-began","fault":7}"#,
            r#"{"seq":2,"time":"2026-11-28T14:05:01.250Z","event":"healed"}"#,
            r#"{"missed":3}"#,
            "of another version",
        ] {
            ends.note(event);
        }
        assert_eq!(ends.of(7), None);
        ends.note(r#"{"seq":6,"time":"2026-11-28T14:05:02.250Z","event":"fault-ended","fault":7}"#);
        assert_eq!((ends.of(7).as_deref(), ends.of(8)), (Some("2026-11-28T14:05:02.250Z"), None));
    }
}
