//! The faults in effect, and what they impose on a member.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use socketcan::CanAnyFrame;

use super::{Effect, effect::RATE_MAX};
use crate::{
    names::{EndpointId, NetworkId, is_called},
    shape::Shapes,
};

/// More than anybody can keep track of; each may have a thread.
const FAULTS_MAX: usize = 100;

/// A fault that lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Unique within a boot.
    pub id: u64,
    /// Its network.
    pub network: NetworkId,
    /// The container: its name, or its endpoint's ID if it has none. `None`: all members. A container that is started again
    /// is still meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// The container's endpoint when it was last on the bus: it is meant as long as the name of its container is not known,
    /// after a restart of canhub until Docker's API answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointId>,
    /// What it does.
    pub effects: Vec<Effect>,
    /// When it began, since the boot.
    pub began: Duration,
    /// When it ends, since the boot; `None`: when it is cleared.
    pub ends: Option<Duration>,
    /// What it is for, in the words of who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

impl Fault {
    /// Whether it is about this endpoint of its network, which belongs to this container.
    pub fn is_about(&self, endpoint: &EndpointId, container: Option<&str>) -> bool {
        let is_remembered = container.is_none() && self.endpoint.as_ref() == Some(endpoint);
        self.member.as_deref().is_none_or(|member| is_remembered || is_called(member, endpoint, container))
    }

    /// Whether it can be why frames of this container, or of anybody, are missing on the bus. A container is meant by its
    /// name, or by the start of its endpoint's ID.
    pub fn explains(&self, container: Option<&str>) -> bool {
        let (Some(member), Some(word)) = (self.member.as_deref(), container) else { return true };
        member == word || self.endpoint.as_ref().is_some_and(|id| is_called(word, id, None))
    }

    /// What happens to whom, and until when (RFC 3339).
    pub fn sentence(&self, bus: &str, until: Option<&str>) -> String {
        let who = match &self.member {
            Some(member) => format!("{member} on bus {bus}"),
            None => format!("every member of bus {bus}"),
        };
        let what: Vec<String> = self.effects.iter().map(Effect::sentence).collect();
        let until = match until {
            Some(until) => format!("until {until}"),
            None => format!("until `canhub fault clear {}`", self.id),
        };
        let label = self.label.as_ref().map(|label| format!(" ({label})")).unwrap_or_default();
        format!("{who} {} on purpose {until}, by `canhub fault`{label}", what.join(" and "))
    }

    /// Whether its time is over.
    pub fn is_over(&self, now: Duration) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
    }

    /// What it sends while it lasts: as [`Effect::sends`].
    pub(crate) fn sends(&self) -> impl Iterator<Item = (CanAnyFrame, u32, bool)> {
        self.effects.iter().filter_map(Effect::sends)
    }

    /// How many frames per second are sent for it, if it is about so many containers on its bus. Each of them gets its own
    /// error frames; a flood without a member is the host's alone.
    fn rate(&self, members: u32) -> u32 {
        let by_host = self.member.is_none();
        let times = |as_sender: bool| if as_sender && by_host { 1 } else { members };
        self.sends().fold(0, |sum: u32, (_, rate, as_sender)| {
            sum.saturating_add(rate.saturating_mul(times(as_sender)))
        })
    }
}

/// What faults do to a member, as far as it is planned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imposed {
    /// No rule leads to it or from it.
    pub cut: bool,
    /// Its interface is down.
    pub down: bool,
    /// What happens to its frames.
    pub shapes: Shapes,
}

impl Imposed {
    /// What happens to the frames of a member with these shapes of its own.
    pub fn shapes_over(&self, own: Shapes) -> Shapes {
        match self.shapes.say_nothing() {
            true => own,
            // What its record would say is not known, and matters less than what was asked for now.
            false => Shapes { lost: false, ..self.shapes.or(&own) },
        }
    }
}

/// The faults in effect.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    all: Vec<Fault>,
    last_id: u64,
}

impl Faults {
    /// Those of a record.
    pub fn new(all: Vec<Fault>, last_id: u64) -> Self {
        Self { all, last_id }
    }

    /// All of them, the oldest first.
    pub fn all(&self) -> &[Fault] {
        &self.all
    }

    /// The last number that was given.
    pub fn last_id(&self) -> u64 {
        self.last_id
    }

    /// Adds a fault, which gets a number of its own. `members`: how many containers on its bus a fault is about.
    ///
    /// # Errors
    /// One sentence, if there are too many, or they would send too much.
    pub fn add(&mut self, fault: Fault, members: impl Fn(&Fault) -> usize) -> Result<Fault, String> {
        if self.all.len() >= FAULTS_MAX {
            return Err(format!(
                "there are {FAULTS_MAX} faults already: clear some, `canhub fault list` has them"
            ));
        }
        // One whose container is away counts as well: it may come back at any time.
        let rate = |fault: &Fault| fault.rate(u32::try_from(members(fault).max(1)).unwrap_or(u32::MAX));
        let sent = self.all.iter().map(rate).fold(0, u32::saturating_add);
        let more = rate(&fault);
        if sent.saturating_add(more) > RATE_MAX {
            return Err(format!(
                "all faults together may send {RATE_MAX} frames per second, {sent} are sent already, and this one would send {more}: use a lower rate"
            ));
        }
        self.last_id += 1;
        let fault = Fault { id: self.last_id, ..fault };
        self.all.push(fault.clone());
        Ok(fault)
    }

    /// Removes those for which `is_it` is true, and returns them.
    pub fn remove(&mut self, is_it: impl FnMut(&mut Fault) -> bool) -> Vec<Fault> {
        self.all.extract_if(.., is_it).collect()
    }

    /// A container of a network is called `name` from now on, after `before`; faults about it stay. Returns whether there are
    /// any. A fault about another endpoint that is still there (`is_there`) stays with that one, whose new name comes later in
    /// the same list from Docker.
    pub fn rename(
        &mut self,
        network: &NetworkId,
        endpoint: &EndpointId,
        before: Option<&str>,
        name: &str,
        is_there: impl Fn(&EndpointId) -> bool,
    ) -> bool {
        let is_of_another =
            |fault: &Fault| fault.endpoint.as_ref().is_some_and(|other| other != endpoint && is_there(other));
        let is_about = |fault: &Fault| {
            !is_of_another(fault)
                && (fault.is_about(endpoint, before) || fault.is_about(endpoint, Some(name)))
        };
        let mut any = false;
        for fault in self.all.iter_mut().filter(|fault| fault.network == *network && is_about(fault)) {
            if fault.member.is_some() {
                fault.member = Some(name.to_owned());
                fault.endpoint = Some(endpoint.clone());
                any = true;
            }
        }
        any
    }

    /// What all faults together do to a member.
    pub fn imposed_on(&self, network: &NetworkId, endpoint: &EndpointId, container: Option<&str>) -> Imposed {
        let of_it =
            self.all.iter().filter(|fault| fault.network == *network && fault.is_about(endpoint, container));
        of_it.flat_map(|fault| &fault.effects).fold(Imposed::default(), |imposed, effect| match effect {
            Effect::Cut | Effect::BusOff => Imposed { cut: true, ..imposed },
            // Frames to an interface that is down would be counted as lost.
            Effect::Down => Imposed { cut: true, down: true, ..imposed },
            // The latest fault that says something wins.
            Effect::Shape { key, value } => {
                let mut shapes = imposed.shapes;
                // Parsed when it was asked for, so it can be set.
                let _ = shapes.set(key, value);
                Imposed { shapes, ..imposed }
            }
            Effect::Error { .. } | Effect::Flood { .. } => imposed,
        })
    }

    /// When the next one ends, since the boot.
    pub fn next_end(&self) -> Option<Duration> {
        self.all.iter().filter_map(|fault| fault.ends).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(member: Option<&str>, effects: &[&str]) -> Fault {
        Fault {
            id: 0,
            network: "a1".repeat(32).try_into().unwrap(),
            member: member.map(str::to_owned),
            endpoint: None,
            effects: effects.iter().map(|text| text.parse().unwrap()).collect(),
            began: Duration::ZERO,
            ends: Some(Duration::from_secs(5)),
            label: None,
        }
    }

    #[test]
    fn faults_of_one_member_add_up_and_those_of_others_do_not_count() {
        let mut faults = Faults::default();
        let network = "a1".repeat(32).try_into().unwrap();
        let endpoint = "e1".repeat(32).try_into().unwrap();
        let on = |faults: &Faults| faults.imposed_on(&network, &endpoint, Some("door"));
        faults.add(fault(Some("lock"), &["down"]), |_| 1).unwrap();
        faults.add(fault(Some("door"), &["flood=7DF@10"]), |_| 1).unwrap();
        assert_eq!(on(&faults), Imposed::default());
        faults.add(fault(Some("door"), &["bus-off"]), |_| 1).unwrap();
        assert_eq!(on(&faults), Imposed { cut: true, ..Imposed::default() });
        faults.add(fault(Some(&"e1".repeat(6)), &["down"]), |_| 1).unwrap();
        assert_eq!(on(&faults), Imposed { cut: true, down: true, ..Imposed::default() });
        faults.remove(|fault| fault.member.as_deref() != Some("lock"));
        assert_eq!(on(&faults), Imposed::default());
        faults.add(fault(None, &["cut"]), |_| 1).unwrap();
        assert!(on(&faults).cut, "a fault without a member is about all");
        let elsewhere = "b2".repeat(32).try_into().unwrap();
        assert_eq!(faults.imposed_on(&elsewhere, &endpoint, Some("door")), Imposed::default());
    }

    #[test]
    fn a_fault_explains_missing_frames_of_its_member_by_name_or_id_and_of_anybody_on_its_bus() {
        let id = "e1".repeat(32);
        let door = Fault { endpoint: Some(id.clone().try_into().unwrap()), ..fault(Some("door"), &["cut"]) };
        // Where names are not known, the whole ID is in the place of the name.
        let nameless = Fault { member: Some(id.clone()), ..door.clone() };
        for (fault, word, is_why) in [
            (&door, Some("door"), true),
            (&door, None, true),
            (&door, Some(&id[..12]), true),
            (&nameless, Some(&id[..12]), true),
            (&nameless, Some(&id), true),
            (&nameless, Some(&id[..11]), false),
            (&nameless, Some("e1e1e1e1e1e2"), false),
            (&door, Some("doo"), false),
            (&door, Some("lock"), false),
            (&fault(None, &["cut"]), Some("lock"), true),
        ] {
            assert_eq!(fault.explains(word), is_why, "{word:?} {fault:?}");
        }
    }

    #[test]
    fn a_fault_follows_its_container_to_another_name_and_is_about_it_while_its_name_is_not_known() {
        let mut faults = Faults::default();
        let network = "a1".repeat(32).try_into().unwrap();
        let [door, lock]: [EndpointId; 2] = ["e1", "e2"].map(|id| id.repeat(32).try_into().unwrap());
        let all: Vec<Fault> =
            [Some("door"), None].map(|member| faults.add(fault(member, &["cut"]), |_| 1).unwrap()).into();
        assert!(!faults.rename(&network, &lock, None, "lock", |_| true), "nothing is done to it alone");
        assert!(faults.rename(&network, &door, None, "door", |_| true));
        assert!(!faults.rename(&"b2".repeat(32).try_into().unwrap(), &door, Some("door"), "gate", |_| true));
        let about = |faults: &Faults, endpoint, container| faults.all()[0].is_about(endpoint, container);
        assert!(about(&faults, &door, None) && about(&faults, &lock, Some("door")));
        assert!(!about(&faults, &lock, None) && !about(&faults, &door, Some("gate")));
        assert!(faults.rename(&network, &door, Some("door"), "gate", |_| true));
        assert!(about(&faults, &door, Some("gate")) && !about(&faults, &lock, Some("door")));
        assert_eq!(faults.all()[1], all[1], "a fault without a member is about all");
    }

    #[test]
    fn faults_stay_with_their_containers_when_these_swap_or_pass_on_their_names() {
        let network = "a1".repeat(32).try_into().unwrap();
        let [door, lock, gate]: [EndpointId; 3] =
            ["e1", "e2", "e3"].map(|id| id.repeat(32).try_into().unwrap());
        let on = |name: &str, endpoint: &EndpointId| Fault {
            endpoint: Some(endpoint.clone()),
            ..fault(Some(name), &["cut"])
        };
        // Unknown names: they were given while canhub was away.
        for known in [true, false] {
            let before = |name| known.then_some(name);
            let mut faults = Faults::default();
            faults.add(on("door", &door), |_| 1).unwrap();
            faults.add(on("lock", &lock), |_| 1).unwrap();
            assert!(faults.rename(&network, &door, before("door"), "lock", |_| true));
            assert!(faults.rename(&network, &lock, before("lock"), "door", |_| true));
            let now: Vec<_> =
                faults.all().iter().map(|fault| (fault.member.as_deref(), &fault.endpoint)).collect();
            let wanted = [(Some("lock"), &Some(door.clone())), (Some("door"), &Some(lock.clone()))];
            assert_eq!(now, wanted, "swapped, known: {known}");

            let mut faults = Faults::default();
            faults.add(on("door", &door), |_| 1).unwrap();
            assert!(!faults.rename(&network, &gate, before("gate"), "door", |_| true));
            assert!(faults.rename(&network, &door, before("door"), "old", |_| true));
            assert_eq!(faults.all()[0].member.as_deref(), Some("old"), "passed on, known: {known}");
        }
        // Started again, it has another endpoint.
        let mut faults = Faults::default();
        faults.add(on("door", &door), |_| 1).unwrap();
        assert!(faults.rename(&network, &gate, None, "door", |id| *id != door));
        assert_eq!(faults.all()[0].endpoint.as_ref(), Some(&gate));
    }

    #[test]
    fn a_fault_is_over_when_its_end_is_reached_and_the_next_end_is_the_earliest() {
        let second = Duration::from_secs;
        let ends = |ends: Option<u64>| Fault { ends: ends.map(second), ..fault(None, &["cut"]) };
        let moment = Duration::from_nanos(1);
        for (fault, now, is_over) in [
            (ends(Some(5)), second(5) - moment, false),
            (ends(Some(5)), second(5), true),
            (ends(Some(5)), second(5) + moment, true),
            (ends(None), Duration::MAX, false),
        ] {
            assert_eq!(fault.is_over(now), is_over, "{now:?}");
        }
        let next = |all: &[Option<u64>]| Faults::new(all.iter().map(|at| ends(*at)).collect(), 0).next_end();
        assert_eq!(next(&[Some(7), None, Some(5), Some(6)]), Some(second(5)));
        assert_eq!((next(&[None]), next(&[])), (None, None));
    }

    #[test]
    fn the_latest_fault_that_gives_a_shape_wins_value_by_value() {
        let faults = [&["loss=1%", "delay=5ms"][..], &["loss=2%"], &["rx-loss=3%"]];
        let faults = Faults::new(faults.map(|effects| fault(None, effects)).into(), 3);
        let (network, endpoint) = ("a1".repeat(32).try_into().unwrap(), "e1".repeat(32).try_into().unwrap());
        let imposed = faults.imposed_on(&network, &endpoint, None);
        assert_eq!(imposed.shapes.words().as_deref(), Some("delay=5ms loss=2% rx-loss=3%"));
    }

    #[test]
    fn the_shapes_of_a_fault_count_although_the_members_own_are_lost() {
        let lost = Shapes { lost: true, ..Shapes::default() };
        let mut imposed = Imposed::default();
        assert_eq!(imposed.shapes_over(lost), lost, "nothing was asked for");
        imposed.shapes.set("loss", "1%").unwrap();
        assert_eq!(imposed.shapes_over(lost), imposed.shapes);
    }

    #[test]
    fn there_are_limits_for_all_faults_together() {
        let mut faults = Faults::default();
        faults.add(fault(None, &["flood=7DF@20000"]), |_| 1).unwrap();
        assert!(faults.add(fault(None, &["flood=7DF@1"]), |_| 1).is_err());
        faults.remove(|_| true);
        faults.add(fault(None, &["flood=7DF@15000"]), |_| 1).unwrap();
        let why = faults.add(fault(None, &["flood=7DE@5001"]), |_| 1).unwrap_err();
        assert!(why.contains("15000 are sent already"), "{why}");
        // Each member gets the error frames, and the host alone sends a flood about all.
        let mut among = Faults::default();
        let why = among.add(fault(None, &["error=ack@10001"]), |_| 2).unwrap_err();
        assert!(why.contains("this one would send 20002"), "{why}");
        among.add(fault(None, &["error=ack@10000"]), |_| 2).unwrap();
        among.remove(|_| true);
        among.add(fault(None, &["flood=7DF@20000"]), |_| 2).unwrap();
        among.remove(|_| true);
        among.add(fault(None, &["error=ack@20000"]), |_| 0).unwrap();
        assert!(among.add(fault(None, &["error=ack@1"]), |_| 0).is_err(), "a container may come");
        let ids: Vec<u64> =
            (1..FAULTS_MAX).map(|_| faults.add(fault(None, &["cut"]), |_| 1).unwrap().id).collect();
        assert_eq!(ids.last(), Some(&(FAULTS_MAX as u64 + 1)), "no number is given twice");
        assert!(faults.add(fault(None, &["cut"]), |_| 1).unwrap_err().contains("canhub fault list"));
    }
}
