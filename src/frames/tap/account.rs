//! How many frames of a bus were lost, when the kernel only tells how many messages its socket has lost.
//!
//! A frame of a member is two messages: one from its host end, and the echo on the hub. A frame of the host, or of the
//! wire, is one. Messages of other buses count too. What is known besides is how many echoes are missing: if `m` messages
//! of members were lost, `e` echoes and `s` other messages, then `m + e + s` messages were lost, and `e - m` echoes are
//! missing. So `m + s` frames were lost: exactly half of the difference if nobody but members was heard, else between
//! that and all of it.
//!
//! Echoes can be missing without a loss of ours, too: an adapter that is overloaded or off drops frames, and without rules
//! nothing is forwarded. Then `e - m` is smaller than it seems. The lower bound still holds, and the upper one is all
//! messages. If other buses were heard, all lost messages may be theirs.

/// How many frames of a bus were lost on their way to the tap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    /// No fewer.
    pub at_least: u64,
    /// No more.
    pub at_most: u64,
}

/// What is known of the losses of a tap.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Lost messages.
    messages: u64,
    /// Whether frames of the bus were heard that no member sent.
    others: bool,
    /// Whether frames of other buses were heard.
    foreign: bool,
    /// Whether the hub is an adapter, or was: it may drop frames.
    has_adapter: bool,
}

impl Account {
    pub(super) fn lose(&mut self, messages: u64) {
        self.messages += messages;
    }

    pub(super) fn hear_others(&mut self) {
        self.others = true;
    }

    pub(super) fn hear_foreign(&mut self) {
        self.foreign = true;
    }

    pub(super) fn note_adapter(&mut self) {
        self.has_adapter = true;
    }

    /// `missing`: frames of members that were heard and must have an echo, minus the echoes that were heard.
    pub(super) fn lost(&self, missing: i64) -> Lost {
        let messages = i64::try_from(self.messages).unwrap_or(i64::MAX);
        let in_doubt = messages.saturating_sub(missing).max(0);
        let half = in_doubt.unsigned_abs().div_ceil(2);
        // Of another bus all messages may be, but those whose echo was heard.
        let at_least = if self.foreign { missing.min(0).unsigned_abs() } else { half };
        let at_most = match () {
            () if self.has_adapter || missing > messages => self.messages,
            () if self.others || self.foreign => in_doubt.min(messages).unsigned_abs(),
            () => half,
        };
        match self.messages {
            0 => Lost::default(),
            _ => Lost { at_least: at_least.min(at_most), at_most },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(messages: u64, others: bool, missing: i64) -> (u64, u64) {
        let Lost { at_least, at_most } = Account { messages, others, ..Account::default() }.lost(missing);
        (at_least, at_most)
    }

    #[test]
    fn the_loss_is_exact_if_only_members_were_heard() {
        // Ten frames: both messages of each; of nine both and of one the echo only; of one the member's only.
        assert_eq!(lost(20, false, 0), (10, 10));
        assert_eq!(lost(19, false, 1), (9, 9));
        assert_eq!(lost(19, false, -1), (10, 10));
    }

    #[test]
    fn the_loss_is_between_half_and_all_if_others_were_heard() {
        assert_eq!(lost(20, true, 0), (10, 20));
        assert_eq!(lost(1, true, 1), (0, 0), "only an echo");
        assert_eq!(lost(1, true, -1), (1, 1), "its echo was heard");
    }

    #[test]
    fn echoes_that_somebody_else_lost_do_not_hide_a_loss() {
        assert_eq!(lost(20, false, 5000), (0, 20), "more than we can have lost");
        let account = Account { messages: 20, others: true, has_adapter: true, ..Account::default() };
        assert_eq!(account.lost(20), Lost { at_least: 0, at_most: 20 });
        assert_eq!(account.lost(-20), Lost { at_least: 20, at_most: 20 });
    }

    #[test]
    fn lost_messages_may_all_be_of_another_bus() {
        let account = Account { messages: 20, foreign: true, ..Account::default() };
        assert_eq!(account.lost(0), Lost { at_least: 0, at_most: 20 });
        assert_eq!(account.lost(-3), Lost { at_least: 3, at_most: 20 });
    }

    #[test]
    fn without_lost_messages_echoes_that_are_under_way_mean_nothing() {
        assert_eq!(lost(0, false, -3), (0, 0));
        assert_eq!(lost(0, true, 3), (0, 0));
    }
}
