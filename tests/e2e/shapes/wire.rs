//! The same on a bus with an adapter, whose wire is shared by containers that are paced.

use std::time::Duration;

use super::{Bench, assert_all, assert_part, exchange, late, numbers};
use crate::{
    pacing::carried,
    support::{host::ip_link, member::Running, report::Sent, shell::eventually, slcan::Wire},
};

const BITRATE: u32 = 500_000;

#[test]
fn beside_an_adapter_and_its_shares_each_way_is_as_asked_for() {
    let wire = Wire::timed(0.0);
    let [adapter, far] = ["slcan-shaped", "slcan-far"].map(|name| wire.plug(name));
    ip_link(&["set", "slcan-far", "txqueuelen", "1000", "type", "can", "bitrate", &BITRATE.to_string()]);
    ip_link(&["set", "slcan-far", "up"]);
    let bitrate = format!("bitrate={BITRATE}");
    let bench = Bench::behind("slcan-far", &["adapter=slcan-shaped", &bitrate, "frames=classic"]);
    let shapes = ["loss=20%", "duplicate=10%", "delay=30ms", "jitter=10ms", "rx-loss=40%", "rx-delay=50ms"];
    let (one, other) = bench.connect(&shapes);

    // Both send more than the wire carries.
    let count = 4_000;
    let members = [bench.one.member("can0", 1), bench.other.member("can0", 2)];
    let senders = members.each_ref().map(|member| member.start_sending(&["--count", &count.to_string()]));
    eventually("the wire is shared", || {
        let status = bench.bus.status();
        let members = status["members"].as_array().expect("it lists members");
        let are_slowed = members.iter().all(|one| one["rate"].as_u64() < Some(BITRATE.into()));
        if are_slowed { Ok(()) } else { Err(format!("{status:#}")) }
    });
    assert_eq!(senders.map(|sender| Running::end::<Sent>(sender).sent), [count; 2]);
    wire.until_silent();
    let carried = carried(&wire);
    assert!(carried[&2].iter().copied().eq(0..count), "who is not shaped loses nothing");
    let mut shaped = carried[&1].clone();
    assert!(shaped.is_sorted(), "in order");
    let all = shaped.len();
    shaped.dedup();
    // One that is lost and doubled arrives, and a duplicate may be lost, too.
    assert_part("at least once", shaped.len(), 1.0 - 0.2 * 0.9, count as usize);
    assert_part("twice", all - shaped.len(), 0.1 * 0.8 * 0.8, count as usize);

    let ms = Duration::from_millis;
    let (sent, heard) = exchange(&one, &[&other, &bench.host], 500, ms(1));
    let [for_one, for_all] = [0, 1].map(|at: usize| {
        // A duplicate can pass for the frame itself: a raw socket knows a frame by its place in memory (raw_rcv in
        // net/can/raw.c), which the duplicate may have got after it.
        let mut heard = numbers(&heard[at]);
        heard.dedup();
        heard
    });
    assert!(for_one.is_sorted(), "in order");
    assert_eq!(for_one, for_all, "a frame is lost for all");
    let least = late(&sent, &heard[1]).into_iter().min().expect("some arrive");
    assert!(least >= ms(20), "{least:?}");

    let (sent, heard) = exchange(&bench.host, &[&one, &other], 500, ms(1));
    assert_part("to hear", heard[0].len(), 0.6, 500);
    assert!(numbers(&heard[0]).is_sorted(), "in order");
    let least = late(&sent, &heard[0]).into_iter().min().expect("some arrive");
    assert!(least >= ms(50), "{least:?}");
    assert_all("nobody else's", &heard[1], 500);
    bench.assert_well();
    drop(bench);
    drop((adapter, far));
}
