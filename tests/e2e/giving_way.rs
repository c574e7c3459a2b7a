//! canhub does not fight its users: it heals what someone keeps breaking at growing intervals, and does not heal what
//! is being removed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::support::{
    canhub::{Configured, is_service},
    docker::docker,
    frames::assert_all_hear_all,
    host::{Journal, ip_link, link},
    report::Kind,
    scene::Scene,
    shell::{attempt, say, within},
};

/// The pauses of a fault that recurs ten times: at most 1, 2, 4, 8 and 16 s, plus a fifth.
const LONGEST_PAUSES: Duration = Duration::from_secs(60);
/// Two audits at the shortest interval, in which canhub would restore missing parts.
const TWO_AUDITS: Duration = Duration::from_secs(2);

#[test]
fn a_link_taken_down_repeatedly_is_healed_ever_more_slowly_and_reported_once() {
    if !is_service("giving_way::a_link_taken_down_repeatedly_is_healed_ever_more_slowly_and_reported_once") {
        return;
    }
    let _configured = Configured::with(&["CANHUB_AUDIT_INTERVAL=1"]);
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-insist"]);
    let ecu = scene.container(&bus);
    let (member, end) = (ecu.member("can0", 1), ecu.host_end("can0").ifname);

    let journal = Journal::mark();
    let times = (0..10).map(|_| {
        let started = Instant::now();
        ip_link(&["set", &end, "down"]);
        within(LONGEST_PAUSES, || match link(&end) {
            Some(link) if link.is_up() => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .unwrap_or_else(|err| panic!("{end} stays down: {err}"));
        format!("{} ms", started.elapsed().as_millis())
    });
    let times: Vec<String> = times.collect();
    say(&format!("taken down ten times in a row, a link was up again after {}", times.join(", ")));
    assert_all_hear_all(&[&member, &bus.host(2)], &[Kind::Classic, Kind::Fd], 20);

    let journal = journal.since();
    let told = |words: &str| {
        journal
            .lines()
            .filter(|line| line.contains(words) && line.contains(&format!("interface={end}")))
            .count()
    };
    assert_eq!(told("keeps coming back"), 1, "{journal}");
    assert_eq!(told(": healed network="), 5, "the heals without a pause: {journal}");
    assert_eq!(told("could not heal"), 0, "{journal}");
}

/// Deletes a link again and again.
struct Vandal {
    stop: Arc<AtomicBool>,
    /// How often it existed and was deleted.
    hits: Arc<AtomicU32>,
    thread: Option<JoinHandle<()>>,
}

impl Vandal {
    fn of(link: &str) -> Self {
        let (stop, hits) = (Arc::<AtomicBool>::default(), Arc::<AtomicU32>::default());
        let (link, told, count) = (link.to_owned(), stop.clone(), hits.clone());
        let work = move || {
            while !told.load(Ordering::SeqCst) {
                let hit = attempt("ip", &["link", "del", &link]).is_ok();
                count.fetch_add(u32::from(hit), Ordering::SeqCst);
            }
        };
        Self { stop, hits, thread: Some(thread::spawn(work)) }
    }

    /// Asserts that what it deletes is gone for good.
    #[track_caller]
    fn assert_idle(&self) {
        // One deletion may have been in progress.
        thread::sleep(TWO_AUDITS / 2);
        let before = self.hits.load(Ordering::SeqCst);
        thread::sleep(TWO_AUDITS);
        assert_eq!(self.hits.load(Ordering::SeqCst), before, "a removed object came back");
    }
}

impl Drop for Vandal {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[test]
fn what_is_removed_during_faults_does_not_come_back() {
    if !is_service("giving_way::what_is_removed_during_faults_does_not_come_back") {
        return;
    }
    let _configured = Configured::with(&["CANHUB_AUDIT_INTERVAL=1"]);
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-going"]);
    let stays = scene.container(&bus);
    let (one, host) = (stays.member("can0", 1), bus.host(2));
    let before = scene.traces();

    for stop in [&["stop", "--time", "0"][..], &["rm", "--force"], &["network", "disconnect", &bus.name]] {
        let goes = scene.container(&bus);
        goes.member("can0", 3);
        let vandal = Vandal::of(&goes.host_end("can0").ifname);
        docker(&[stop, &[&goes.name]].concat());
        vandal.assert_idle();
        drop(vandal);
        assert_eq!(scene.traces(), before, "{stop:?}");
        assert_all_hear_all(&[&one, &host], &[Kind::Classic, Kind::Fd], 20);
    }

    let vandals = [Vandal::of("vcan-going"), Vandal::of(&stays.host_end("can0").ifname)];
    scene.remove_all();
    vandals.iter().for_each(Vandal::assert_idle);
    drop(vandals);
    scene.assert_nothing_is_left();
}
