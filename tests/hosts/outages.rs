//! The wire between two hosts is cut at random: local buses go on, nothing old arrives afterwards, what is missing is
//! counted.

use std::{
    thread::sleep,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::support::{
    bus::{Bus, until_joined},
    dice::Dice,
    fleet::two,
    flow::Flow,
    report::{Heard, Silence},
    shell::{number_from, say},
};

/// Shorter than the 750 ms after which a silent connection is given up, about as long, and longer.
const LENGTHS_MS: [u64; 3] = [200, 700, 3_000];
/// How soon frames must cross again once the wire is back.
const BACK_WITHIN: Duration = Duration::from_secs(2);
/// The default of `span-age`.
const AGE: Duration = Duration::from_millis(100);
/// From the check on arrival until the listener has read the frame. On a busy machine the sender waits between its stamp and
/// the bus, and the listener before it reads, each as long as for a frame of its own bus.
const DELIVERY: Duration = Duration::from_millis(100);
/// A listener on the sender's host may wait so long on a busy machine; an outage that reached it would be longer.
const LOCAL_GAP_MS: u64 = 1_000;

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right").as_millis() as u64
}

#[test]
fn outages_at_random_deliver_nothing_old_and_count_what_is_lost() {
    let count = number_from("CANHUB_OUTAGES").unwrap_or(6) as usize;
    let seed = number_from("CANHUB_OUTAGES_SEED").unwrap_or_else(now_ms);
    say(&format!("{count} outages, CANHUB_OUTAGES_SEED={seed}"));
    let mut dice = Dice::new(seed);
    let (a, b) = two();
    let options = ["span=cut"];
    let buses = [&a, &b].map(|host| Bus::new(host, "cut", &options));
    until_joined(&buses[0].hub(8), &buses[1].hub(9));

    let flow = Flow::start(&buses, 400);
    let mut outages: Vec<Outage> = Vec::new();
    for outage in 0..count {
        sleep(Duration::from_millis(1_000 + dice.below(1_000) as u64));
        let length = match LENGTHS_MS.get(outage) {
            // The first ones are one of each.
            Some(length) => *length,
            // A long run has some long ones, and still ends.
            None if outage % 20 == 19 => 60_000,
            None => *dice.pick(&LENGTHS_MS),
        };
        let cut = [&a, &b][dice.below(2)];
        let began = now_ms();
        cut.wire(&format!("cut {length}"));
        // Between the order and the cut are a few milliseconds.
        outages.push(Outage { began, joined: now_ms() + length });
        sleep(Duration::from_millis(length) + BACK_WITHIN);
    }
    let end = flow.end();

    for (from, heard) in end.local() {
        assert!(heard.longest_gap_ms < LOCAL_GAP_MS, "{from}: its own bus was disturbed: {heard:?}");
        assert!(heard.streams.iter().all(|stream| stream.missing == 0), "{from}: {heard:?}");
    }
    // The frames from a are heard on b, and the other way round.
    let own: u64 = end.local().map(|(_, own)| own.age.map_or(0, |age| age.max_us)).sum();
    let is_busy = end.local().any(|(_, own)| !own.silences.is_empty());
    let [(a_ahead, a_sure), (b_ahead, b_sure)] = [a.clock_ahead(), b.clock_ahead()];
    let clocks = [b_ahead - a_ahead, a_ahead - b_ahead];
    say(&format!("the clock of b is {} us ahead of a's, give or take {}", clocks[0], a_sure + b_sure));
    for ((from, heard), ahead) in end.far().zip(clocks) {
        end.assert_accounted(from);
        let shown = heard.age.unwrap_or_else(|| panic!("{from}: nothing was heard")).max_us;
        let oldest = shown as i64 - ahead;
        let limit = (AGE + DELIVERY).as_micros() as i64 + own as i64 + a_sure + b_sure;
        assert!(oldest <= limit, "{from}: a frame was {oldest} us old: {heard:?}");
        let silences = silences(heard, if from == "from a" { b_ahead } else { a_ahead });
        // As sure as the clocks are known.
        let within = BACK_WITHIN.as_millis() as u64 + (a_sure + b_sure) as u64 / 1_000;
        let back: Vec<u64> = outages.iter().map(|outage| outage.back_after(&silences, is_busy)).collect();
        assert!(
            back.iter().all(|late| *late <= within),
            "{from}: back {back:?} ms after the wire: {outages:?} {silences:?}"
        );
        // On a busy machine frames get too old, or a connection is lost, without an outage.
        let apart: Vec<u64> = silences
            .iter()
            .filter(|silence| !outages.iter().any(|outage| outage.overlaps(silence)))
            .map(|silence| silence.until_ms - silence.from_ms)
            .collect();
        assert!(
            is_busy || apart.iter().all(|length| *length <= within),
            "{from}: silent for {apart:?} ms without an outage: {outages:?} {silences:?}"
        );
        say(&format!(
            "{count} outages, {from}: {}; oldest frame {oldest} us; back {back:?} ms after the wire; \
             {} silences without an outage, at most {:?} ms",
            end.summary(from),
            apart.len(),
            apart.iter().max(),
        ));
    }
}

/// The wire was cut, in milliseconds since 1970 by this machine's clock.
#[derive(Debug)]
struct Outage {
    began: u64,
    joined: u64,
}

impl Outage {
    /// How long after the wire frames came and went on coming. Once they cross again, a short silence is a busy machine, and so
    /// is a longer one if the hosts did not even hear themselves all the time; else it is the same outage.
    fn back_after(&self, silences: &[Silence], is_busy: bool) -> u64 {
        let (joined, late) = (self.joined, BACK_WITHIN.as_millis() as u64);
        let of_this = |silence: &&Silence| {
            let (from, until) = (silence.from_ms, silence.until_ms);
            let again = !is_busy && from <= joined + late && until - from >= LOCAL_GAP_MS;
            joined < until && (from <= joined || again)
        };
        silences.iter().rev().find(of_this).map_or(0, |silence| silence.until_ms - joined)
    }

    /// Whether it can be the cause of a silence: they have a moment in common.
    fn overlaps(&self, silence: &Silence) -> bool {
        self.began < silence.until_ms && silence.from_ms <= self.joined
    }
}

/// The silences of a listener whose clock is so many microseconds ahead, by this machine's clock.
fn silences(heard: &Heard, ahead_us: i64) -> Vec<Silence> {
    let ours = |theirs: u64| theirs.saturating_add_signed(-ahead_us / 1_000);
    let silences = heard.silences.iter();
    silences.map(|s| Silence { from_ms: ours(s.from_ms), until_ms: ours(s.until_ms) }).collect()
}
