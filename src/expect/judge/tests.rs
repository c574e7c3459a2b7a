//! A bus in memory: senders with a cycle, a kernel that notices what the real one does, and what the judge makes of it.

use super::*;

const MS: Duration = Duration::from_millis(1);

/// A bus with one expectation, in steps of a millisecond.
struct Bench {
    judge: Judge,
    begin: Instant,
    now: u32,
    frames: u64,
    /// When the kernel reports the frame as late.
    timer: Option<u32>,
    /// Whether it reports the next frame.
    announces: bool,
    next: u32,
    /// When the frames are counted, and how long is to be between readings because they cost.
    due: Instant,
    counted: Instant,
    costly: Duration,
    /// Each change with its time in ms.
    told: Vec<(u32, Verdict)>,
}

impl Bench {
    fn new(every: u32, within: u8) -> Self {
        let begin = Instant::now() + Duration::from_secs(1000);
        let mut judge = Judge::new(MS * every, within);
        judge.listens(begin);
        Self {
            judge,
            begin,
            now: 0,
            frames: 0,
            timer: None,
            announces: true,
            next: 0,
            due: begin,
            counted: begin,
            costly: Duration::ZERO,
            told: vec![],
        }
    }

    fn at(&self) -> Instant {
        self.begin + MS * self.now
    }

    fn frame(&mut self) {
        self.frames += 1;
        self.timer =
            self.judge.timeout().map(|timeout| self.now + u32::try_from(timeout.as_millis()).unwrap());
        if std::mem::take(&mut self.announces) {
            self.judge.heard(self.at());
            self.due = self.judge.due(self.counted, self.costly);
        }
    }

    /// Runs for so many ms with a sender of this cycle; `None`: nobody sends.
    fn run(&mut self, time: u32, cycle: Option<u32>) -> &mut Self {
        self.next = self.next.max(self.now);
        let end = self.now + time;
        while self.now < end {
            let before = self.judge.verdict();
            if self.timer.is_some_and(|timer| timer <= self.now) {
                (self.timer, self.announces) = (None, true);
                self.judge.overdue(self.at());
                self.count();
            }
            if let Some(cycle) = cycle.filter(|_| self.now >= self.next) {
                self.frame();
                self.next = self.now + cycle;
            }
            if self.due <= self.at() {
                self.count();
            }
            self.judge.tick(self.at());
            if self.judge.verdict() != before {
                self.told.push((self.now, self.judge.verdict()));
            }
            self.now += 1;
        }
        self
    }

    fn count(&mut self) {
        self.judge.counted(self.at(), self.at(), self.frames);
        self.counted = self.at();
        self.due = self.judge.due(self.counted, self.costly);
    }

    /// The next frame comes this long after the last one.
    fn late_frame(&mut self, time: u32) {
        let last = self.next - 20;
        self.run((last + time).saturating_sub(self.now), None);
        self.frame();
        self.next = self.now + 20;
    }

    /// The changes since the last call, each with the time since `since`.
    fn told(&mut self, since: u32) -> Vec<(u32, Verdict)> {
        self.told.drain(..).map(|(at, verdict)| (at - since, verdict)).collect()
    }
}

const CYCLES: [u32; 6] = [5, 20, 24, 50, 100, 1000];

/// Benches whose frames are counted at different times after a frame.
fn benches(every: u32, within: u8) -> impl Iterator<Item = Bench> {
    [0, 1, 3, 5, 8, 9].into_iter().map(move |phase| {
        let bench = Bench::new(every, within);
        Bench { due: bench.begin + MS * phase, ..bench }
    })
}

/// The same, with readings that cost so much that they are put off for as long as possible.
fn costly_benches(every: u32, within: u8) -> impl Iterator<Item = Bench> {
    (0..every * 2).step_by(3).map(move |phase| {
        let bench = Bench::new(every, within);
        Bench { due: bench.begin + MS * phase, costly: MS * 10_000, ..bench }
    })
}

/// What must be told, once: within one and a half cycles and 50 ms.
#[track_caller]
fn assert_told(told: &[(u32, Verdict)], verdict: Verdict, every: u32) {
    assert!(matches!(told, [(_, said)] if *said == verdict), "every {every} ms: {told:?}");
    assert!(told[0].0 <= every * 3 / 2 + 50, "every {every} ms: {told:?}");
}

#[test]
fn it_is_unknown_until_a_frame_comes_or_the_deadline_passes() {
    let mut bench = Bench::new(20, 30);
    assert_eq!(bench.judge.verdict(), Verdict::Unknown);
    assert_eq!(bench.run(500, Some(20)).told(0), [(0, Verdict::Met)]);
    assert_eq!(bench.judge.cycle().map(|cycle| cycle.as_millis()), Some(20));
    let mut bench = Bench::new(20, 30);
    assert_eq!(bench.run(500, None).told(0), [(60, Verdict::Missed(Miss::Silent))]);
    // A sender that starts late.
    let told = bench.run(500, Some(20)).told(500);
    assert_eq!(told[0], (0, Verdict::Missed(Miss::Slow)));
    assert!(matches!(told[1..], [(_, Verdict::Met)]), "{told:?}");
}

#[test]
fn a_sender_that_stops_and_returns_is_told_once_each() {
    for (every, mut bench) in
        CYCLES.into_iter().flat_map(|every| benches(every, 30).map(move |one| (every, one)))
    {
        bench.run(every * 20, Some(every)).told(0);
        let last = bench.next - every;
        let told = bench.run(every * 30 + 300, None).told(last);
        assert_told(&told, Verdict::Missed(Miss::Silent), every);
        let back = bench.now;
        let told = bench.run(every * 50 + 300, Some(every)).told(back);
        let (changes, last): (Vec<_>, _) = (told.iter().map(|(_, verdict)| *verdict).collect(), told.last());
        // Not silent any more is no news; a few good frames are.
        assert_eq!(changes, [Verdict::Missed(Miss::Slow), Verdict::Met], "{every}");
        // Without a timer, a silence is looked at less often.
        let (frames, seen) = if bench.judge.timeout().is_some() { (6, 0) } else { (13, 200) };
        assert!(last.is_some_and(|(at, _)| *at <= every * frames + seen + 30), "{every}: {told:?}");
    }
}

#[test]
fn silence_is_told_in_time_and_not_too_early_however_expensive_readings_are() {
    for (every, within) in [5, 20, 25, 33, 49].into_iter().flat_map(|every| [(every, 30), (every, 90)]) {
        let late = every + (every * u32::from(within) / 100).max(2);
        for mut bench in costly_benches(every, within) {
            bench.run(every * 20, Some(every));
            assert_eq!(bench.told(0), [(0, Verdict::Met)], "every {every} ms within {within} %");
            let last = bench.next - every;
            let told = bench.run(every * 30 + 300, None).told(last);
            assert_told(&told, Verdict::Missed(Miss::Silent), every);
            assert!(told[0].0 >= late, "every {every} ms within {within} %: {told:?}");
        }
    }
}

#[test]
fn what_is_much_too_slow_or_fast_is_told_in_time_however_expensive_readings_are() {
    let cases =
        [20, 25, 33, 49, 50, 100].into_iter().flat_map(|every| [(every, every * 4), (every, every / 4)]);
    for (every, other) in cases {
        for mut bench in costly_benches(every, 30) {
            bench.run(every * 20 + 1, Some(every)).told(0);
            let last = bench.next - every;
            bench.next = last + other;
            let told = bench.run(every * 20, Some(other)).told(last);
            let first = told.first();
            assert!(
                matches!(first, Some((at, Verdict::Missed(_))) if *at <= every * 3 / 2 + 50),
                "every {every} ms, then {other}: {told:?}"
            );
            assert!(told.iter().all(|(_, verdict)| *verdict != Verdict::Met), "{every} {other}: {told:?}");
        }
    }
}

#[test]
fn a_sender_that_slows_down_is_told_once() {
    let cases = CYCLES.into_iter().flat_map(|every| [3, 4, 6].map(|halves| (every, every * halves / 2)));
    for (every, slow) in cases {
        // A late frame of a short cycle cannot be told from a busy machine.
        if slow - every < 4 {
            continue;
        }
        for mut bench in benches(every, 30) {
            // Counts alone need more frames to be sure.
            let is_hard = bench.judge.timeout().is_none() && (slow < every * 2 || every < 10);
            let limit = if is_hard { every * 30 } else { every * 3 / 2 + 50 };
            bench.run(every * 20, Some(every)).told(0);
            let last = bench.next - every;
            bench.next = last + slow;
            let told = bench.run(slow * 60, Some(slow)).told(last);
            let first: Vec<_> = told.iter().take(1).copied().collect();
            assert!(
                matches!(first[..], [(at, Verdict::Missed(_))] if at <= limit),
                "{every} {slow}: {told:?}"
            );
            assert!(told.iter().all(|(_, verdict)| *verdict != Verdict::Met), "{every} {slow}: {told:?}");
            bench.run(every * 30 + 100, Some(every));
            assert_eq!(bench.judge.verdict(), Verdict::Met, "{every} {slow}");
        }
    }
}

#[test]
fn a_sender_that_speeds_up_is_told_once() {
    for (every, divisor) in [20, 24, 50, 100, 1000].into_iter().flat_map(|every| [(every, 4), (every, 2)]) {
        let fast = every / divisor;
        for mut bench in benches(every, 30) {
            bench.run(every * 20 + 1, Some(every)).told(0);
            let last = bench.next - every;
            bench.next = last + fast;
            let told = bench.run(every * 20, Some(fast)).told(last);
            assert!(matches!(told[..], [(_, Verdict::Missed(Miss::Fast))]), "{every} {fast}: {told:?}");
            // Twice as fast is the worst case: it takes three frames to be sure.
            assert!(told[0].0 <= every * 3 / 2 + 50, "{every} {fast}: {told:?}");
            let told = bench.run(every * 30, Some(every)).told(last);
            assert!(matches!(told[..], [(_, Verdict::Met)]), "{every} {fast}: {told:?}");
        }
    }
}

#[test]
fn jitter_within_the_limits_and_a_single_late_frame_are_no_news() {
    let mut bench = Bench::new(20, 30);
    bench.run(400, Some(20)).told(0);
    for jitter in [17, 24, 16, 25, 20, 15, 25, 22, 18] {
        bench.late_frame(jitter);
    }
    // The sender was not run for a while, and makes up for it.
    for late in [38, 44] {
        bench.run(200, Some(20));
        bench.late_frame(late);
        bench.late_frame(1);
    }
    assert_eq!(bench.run(500, Some(20)).told(0), []);
}

#[test]
fn a_sender_that_is_as_slow_or_fast_as_allowed_is_no_news() {
    let allowed = |every: u32| [75, 90, 110, 122, 125].map(|percent| (every, every * percent / 100));
    for (every, cycle) in [8, 20, 25, 33, 40, 49, 50, 100].into_iter().flat_map(allowed) {
        for mut bench in benches(every, 30).chain(costly_benches(every, 30)) {
            bench.run(every * 4, Some(every)).told(0);
            let told = bench.run(every * 60, Some(cycle)).told(0);
            assert_eq!(told, [], "every {every} ms within 30 %, and they come every {cycle} ms");
        }
    }
}

#[test]
fn a_machine_that_stood_still_is_excused_once() {
    let mut bench = Bench::new(20, 30);
    bench.run(400, Some(20)).told(0);
    bench.judge.overdue(bench.at());
    let stalled = bench.at() + MS * 150;
    bench.judge.excuse(MS * 120, stalled);
    bench.judge.tick(stalled);
    assert_eq!(bench.judge.verdict(), Verdict::Met);
    bench.judge.excuse(MS * 50, stalled + MS * 101);
    bench.judge.tick(stalled + MS * 101);
    assert_eq!(bench.judge.verdict(), Verdict::Missed(Miss::Silent));
}

#[test]
fn frames_of_another_kind_end_a_silence() {
    let mut bench = Bench::new(20, 30);
    bench.run(400, Some(20)).told(0);
    let at = bench.at();
    bench.judge.overdue(at);
    bench.judge.counted(at, at, 20);
    bench.judge.counted(at + MS * 10, at + MS * 10, 21);
    bench.judge.tick(at + MS * 100);
    assert_eq!(bench.judge.verdict(), Verdict::Met);
}

#[test]
fn a_sender_that_left_is_missed_at_its_deadline_and_an_interface_that_left_is_not() {
    let mut bench = Bench::new(20, 30);
    bench.run(400, Some(20));
    bench.judge.stop();
    bench.judge.tick(bench.at() + MS * 10_000);
    assert_eq!(bench.judge.verdict(), Verdict::Met);
    bench.judge.left(bench.at());
    bench.judge.tick(bench.at() + MS * 20);
    assert_eq!(bench.judge.verdict(), Verdict::Met);
    bench.judge.tick(bench.at() + MS * 80);
    assert_eq!(bench.judge.verdict(), Verdict::Missed(Miss::Silent));
}
