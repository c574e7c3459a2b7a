//! Which frames of a member reach its bus: a container can send any frame, and with `allow-tx` the rules of its host end, which
//! everybody can read, pass only some.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use socketcan::Frame as _;

use crate::{
    frames::CanAnyFrame,
    kernel::{Filter, Kernel as _, Linux},
};

/// How often the rules are read while links change: those of a new pair come some milliseconds after it.
const READ_SOON: Duration = Duration::from_millis(100);
/// How long that goes on.
const SETTLED: Duration = Duration::from_secs(2);
/// How often they are read else.
const READ_LATER: Duration = Duration::from_secs(5);

/// The rules' filters by the interface that frames come from.
#[derive(Debug, Default)]
pub(super) struct Allowed {
    filters: HashMap<u32, Vec<Filter>>,
    read: Option<Instant>,
    changed: Option<Instant>,
}

impl Allowed {
    /// Takes note that links changed.
    pub(super) fn links_changed(&mut self, now: Instant) {
        self.changed = Some(now);
    }

    /// Whether a rule passes the frame on. `exists`: whether an interface exists; the rules of one that was removed are
    /// remembered, because its last frames may still be queued.
    pub(super) fn passes(
        &mut self,
        interface: u32,
        frame: &CanAnyFrame,
        now: Instant,
        exists: impl Fn(u32) -> bool,
    ) -> bool {
        if self.is_old(now) {
            self.read = Some(now);
            // If they cannot be read, nothing is known to have passed but what did before.
            if let Ok(rules) = Linux::default().rules() {
                self.filters.retain(|interface, _| !exists(*interface));
                for status in rules.into_iter().filter(|status| !status.modifies) {
                    self.filters.entry(status.rule.source).or_default().push(status.rule.filter);
                }
            }
        }
        self.filters
            .get(&interface)
            .is_some_and(|filters| filters.iter().any(|filter| filter.passes(frame.id_word())))
    }

    fn is_old(&self, now: Instant) -> bool {
        let since = |then: Instant| now.saturating_duration_since(then);
        let Some(read) = self.read else { return true };
        let is_settling = self.changed.is_some_and(|changed| since(changed) < SETTLED);
        self.changed.is_some_and(|changed| read < changed)
            || since(read) >= if is_settling { READ_SOON } else { READ_LATER }
    }
}

#[cfg(test)]
mod tests {
    use socketcan::{
        CanDataFrame, CanErrorFrame, CanRemoteFrame, EmbeddedFrame as _, ExtendedId, StandardId,
        id::CAN_EFF_FLAG as EXTENDED,
    };

    use super::*;

    #[test]
    fn rules_pass_ids_of_one_width_and_error_frames_by_their_own() {
        let (standard, extended) = (StandardId::new(0x123).unwrap(), ExtendedId::new(0x123).unwrap());
        let frames: [CanAnyFrame; 4] = [
            CanDataFrame::new(standard, &[1]).unwrap().into(),
            CanRemoteFrame::new_remote(standard, 1).unwrap().into(),
            CanDataFrame::new(extended, &[1]).unwrap().into(),
            CanErrorFrame::new_error(0x20, &[]).unwrap().into(),
        ];
        for (filter, passed) in [
            (Filter::default(), [true, true, true, false]),
            (Filter { id: 0x123, mask: EXTENDED | 0x7ff }, [true, true, false, false]),
            (Filter { id: EXTENDED | 0x123, mask: EXTENDED | 0x1fff_ffff }, [false, false, true, false]),
            (Filter { id: 0x124, mask: EXTENDED | 0x7ff }, [false; 4]),
            (Filter::ERRORS, [false, false, false, true]),
        ] {
            assert_eq!(frames.each_ref().map(|frame| filter.passes(frame.id_word())), passed, "{filter:?}");
        }
    }
}
