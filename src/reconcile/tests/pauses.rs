//! Faults that recur or cannot be healed, and leftovers: what waits, how long, and what is reported.

use super::*;

#[test]
fn a_recurring_fault_is_healed_at_once_five_times_and_then_with_pauses() {
    let rig = Rig::new(&[]);
    for time in 1..=6 {
        rig.take_down(1);
        assert_eq!(rig.look().healed, 1, "time {time}");
    }
    rig.take_down(1);
    assert_eq!(rig.look(), LookResult { healed: 0, failed: 0, pending: true }, "it may be intentional");
    rig.take_down(2);
    assert_eq!(rig.look().healed, 1, "another link is another fault");
}

#[test]
fn a_fault_that_is_held_back_is_not_over_however_long_the_pause() {
    let rig = Rig::new(&[]);
    let pauses = (0..16).map(|_| {
        rig.take_down(1);
        rig.time_to_heal()
    });
    let pauses: Vec<u64> = pauses.map(|pause| pause.as_secs()).collect();
    assert_eq!(pauses[..6], [0; 6]);
    assert!(pauses[6..].is_sorted_by(|one, next| next >= one || *next >= 60), "{pauses:?}");
    assert!(pauses[13..].iter().all(|pause| (60..=72).contains(pause)), "{pauses:?}");
}

#[test]
fn an_end_that_is_moved_away_repeatedly_is_recreated_with_pauses_and_without_failures() {
    let rig = Rig::new(&[]);
    rig.kernel.add_sandbox("/elsewhere");
    for number in 0..12 {
        let stolen = format!("stolen{number}");
        rig.kernel.move_link(rig.host_end(1).unwrap(), None, Some("/elsewhere".as_ref()), &stolen);
        while rig.host_end(1).is_none() {
            rig.time_to_heal();
        }
    }
}

#[test]
fn a_container_end_that_is_moved_away_repeatedly_is_recreated_with_pauses_and_without_failures() {
    let rig = Rig::new(&[]);
    rig.kernel.add_sandbox("/elsewhere");
    let steal = |number: u32| {
        let sandbox = Path::new("/run/netns/1");
        let end = rig.kernel.sandbox_links(sandbox).unwrap().unwrap()[0].index;
        rig.kernel.move_link(end, Some(sandbox), Some("/elsewhere".as_ref()), &format!("stolen{number}"));
    };
    steal(0);
    let at_once = LookResult { healed: 3, failed: 0, pending: false };
    assert_eq!(rig.look(), at_once, "what is left of the pair is deleted, and the new one gets its rules");
    for number in 1..6 {
        steal(number);
        rig.time_to_heal();
        rig.look();
    }
    steal(6);
    let broken = rig.host_end(1);
    assert_eq!(rig.look(), LookResult { healed: 0, failed: 0, pending: true });
    assert_eq!(rig.host_end(1), broken, "no new pair is tried while the name of the old one is taken");
    assert!(rig.time_to_heal() >= Duration::from_secs(1));
    while rig.host_end(1).is_none() {
        rig.time_to_heal();
    }
}

#[test]
fn a_failed_step_is_retried_after_a_pause() {
    let rig = Rig::new(&[]);
    rig.take_down(1);
    // Links, two sandboxes and rules are read; then the step fails.
    rig.kernel.fail_after(4, 105);
    assert_eq!(rig.look(), LookResult { healed: 0, failed: 1, pending: false });
    assert_eq!(rig.look(), LookResult { healed: 0, failed: 0, pending: true });
    let failed = rig.told().into_iter().find(|event| event.kind == Kind::HealFailed).unwrap();
    assert_eq!((failed.times, failed.reason.as_deref()), (Some(1), Some("the link was down")));
    assert!(
        failed.err.is_some_and(|err| err.contains("set up the interface")),
        "it says what failed and why"
    );
    *rig.memory.ahead.lock() += Duration::from_millis(250);
    assert_eq!(rig.look().healed, 1);
}

#[test]
fn a_recurring_fault_that_stays_away_gets_one_summary_and_any_other_none() {
    let rig = Rig::new(&[]);
    let told = |kind| -> Vec<Option<u32>> {
        rig.told().iter().filter(|event| event.kind == kind).map(|event| event.times).collect()
    };
    for _ in 0..6 {
        rig.take_down(1);
        rig.look();
    }
    rig.take_down(2);
    rig.look();
    assert_eq!(told(Kind::KeepsComingBack), [Some(5)]);
    rig.later(59);
    rig.look();
    assert_eq!(told(Kind::HealedForGood), [], "it may come back");
    rig.later(2);
    for _ in 0..2 {
        rig.look();
        assert_eq!(told(Kind::HealedForGood), [Some(6)], "that of the second member was healed once");
    }
    for _ in 0..2 {
        rig.take_down(1);
        rig.look();
    }
    assert_eq!(told(Kind::KeepsComingBack), [Some(5)], "it is counted from one again");
}

#[test]
fn the_end_of_a_fault_is_told_if_and_only_if_it_was_told_to_keep_coming_back() {
    for (times, ends) in [(4, &[][..]), (5, &[Some(5)])] {
        let rig = Rig::new(&[]);
        for _ in 0..times {
            rig.take_down(1);
            rig.look();
        }
        rig.later(61);
        rig.look();
        let told =
            |kind| rig.told().iter().filter(|event| event.kind == kind).map(|event| event.times).collect();
        let (returning, over): (Vec<Option<u32>>, Vec<Option<u32>>) =
            (told(Kind::KeepsComingBack), told(Kind::HealedForGood));
        assert_eq!((returning.as_slice(), over.as_slice()), (ends, ends), "healed {times} times");
    }
}

#[test]
fn a_leftover_has_a_grace_period() {
    let rig = Rig::new(&[]);
    rig.kernel
        .create_vcan(
            &"bus0".parse().unwrap(),
            72,
            &format!("canhub net={} name=can0 frames=fd", "b2".repeat(32)),
        )
        .unwrap();
    let links = rig.kernel.links().unwrap();
    assert_eq!(rig.look(), LookResult { healed: 0, failed: 0, pending: true });
    assert_eq!(rig.kernel.links().unwrap(), links);
}

#[test]
fn leftovers_are_removed_when_each_has_had_its_grace_period() {
    let rig = Rig::new(&[]);
    let leftover = |number: u8| {
        let alias = format!("canhub net={} name=can0 frames=fd", format!("b{number}").repeat(32));
        rig.kernel.create_vcan(&format!("bus{number}").parse().unwrap(), 72, &alias).unwrap()
    };
    let stands = |index| rig.kernel.links().unwrap().iter().any(|link| link.index == index);
    let waits = LookResult { healed: 0, failed: 0, pending: true };
    let old = [1, 2].map(leftover);
    assert_eq!(rig.look(), waits, "both wait");
    rig.later(9);
    let young = leftover(3);
    assert_eq!(rig.look(), waits);
    rig.later(1);
    assert_eq!(rig.look(), LookResult { healed: 2, failed: 0, pending: true });
    assert_eq!((old.map(stands), stands(young)), ([false; 2], true));
    rig.later(9);
    assert_eq!(rig.look().healed, 1);
    assert!(!stands(young));
}

#[test]
fn a_step_that_lost_a_race_is_retried_within_milliseconds_and_is_not_a_failure() {
    let rig = Rig::new(&[]);
    const EEXIST: i32 = 17;
    let failures = || rig.told().iter().filter(|event| event.kind == Kind::HealFailed).count();
    rig.kernel.delete_link(None, rig.host_end(1).unwrap()).unwrap();
    let mut waited = Duration::ZERO;
    for _ in 0..6 {
        // Links, two sandboxes and rules are read; then the kernel still has what the step replaces.
        rig.kernel.fail_after(4, EEXIST);
        assert_eq!(rig.look().failed, 1);
        let due = rig.memory.next_due().unwrap();
        waited += due;
        *rig.memory.ahead.lock() += due;
    }
    assert!(waited < Duration::from_millis(100), "{waited:?}");
    assert_eq!(failures(), 0);
    rig.kernel.fail_after(4, EEXIST);
    assert_eq!(rig.look().failed, 1);
    assert_eq!(failures(), 1, "it is one by now");
    assert!(rig.memory.next_due().unwrap() > Duration::from_millis(80));
    rig.later(1);
    assert_eq!(rig.look(), LookResult { healed: 2, failed: 0, pending: false });
    assert_eq!(rig.memory.next_due(), None);
}
