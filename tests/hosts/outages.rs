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
    report::Silence,
    shell::{number_from, say},
};

/// How soon frames must cross again once the wire is back.
const BACK_WITHIN: Duration = Duration::from_secs(2);
/// The default of `span-age`.
const AGE: Duration = Duration::from_millis(100);
/// From the check on arrival until the listener has read the frame; on a busy machine in addition what a listener on that
/// host needs for a frame of its own bus.
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
    // A long run has long outages too.
    let lengths: &[u64] = if count > 20 { &[200, 200, 700, 700, 3_000, 60_000] } else { &[200, 700, 3_000] };
    say(&format!("{count} outages, CANHUB_OUTAGES_SEED={seed}"));
    let mut dice = Dice::new(seed);
    let (a, b) = two();
    let options = ["span=cut"];
    let buses = [&a, &b].map(|host| Bus::new(host, "cut", &options));
    until_joined(&buses[0].hub(8), &buses[1].hub(9));

    let flow = Flow::start(&buses, 400);
    let mut outages: Vec<(u64, u64)> = Vec::new();
    for outage in 0..count {
        sleep(Duration::from_millis(1_000 + dice.below(1_000) as u64));
        // The first ones are one of each.
        let length = *lengths.get(outage).unwrap_or_else(|| dice.pick(lengths));
        let cut = [&a, &b][dice.below(2)];
        let began = now_ms();
        cut.wire(&format!("cut {length}"));
        // Between the order and the cut are a few milliseconds.
        outages.push((began, now_ms() + length));
        sleep(Duration::from_millis(length) + BACK_WITHIN);
    }
    let end = flow.end();

    for (from, heard) in end.local() {
        assert!(heard.longest_gap_ms < LOCAL_GAP_MS, "{from}: its own bus was disturbed: {heard:?}");
        assert!(heard.streams.iter().all(|stream| stream.missing == 0), "{from}: {heard:?}");
    }
    // The frames from a are heard on b, and the other way round.
    let own: Vec<u64> = end.local().map(|(_, own)| own.age.map_or(0, |age| age.max_us)).collect();
    let [(a_ahead, a_sure), (b_ahead, b_sure)] = [a.clock_ahead(), b.clock_ahead()];
    let clocks = [b_ahead - a_ahead, a_ahead - b_ahead];
    say(&format!("the clock of b is {} us ahead of a's, give or take {}", clocks[0], a_sure + b_sure));
    for (((from, heard), own), ahead) in end.far().zip(own.into_iter().rev()).zip(clocks) {
        end.assert_accounted(from);
        let shown = heard.age.unwrap_or_else(|| panic!("{from}: nothing was heard")).max_us;
        let oldest = shown as i64 - ahead;
        let limit = (AGE + DELIVERY).as_micros() as i64 + own as i64 + a_sure + b_sure;
        assert!(oldest <= limit, "{from}: a frame was {oldest} us old: {heard:?}");
        for Silence { from_ms, until_ms } in &heard.silences {
            let cause = outages.iter().rev().find(|(began, _)| began <= until_ms);
            let Some((_, joined)) = cause.filter(|(began, _)| from_ms + 300 >= *began) else { continue };
            // Once frames crossed again, a short silence is a busy machine, and a longer one is the same outage.
            if from_ms > joined && until_ms - from_ms < LOCAL_GAP_MS {
                continue;
            }
            let late = until_ms.saturating_sub(*joined);
            assert!(
                late <= BACK_WITHIN.as_millis() as u64,
                "{from}: back {late} ms after the wire: {outages:?} {heard:?}"
            );
        }
        let latest = |(_, joined): &(u64, u64)| {
            heard
                .silences
                .iter()
                .filter(|s| s.from_ms <= *joined)
                .map(|s| s.until_ms.saturating_sub(*joined))
                .max()
        };
        say(&format!(
            "{count} outages, {from}: {}; oldest frame {oldest} us; back at most {:?} ms after the wire",
            end.summary(from),
            outages.iter().filter_map(latest).max()
        ));
    }
}
