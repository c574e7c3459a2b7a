//! A storm: hundreds of consecutive faults, with canhub and dockerd killed in between, after which everything works.
//!
//! `CANHUB_STORM_SEED` repeats a storm, as far as possible on a busy machine: what a fault hits depends on what has
//! healed by then. `CANHUB_STORM_FAULTS` sets their number.

mod fault;
mod fleet;

use std::{
    cell::RefCell,
    thread,
    time::{Duration, Instant},
};

use fault::{Fault, strike};
use fleet::Fleet;

use crate::support::{
    canhub::{self, Configured, is_service},
    dice::Dice,
    docker::kill_dockerd,
    host::Journal,
    shell::{number_from, say, within},
};

/// The storm of a normal run; `make soak` runs others.
const SEED: u64 = 1;
const FAULTS: usize = 300;
const CRASHES: usize = 10;
/// Rules have no events, so the audit interval must be short.
const AUDIT: Duration = Duration::from_secs(1);
/// A recurring fault may be held back for up to 72 s, and another one may depend on it.
const CALM_LIMIT: Duration = Duration::from_secs(150);
/// The maximum number of faults at once.
const BURST: usize = 8;
/// The pause between two bursts, in milliseconds.
const LULLS_MS: [u64; 4] = [0, 0, 200, 500];

/// The history, printed if the test fails.
struct Chronicle {
    seed: u64,
    events: RefCell<Vec<String>>,
    journal: Journal,
}

impl Chronicle {
    fn note(&self, events: impl IntoIterator<Item = String>) {
        self.events.borrow_mut().extend(events);
    }
}

impl Drop for Chronicle {
    fn drop(&mut self) {
        if thread::panicking() {
            let events = self.events.borrow();
            let journal = self.journal.since();
            let journal: Vec<&str> = journal.lines().collect();
            say(&format!(
                "CANHUB_STORM_SEED={}\nthe last of {} events:\n{}\nthe journal ends:\n{}",
                self.seed,
                events.len(),
                last(&events, 30).join("\n"),
                last(&journal, 150).join("\n"),
            ));
        }
    }
}

fn last<T>(all: &[T], count: usize) -> &[T] {
    &all[all.len().saturating_sub(count)..]
}

#[test]
fn after_a_storm_every_bus_is_complete_and_all_members_reach_each_other() {
    if !is_service("storm::after_a_storm_every_bus_is_complete_and_all_members_reach_each_other") {
        return;
    }
    let seed = number_from("CANHUB_STORM_SEED").unwrap_or(SEED);
    let faults = number_from("CANHUB_STORM_FAULTS").map_or(FAULTS, |count| count as usize);
    let _configured = Configured::with(&[&format!("CANHUB_AUDIT_INTERVAL={}", AUDIT.as_secs())]);
    say(&format!("a storm of {faults} faults: CANHUB_STORM_SEED={seed}"));

    let started = Instant::now();
    let mut fleet = Fleet::start();
    let chronicle = Chronicle { seed, events: RefCell::default(), journal: Journal::mark() };
    calm(&fleet);
    fleet.talks().unwrap_or_else(|err| panic!("before the storm: {err}"));
    let ready = started.elapsed();

    let storm = Instant::now();
    let missed = rage(&mut fleet, faults, &mut Dice::new(seed), &chronicle);
    let raged = storm.elapsed();

    let calming = Instant::now();
    calm(&fleet);
    let healed = calming.elapsed();
    fleet.talks().unwrap_or_else(|err| panic!("after the storm: {err}"));
    fleet.assert_same_processes();
    fleet.end();
    say(&format!(
        "{faults} faults (and {missed} at what was broken already): the fleet was ready after {} s, the storm took {} s, \
         all was whole and quiet {} s after it; {} s in all",
        ready.as_secs(),
        raged.as_secs(),
        healed.as_secs(),
        started.elapsed().as_secs()
    ));
}

/// Faults in bursts, with canhub and dockerd killed in between. Returns how many found nothing to hit.
fn rage(fleet: &mut Fleet, faults: usize, dice: &mut Dice, chronicle: &Chronicle) -> usize {
    let (mut done, mut tried) = (0, 0);
    while done < faults {
        let size = (1 + dice.below(BURST)).min(faults - done);
        let burst = (0..size).map(|_| Fault::of(fleet, dice)).collect();
        let hits = strike(burst, done + 1);
        let before = done;
        (done, tried) = (done + hits.len(), tried + size);
        chronicle.note(hits);
        assert!(tried < 10 * faults, "nothing is left to hit");
        // In the middle of each tenth, so that the last faults meet a canhub that remembers earlier ones.
        let tenth = |number: usize| (2 * CRASHES * number / faults).div_ceil(2);
        if tenth(done) > tenth(before) {
            canhub::crash();
            chronicle.note(["canhub was killed".to_owned()]);
        }
        // At a quarter and a half; what is restarting is left alone, because Docker gives up on a container that fails.
        if [faults / 4, faults / 2].iter().any(|mark| (before..done).contains(mark)) {
            fleet.assert_same_processes();
            kill_dockerd();
            chronicle.note(["dockerd was killed".to_owned()]);
            fleet.restarted();
        }
        thread::sleep(Duration::from_millis(*dice.pick(&LULLS_MS)));
    }
    tried - done
}

/// Waits until everything is as it should be, and stays so over two audits in which canhub finds nothing to do.
fn calm(fleet: &Fleet) {
    let calmed = within(CALM_LIMIT, || {
        fleet.is_whole()?;
        let journal = Journal::mark();
        thread::sleep(2 * AUDIT);
        match journal.since().lines().find(|line| line.contains(": healed network=")) {
            Some(healed) => Err(format!("there was still something to heal: {healed}")),
            None => fleet.is_whole(),
        }
    });
    calmed.unwrap_or_else(|err| panic!("still not complete after {} s: {err}", CALM_LIMIT.as_secs()));
}
