//! One expectation while it is watched: its judge, where the kernel listens, and what was told last.

use std::time::{Duration, Instant, SystemTime};

use super::{Expectation, Judge, Miss, State, Verdict, expectation::Cycle};
use crate::{clock::rfc3339, manager::Place, names::NetworkId, status::ExpectationState};

/// A missing hub is healed within this time; until then, that nobody can listen is no news.
const DEAF_GRACE: Duration = Duration::from_secs(2);

/// A watched expectation.
pub(super) struct Watched {
    pub(super) expectation: Expectation,
    pub(super) component: String,
    pub(super) judge: Judge,
    pub(super) network: Option<NetworkId>,
    pub(super) place: Option<Place>,
    /// The interface and class of its listener.
    pub(super) key: Option<(u32, u32)>,
    /// Since when nobody can listen.
    deaf: Option<Instant>,
    /// Why the kernel does not listen.
    pub(super) refused: Option<String>,
    /// Who sends it instead of the expected container.
    pub(super) elsewhere: Option<String>,
    /// When it was last asked who does.
    pub(super) searched: Option<Instant>,
    told: Option<Told>,
}

/// What was told, without its words: these cost more to make than everything else, and are rarely new.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Told {
    verdict: Verdict,
    has_bus: bool,
    left: bool,
    deaf: bool,
    refused: bool,
    elsewhere: bool,
}

impl Watched {
    pub(super) fn new(expectation: Expectation) -> Self {
        Self {
            component: expectation.component(),
            judge: Judge::new(expectation.every, expectation.within),
            expectation,
            network: None,
            place: None,
            key: None,
            deaf: None,
            refused: None,
            elsewhere: None,
            searched: None,
            told: None,
        }
    }

    /// It is to be heard there from now on, or nowhere.
    pub(super) fn moves(&mut self, network: Option<NetworkId>, place: Place, now: Instant) {
        self.network = network;
        if self.place.as_ref() == Some(&place) {
            return;
        }
        match &place {
            // The listener starts the judge.
            Place::At { .. } => self.deaf = None,
            Place::Left => {
                self.judge.left(now);
                self.deaf = None;
            }
            Place::Deaf(_) => {
                self.judge.stop();
                self.deaf = Some(now);
            }
            Place::NoBus(_) => {
                self.judge = Judge::new(self.expectation.every, self.expectation.within);
                (self.deaf, self.elsewhere) = (None, None);
            }
        }
        if !matches!(place, Place::At { .. }) {
            self.key = None;
            self.refused = None;
        }
        self.place = Some(place);
    }

    /// The kernel does not listen any more: the interface is gone.
    pub(super) fn loses_ear(&mut self, now: Instant) {
        self.key = None;
        match self.expectation.from {
            Some(_) => self.judge.left(now),
            None => {
                self.judge.stop();
                self.deaf = self.deaf.or(Some(now));
            }
        }
        self.place = None;
    }

    /// The kernel listens.
    pub(super) fn gets_ear(&mut self, key: (u32, u32), now: Instant) {
        (self.key, self.deaf, self.refused) = (Some(key), None, None);
        self.judge.listens(now);
    }

    /// When something may have to be told.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let told = self.told.is_some_and(|told| told.deaf);
        let deaf = self.deaf.filter(|_| !told).map(|since| since + DEAF_GRACE);
        [self.judge.deadline(), deaf].into_iter().flatten().min()
    }

    /// Whether there is something to tell. True once for each change.
    pub(super) fn has_news(&mut self, now: Instant) -> bool {
        let news = Told {
            verdict: self.judge.verdict(),
            has_bus: !matches!(self.place, Some(Place::NoBus(_))),
            left: self.place == Some(Place::Left),
            deaf: self.is_deaf(now),
            refused: self.refused.is_some(),
            elsewhere: self.elsewhere.is_some(),
        };
        self.told.replace(news) != Some(news)
    }

    fn is_deaf(&self, now: Instant) -> bool {
        self.deaf.is_some_and(|since| since + DEAF_GRACE <= now)
    }

    /// What is known now, which is this time of day.
    pub(super) fn state(&self, now: Instant, today: SystemTime) -> State {
        let last = self.judge.last();
        let last_seen = last.and_then(|last| today.checked_sub(now.saturating_duration_since(last)));
        let (state, reason) = self.verdict(last_seen, now);
        State { state, reason, network: self.network.clone(), last_seen, cycle: self.judge.cycle() }
    }

    fn verdict(&self, last_seen: Option<SystemTime>, now: Instant) -> (ExpectationState, String) {
        let Expectation { bus, id, from, every, within } = &self.expectation;
        let from_whom = from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
        let on = format!("{id} on {bus}{from_whom}");
        let wanted = format!("expected every {} within {within}%", Cycle(*every));
        if let Some(Place::NoBus(why)) = &self.place {
            return (ExpectationState::NoBus, why.clone());
        }
        if let Some(why) = &self.refused {
            return (ExpectationState::Unknown, format!("nobody can listen for {on}: {why}"));
        }
        if self.is_deaf(now) {
            let why = match &self.place {
                Some(Place::Deaf(why)) => why,
                _ => "the interface is missing",
            };
            return (ExpectationState::Down, format!("{on} cannot be heard: {why}"));
        }
        let real = match self.judge.cycle() {
            Some(cycle) => format!("comes every {:.1} ms", cycle.as_secs_f64() * 1e3),
            None => "comes".to_owned(),
        };
        match self.judge.verdict() {
            Verdict::Unknown => (ExpectationState::Unknown, format!("{on} has not come yet, {wanted}")),
            Verdict::Met => (ExpectationState::Up, format!("{on} {real}, {wanted}")),
            Verdict::Missed(Miss::Silent) => {
                let since = match last_seen {
                    Some(last) => format!("does not come any more, last seen at {}", rfc3339(last)),
                    None => "does not come".to_owned(),
                };
                let who = match (&self.elsewhere, &self.place, from) {
                    (Some(who), ..) => format!("; {who} sends it now"),
                    (None, Some(Place::Left), Some(from)) => format!("; {from} is not on the bus"),
                    _ => String::new(),
                };
                (ExpectationState::Down, format!("{on} {since}, {wanted}{who}"))
            }
            Verdict::Missed(Miss::Slow) => {
                (ExpectationState::Down, format!("{on} comes too seldom or not regularly, {wanted}"))
            }
            Verdict::Missed(Miss::Fast) => {
                (ExpectationState::Down, format!("{on} comes too often, {wanted}"))
            }
        }
    }
}
