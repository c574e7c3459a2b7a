//! The loop against the kernel in memory, through the same manager that Docker uses.

use std::{path::Path, sync::Arc};

use super::*;
use crate::{
    checks::Files,
    events::{Event, FeedItem, KEPT, Kind},
    kernel::{Kernel, LinkChange, LinkKind, fake::FakeKernel},
    names::{EndpointId, NetworkId},
    options::RawOptions,
    state::Store,
};

mod adapters;
mod dead;
mod partial;
mod pauses;
mod running;
mod shares;

struct Rig {
    kernel: Arc<FakeKernel>,
    manager: Arc<Manager>,
    memory: Arc<Memory>,
    dir: Arc<tempfile::TempDir>,
}

fn network() -> NetworkId {
    "a1".repeat(32).try_into().unwrap()
}

fn endpoint(number: u8) -> EndpointId {
    format!("{number:02x}").repeat(32).try_into().unwrap()
}

/// canhub on this host, with this folder for its records and for the machine's files.
fn manager(kernel: &Arc<FakeKernel>, dir: &Path) -> Manager {
    Manager::new(kernel.clone(), Store::new(dir, "boot"), Files::under(dir), true)
}

impl Rig {
    /// A network with two joined endpoints.
    fn new(options: &[(&str, &str)]) -> Self {
        let kernel = Arc::new(FakeKernel::new());
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let manager = manager(&kernel, dir.path());
        let raw: RawOptions = options.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        manager.create_network(network(), raw).unwrap();
        let rig = Self { kernel, manager: Arc::new(manager), memory: Arc::default(), dir };
        rig.start(1);
        rig.start(2);
        rig
    }

    fn start(&self, number: u8) {
        let sandbox = format!("/run/netns/{number}");
        self.kernel.add_sandbox(&sandbox);
        self.manager.create_endpoint(network(), endpoint(number), &RawOptions::new()).unwrap();
        self.manager.join(network(), endpoint(number), sandbox.into()).unwrap();
    }

    /// Another canhub on the same host and folder.
    fn restarted(&self) -> Self {
        let manager = manager(&self.kernel, self.dir.path());
        let dir = self.dir.clone();
        Self { kernel: self.kernel.clone(), manager: Arc::new(manager), memory: Arc::default(), dir }
    }

    fn look(&self) -> LookResult {
        self.manager.reconcile(&self.memory).unwrap()
    }

    /// Advances the clock until something is healed. Returns how long that took.
    fn time_to_heal(&self) -> Duration {
        let second = Duration::from_secs(1);
        for waited in 0..200 {
            match self.look() {
                LookResult { healed: 0, failed: 0, pending: true } => *self.memory.ahead.lock() += second,
                LookResult { failed: 0, .. } => return waited * second,
                outcome => panic!("after {waited} s: {outcome:?}"),
            }
        }
        panic!("it is never healed");
    }

    fn hub(&self) -> u32 {
        let links = self.kernel.links().unwrap();
        links.iter().find(|link| link.name == network().hub_name().as_str()).unwrap().index
    }

    fn host_end(&self, number: u8) -> Option<u32> {
        self.link(endpoint(number).host_end().as_str())
    }

    fn link(&self, name: &str) -> Option<u32> {
        self.kernel.links().unwrap().into_iter().find(|link| link.name == name).map(|link| link.index)
    }

    /// All events so far.
    fn told(&self) -> Vec<Event> {
        let mut reader = self.manager.events().listen(KEPT);
        std::iter::from_fn(|| reader.next_of_backlog())
            .map(|told| match told {
                FeedItem::Event(entry) => entry.event.clone(),
                FeedItem::Missed { .. } => unreachable!("nothing is missed in the backlog"),
            })
            .collect()
    }

    /// Advances the clock.
    fn later(&self, seconds: u64) {
        *self.memory.ahead.lock() += Duration::from_secs(seconds);
    }

    fn take_down(&self, number: u8) {
        let down = LinkChange { up: Some(false), ..LinkChange::default() };
        self.kernel.change_link(None, self.host_end(number).unwrap(), &down).unwrap();
    }
}

#[test]
fn after_joins_there_is_nothing_to_heal() {
    assert_eq!(Rig::new(&[]).look(), LookResult::default());
}

#[test]
fn a_deleted_pair_comes_back() {
    let rig = Rig::new(&[]);
    rig.kernel.delete_link(None, rig.host_end(1).unwrap()).unwrap();
    assert_eq!(rig.look(), LookResult { healed: 2, failed: 0, pending: false });
    assert!(rig.host_end(1).is_some());
    assert_eq!(rig.look().healed, 0);
}

#[test]
fn each_heal_is_one_event_and_one_count_until_it_recurs() {
    let rig = Rig::new(&[]);
    let reason = "the link was down";
    let told = |kind| rig.told().iter().filter(|event| event.kind == kind).count();
    for time in 1..=6 {
        rig.take_down(1);
        rig.look();
        assert_eq!(rig.manager.events().counters().heals(reason), time);
        assert_eq!(told(Kind::Healed), time.min(5) as usize, "the sixth is only counted");
        assert_eq!(told(Kind::KeepsComingBack), usize::from(time >= 5));
    }
    let healed = rig.told().into_iter().find(|event| event.kind == Kind::Healed).unwrap();
    assert_eq!(healed.endpoint, Some(endpoint(1)));
    assert_eq!((healed.network, healed.reason.as_deref()), (Some(network()), Some(reason)));
    assert_eq!(rig.manager.events().heals_of_endpoint(&network(), &endpoint(1)), 6);
}

#[test]
fn a_problem_is_one_event_when_it_appears_and_one_when_it_ends() {
    let rig = Rig::new(&[("adapter", "can7")]);
    let told = |kind| rig.told().into_iter().filter(move |event| event.kind == kind).count();
    for _ in 0..2 {
        rig.look();
        assert_eq!((told(Kind::Problem), told(Kind::ProblemOver)), (1, 0));
    }
    let index = rig.kernel.add_foreign("can7", LinkKind::Can);
    rig.look();
    assert_eq!((told(Kind::Problem), told(Kind::AdapterAppeared), told(Kind::ProblemOver)), (1, 1, 0));

    let bring = |up| {
        rig.kernel.change_link(None, index, &LinkChange { up: Some(up), ..LinkChange::default() }).unwrap();
        rig.look()
    };
    bring(false);
    assert_eq!(told(Kind::Problem), 2, "it is down");
    assert!(bring(true).pending, "it may come back at once");
    rig.later(5);
    assert!(!rig.look().pending);
    assert_eq!((told(Kind::Problem), told(Kind::ProblemOver)), (2, 1));
}

#[test]
fn rules_to_a_hub_that_could_not_be_created_are_not_healed_yet() {
    let rig = Rig::new(&[]);
    let hub = rig.hub();
    rig.kernel.delete_link(None, hub).unwrap();
    // Links, two sandboxes and rules are read; then the step fails.
    rig.kernel.fail_after(4, 105);
    assert_eq!(rig.look(), LookResult { healed: 0, failed: 1, pending: false });
    assert_eq!(rig.look(), LookResult { healed: 0, failed: 0, pending: true });
    rig.later(1);
    assert_eq!(rig.look(), LookResult { healed: 2, failed: 0, pending: false });
}

#[test]
fn a_problem_of_a_deleted_network_is_over_at_once_and_not_reported_as_solved() {
    let rig = Rig::new(&[("adapter", "can7")]);
    let index = rig.kernel.add_foreign("can7", LinkKind::Can);
    let down = LinkChange { up: Some(false), ..LinkChange::default() };
    rig.kernel.change_link(None, index, &down).unwrap();
    rig.look();
    rig.manager.delete_endpoint(&endpoint(1));
    rig.manager.delete_endpoint(&endpoint(2));
    rig.manager.delete_network(&network());
    assert!(!rig.look().pending);
    let told = |kind| rig.told().iter().filter(|event| event.kind == kind).count();
    assert_eq!((told(Kind::Problem), told(Kind::ProblemOver)), (1, 0));
}

#[test]
fn with_heal_off_nothing_is_repaired_and_a_join_says_why() {
    let rig = Rig::new(&[("heal", "off"), ("hub", "vcan7")]);
    let hub = rig.kernel.links().unwrap().into_iter().find(|link| link.name == "vcan7").unwrap().index;
    rig.kernel.delete_link(None, hub).unwrap();
    assert_eq!(rig.look(), LookResult::default());
    rig.kernel.add_sandbox("/run/netns/3");
    let refused = rig.manager.join(network(), endpoint(3), "/run/netns/3".into()).unwrap_err().to_string();
    assert!(refused.contains("the hub was missing (vcan7), and healing is off"), "{refused}");
    assert_eq!(rig.host_end(3), None, "nothing half-created is left");
}

#[test]
fn nothing_that_exists_is_lost_by_a_crash_or_a_lost_state_folder() {
    for lose in [false, true] {
        let rig = Rig::new(&[("hub", "vcan7"), ("frames", "classic")]);
        let (links, rules) = (rig.kernel.links().unwrap(), rig.kernel.rules().unwrap());
        if lose {
            std::fs::remove_dir_all(rig.dir.path()).unwrap();
        }
        let again = manager(&rig.kernel, rig.dir.path());
        assert_eq!(again.reconcile(&Memory::default()).unwrap(), LookResult::default(), "lost: {lose}");
        assert_eq!(
            (rig.kernel.links().unwrap(), rig.kernel.rules().unwrap()),
            (links, rules),
            "nothing was touched"
        );
        again.delete_endpoint(&endpoint(1));
        again.delete_endpoint(&endpoint(2));
        again.delete_network(&network());
        assert_eq!(rig.kernel.links().unwrap().len(), 1, "only eth0 is left");
    }
}

/// Otherwise no network would come back after a reboot, and nobody would know.
#[test]
fn a_deleted_state_file_is_written_again() {
    let rig = Rig::new(&[]);
    let file = rig.dir.path().join("state.json");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(rig.manager.records().unsaved, None);
    assert!(file.exists());
    std::fs::remove_file(&file).unwrap();
    assert_eq!(rig.manager.heal().unwrap()[0].did, "rewrite the records");
    assert_eq!(rig.restarted().manager.network_ids().len(), 1);
    assert_eq!(rig.manager.heal().unwrap().len(), 0);
}
