//! Finds out who sends a frame, if not the expected container: listens at the other members for a moment.

use std::{
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use super::{Expectation, listener::ids};
use crate::kernel::{BcmNews, BcmSocket};

/// How long to listen, at least.
const MOMENT: Duration = Duration::from_millis(500);
/// And at most.
const MOMENT_MAX: Duration = Duration::from_secs(10);

/// Listens for one expectation at all members of its bus.
pub(super) struct Finder {
    /// The name of its component.
    pub(super) component: String,
    /// When to give up.
    pub(super) until: Instant,
    members: Vec<(String, BcmSocket)>,
}

impl Finder {
    /// Listens at these interfaces. Those that cannot be opened are left out.
    pub(super) fn start<'a>(
        expectation: &Expectation,
        members: impl Iterator<Item = (u32, &'a str)>,
        now: Instant,
    ) -> Self {
        let others = members.filter(|(_, name)| expectation.from.as_deref() != Some(name));
        let open = |(index, name): (u32, &str)| {
            let socket = BcmSocket::open(index).ok()?;
            ids(expectation, true).try_for_each(|id| socket.listen(id, None)).ok()?;
            Some((name.to_owned(), socket))
        };
        let until = now + (expectation.every * 3).clamp(MOMENT, MOMENT_MAX);
        Self { component: expectation.component(), until, members: others.filter_map(open).collect() }
    }

    /// Readable when somebody may have been heard.
    pub(super) fn files(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.members.iter().map(|(_, socket)| socket.as_fd())
    }

    /// Who was heard.
    pub(super) fn found(&mut self) -> Option<String> {
        let mut found = None;
        self.members.retain(|(name, socket)| match socket.news() {
            Ok(Some(BcmNews::Heard(_))) => {
                found = Some(name.clone());
                true
            }
            Ok(_) => true,
            // Its interface is gone.
            Err(_) => false,
        });
        found
    }
}
