//! Passes that could not read everything: what is unknown is left alone and reported, everything else is healed.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::{
    endpoint::{Endpoint, Stage},
    network::Network,
    plan::Problem,
};

/// `EINTR`, like a dump that keeps being interrupted.
const EINTR: i32 = 4;

fn sandbox(number: u8) -> String {
    format!("/run/netns/{number}")
}

impl Rig {
    fn break_sandbox(&self, number: u8, errno: Option<i32>) {
        self.kernel.break_sandbox(Path::new(&sandbox(number)), errno);
    }

    fn rules(&self) -> Vec<crate::kernel::Rule> {
        let mut rules: Vec<_> = self.kernel.rules().unwrap().iter().map(|status| status.rule).collect();
        rules.sort_unstable();
        rules
    }

    fn problems_now(&self) -> Vec<Problem> {
        let want = self.manager.model().want();
        let mut have = self.manager.look(&want).unwrap();
        self.manager.plan(&want, &mut have, Scope::Everything).problems
    }
}

#[test]
fn one_unreadable_sandbox_of_two_thousand_does_not_stop_healing() {
    let (kernel, dir) = (Arc::new(FakeKernel::new()), tempfile::tempdir().unwrap());
    let manager = manager(&kernel, dir.path());
    let id = |number: u16| format!("{number:04x}").repeat(16);
    for bus in 0..200 {
        let network = Network::new(NetworkId::try_from(id(bus)).unwrap(), RawOptions::new()).unwrap();
        for member in 0..10 {
            let sandbox = format!("/run/netns/{}", id(bus * 10 + member));
            kernel.add_sandbox(&sandbox);
            manager.model().put_endpoint(Endpoint {
                id: EndpointId::try_from(id(bus * 10 + member)).unwrap(),
                network: network.id.clone(),
                ifname: network.options.ifname.clone(),
                rate: None,
                filters: crate::filters::Filters::default(),
                shapes: crate::shape::Shapes::default(),
                stage: Stage::Joined { sandbox: sandbox.into() },
                attached: None,
                namespace: None,
            });
        }
        manager.model().put_network(network);
    }
    kernel.break_sandbox(Path::new(&format!("/run/netns/{}", id(777))), Some(EINTR));
    let outcome = manager.reconcile(&Memory::default()).unwrap();
    assert_eq!((outcome.healed, outcome.failed), (200 + 1999 + 200, 0), "hubs, pairs, and rules of each bus");
    let status = manager.status().unwrap();
    let problems: Vec<&String> = status.buses.iter().flat_map(|bus| &bus.problems).collect();
    assert!(matches!(problems[..], [one] if one.contains(&id(777))), "{problems:?}");
    assert!(status.buses.iter().all(|bus| bus.steps.is_empty()), "nothing is left to do");

    kernel.break_sandbox(Path::new(&format!("/run/netns/{}", id(777))), None);
    assert_eq!(manager.reconcile(&Memory::default()).unwrap().healed, 2, "its pair and the rules of that");
}

#[test]
fn an_unreadable_sandbox_is_one_problem_and_its_endpoint_is_not_collected() {
    let rig = Rig::new(&[]);
    let told = |kind| rig.told().iter().filter(|event| event.kind == kind).count();
    rig.break_sandbox(1, Some(EINTR));
    let (links, rules) = (rig.kernel.links().unwrap(), rig.rules());
    for _ in 0..4 {
        rig.look();
        rig.later(100);
    }
    assert_eq!((told(Kind::Problem), told(Kind::EndpointCollected)), (1, 0));
    let problem = rig.told().into_iter().find(|event| event.kind == Kind::Problem).unwrap();
    assert_eq!(problem.endpoint, Some(endpoint(1)));
    assert_eq!((rig.kernel.links().unwrap(), rig.rules()), (links, rules));

    rig.break_sandbox(1, None);
    rig.look();
    assert_eq!(told(Kind::ProblemOver), 1);
    // The time during which it could not be read does not count: it is missing only from now on.
    rig.kernel.end_sandbox(Path::new(&sandbox(1)));
    rig.look();
    rig.later(9);
    rig.break_sandbox(1, Some(EINTR));
    rig.look();
    rig.break_sandbox(1, None);
    rig.later(2);
    rig.look();
    assert_eq!(told(Kind::EndpointCollected), 0);
    rig.later(10);
    rig.look();
    assert_eq!(told(Kind::EndpointCollected), 1, "it is gone for good");
}

#[test]
fn reading_is_retried_soon_a_few_times_and_then_by_the_audit() {
    let rig = Rig::new(&[]);
    rig.break_sandbox(1, Some(24));
    let soon: Vec<bool> = (0..5).map(|_| rig.look().pending).collect();
    assert_eq!(soon, [true, true, true, false, false]);
    rig.break_sandbox(1, None);
    rig.later(10);
    assert!(!rig.look().pending);
    rig.break_sandbox(1, Some(24));
    assert!(rig.look().pending);
}

#[test]
fn at_start_a_pair_with_an_unreadable_sandbox_is_adopted() {
    let rig = Rig::new(&[]);
    let (links, rules) = (rig.kernel.links().unwrap(), rig.rules());
    std::fs::remove_dir_all(rig.dir.path()).unwrap();
    rig.break_sandbox(1, Some(EINTR));
    let again = manager(&rig.kernel, rig.dir.path());
    assert!(again.model().endpoint(&endpoint(1)).is_some());
    let memory = Memory::default();
    for _ in 0..3 {
        again.reconcile(&memory).unwrap();
        *memory.ahead.lock() += Duration::from_secs(11);
    }
    assert_eq!((rig.kernel.links().unwrap(), rig.rules()), (links, rules));
}

#[test]
fn unreadable_rules_are_a_problem_and_links_are_healed() {
    let rig = Rig::new(&[]);
    rig.take_down(1);
    // Links are read, then the rules are not.
    rig.kernel.fail_after(1, 105);
    let outcome = rig.look();
    assert_eq!((outcome.healed, outcome.failed), (1, 0));
    assert!(outcome.pending, "reading is retried soon");
    let told = rig.told();
    assert!(told.iter().any(|event| event.kind == Kind::Problem
        && event.reason.as_ref().is_some_and(|text| text.contains("could not read the can-gw rules"))));
}

#[test]
fn an_adapter_with_an_unreadable_identity_has_not_vanished() {
    let rig = Rig::new(&[("adapter", "driver:kvaser_usb"), ("bitrate", "500000")]);
    rig.look();
    let index = rig.plug("2");
    rig.look();
    let rules = rig.rules();
    let told = |kind| rig.told().iter().filter(|event| event.kind == kind).count();
    assert_eq!(told(Kind::AdapterAppeared), 1);

    rig.kernel.break_identity(index, true);
    rig.kernel.delete_link(None, rig.host_end(1).unwrap()).unwrap();
    rig.look();
    assert_eq!(told(Kind::AdapterVanished), 0);
    assert!(rig.host_end(1).is_some(), "the members are healed");
    let [problem] = &rig.problems_now()[..] else { panic!("{:?}", rig.problems_now()) };
    assert!(problem.text.contains("the identity of can0 could not be read"), "{}", problem.text);
    assert!(!problem.awaits_adapter);
    let status = rig.manager.status().unwrap();
    assert_eq!((status.buses[0].waiting, status.buses[0].problems.len()), (false, 1));

    rig.kernel.break_identity(index, false);
    rig.look();
    assert_eq!(rig.rules().len(), rules.len(), "the rules of the new end to the adapter came with it");
    assert_eq!((told(Kind::AdapterVanished), told(Kind::AdapterAppeared)), (0, 1));
}

#[test]
fn after_a_torn_dump_no_rule_is_added_or_deleted() {
    let rig = Rig::new(&[]);
    let rules = rig.rules();
    rig.kernel.tear_dumps(1);
    assert_eq!(rig.look(), LookResult::default());
    assert_eq!(rig.rules(), rules);
    rig.kernel.tear_dumps(1);
    assert_eq!(rig.manager.status().unwrap().buses[0].steps, [""; 0], "no fault is shown either");

    // Rules that are really missing are healed, and only those.
    rig.kernel.delete_rules(&rules[..1]).unwrap();
    rig.kernel.tear_dumps(1);
    assert_eq!(rig.look().healed, 1);
    assert_eq!(rig.rules(), rules);
}

#[test]
fn if_every_dump_is_torn_rules_are_left_alone_and_that_is_reported() {
    let rig = Rig::new(&[]);
    let rules = rig.rules();
    rig.kernel.tear_dumps(usize::MAX);
    let outcome = rig.look();
    assert_eq!((outcome.healed, outcome.failed, outcome.pending), (0, 0, true));
    assert_eq!(rig.told().iter().filter(|event| event.kind == Kind::Problem).count(), 1);
    rig.kernel.tear_dumps(0);
    assert_eq!(rig.rules(), rules);
    rig.kernel.tear_dumps(usize::MAX);
    // A Join only needs rules of its new end, and needs no dump.
    rig.start(3);
    rig.kernel.tear_dumps(0);
    rig.look();
    let left: Vec<_> = rig.rules().into_iter().filter(|rule| rules.contains(rule)).collect();
    assert_eq!(left, rules);
}

#[test]
fn a_quiet_audit_reads_the_rules_once() {
    let rig = Rig::new(&[]);
    // Links, rules and two sandboxes: a fifth call would fail.
    rig.kernel.fail_after(4, 105);
    assert_eq!(rig.look(), LookResult::default());
    assert!(rig.kernel.links().is_err());
}

/// One round of the loop, and how often it reported that it is alive.
async fn round_of(rig: &Rig) -> (Duration, usize) {
    let alive = AtomicUsize::new(0);
    let count = || {
        alive.fetch_add(1, Ordering::Relaxed);
    };
    let next = round(&Handle::new(rig.manager.clone()), &rig.memory, Duration::from_secs(30), &count).await;
    (next, alive.into_inner())
}

#[tokio::test]
async fn the_watchdog_is_fed_only_after_successful_passes() {
    let rig = Rig::new(&[]);
    assert_eq!(round_of(&rig).await, (Duration::from_secs(30), 1));
    rig.kernel.fail_after(0, 105);
    assert_eq!(round_of(&rig).await, (SOON, 0), "the host's links could not be listed");
    rig.break_sandbox(1, Some(24));
    assert_eq!(round_of(&rig).await, (SOON, 1), "one unreadable sandbox is not a failed pass");
}
