//! One row per id and sender, and what it says.

use socketcan::{CanDataFrame, CanRemoteFrame, EmbeddedFrame as _, StandardId};

use super::*;

const MS: u64 = 1_000_000;
/// Some time in 2026, at the start of a part.
const START: u64 = 1_795_000_000_000_000_000;

fn id(id: u16) -> StandardId {
    StandardId::new(id).unwrap()
}

fn at(ms: u64) -> Timestamp {
    Timestamp(START + ms * MS)
}

fn record(ms: u64, sender: &str, data: &[u8]) -> Record {
    let frame = CanDataFrame::new(id(0x1A0), data).unwrap().into();
    Record { time: at(ms), sender: sender.parse().unwrap(), frame }
}

fn key(sender: &str) -> Key {
    Key { id: 0x1A0, sender: sender.parse().unwrap() }
}

#[test]
fn two_senders_of_one_id_are_two_rows_and_so_are_remote_frames() {
    let mut table = Table::default();
    for sender in ["door", "lock", "(host)", "door"] {
        table.add(&record(0, sender, &[1]), 0);
    }
    let remote = CanRemoteFrame::new_remote(id(0x1A0), 0).unwrap().into();
    table.add(&Record { frame: remote, ..record(0, "lock", &[]) }, 0);
    let rows: Vec<_> = table.rows().map(|(key, row)| (key.sender.to_string(), row.count)).collect();
    let expected = [("door", 2), ("lock", 1), ("(host)", 1), ("lock", 1)];
    assert_eq!(rows, expected.map(|(sender, count)| (sender.to_owned(), count)));
}

#[test]
fn cycle_time_and_jitter_are_those_of_the_last_intervals() {
    let mut table = Table::default();
    let mut time = 0;
    for interval in std::iter::repeat_n(500, 10).chain([18, 22].repeat(16)) {
        table.add(&record(time, "door", &[]), 0);
        time += interval;
    }
    table.add(&record(time, "door", &[]), 0);
    let row = table.row(&key("door")).unwrap();
    let ms = Duration::from_millis;
    assert_eq!((row.cycle(), row.jitter()), (Some(ms(20)), Some(ms(2))));
    assert_eq!(row.extremes(), Some((ms(18), ms(22))));
    assert_eq!(row.rate(at(time)), 50.0);
    assert!(!row.is_silent(at(time + 900)) && row.is_silent(at(time + 1001)));
    assert_eq!(row.rate(at(time + 1001)), 0.0);
}

#[test]
fn a_slow_id_is_not_silent_between_its_frames() {
    let mut table = Table::default();
    table.add(&record(0, "door", &[]), 0);
    assert!(!table.row(&key("door")).unwrap().is_silent(at(60_000)), "nobody knows its cycle");
    table.add(&record(5000, "door", &[]), 0);
    let row = table.row(&key("door")).unwrap();
    assert!(!row.is_silent(at(19_000)) && row.is_silent(at(20_001)));
}

#[test]
fn bytes_are_fresh_for_a_second_after_they_changed() {
    let mut table = Table::default();
    let fresh = |table: &Table, ms| {
        let row = table.row(&key("door")).unwrap();
        (0..4).map(|byte| row.is_fresh(byte, at(ms))).collect::<Vec<_>>()
    };
    table.add(&record(0, "door", &[1, 2, 3]), 0);
    assert_eq!(fresh(&table, 0), [false; 4], "the first frame is no change");
    table.add(&record(100, "door", &[1, 9, 3]), 0);
    table.add(&record(200, "door", &[1, 9, 3, 4]), 0);
    assert_eq!(fresh(&table, 1050), [false, true, false, true]);
    assert_eq!(fresh(&table, 1150), [false, false, false, true]);
    table.add(&record(1200, "door", &[1]), 0);
    assert_eq!(fresh(&table, 1200), [false; 4]);
}

#[test]
fn rate_and_load_are_those_of_the_last_second() {
    let mut table = Table::new(Some(Wire { bitrate: 125_000, data_bitrate: None }));
    for ms in (0..2000).step_by(2) {
        table.add(&record(ms, "door", &[0x55; 8]), 0);
    }
    assert_eq!(table.rate(at(2000)), 500);
    // 500 frames of 111 to 135 bits.
    let load = table.load(at(2000)).unwrap();
    assert!((0.44..0.54).contains(&load), "{load}");
    assert_eq!(table.rate(at(2500)), 250, "half of the second was silent");
    assert_eq!((table.rate(at(9000)), table.load(at(9000))), (0, Some(0.0)));
    assert_eq!(Table::default().load(at(0)), None);
}

#[test]
fn a_clock_that_is_set_back_disturbs_nothing_for_long() {
    let mut table = Table::default();
    for ms in (0..1000).chain(10_000..11_000).chain(5000..6500) {
        table.add(&record(ms, "door", &[]), 0);
    }
    assert_eq!(table.rate(at(6500)), 1000);
    assert!(table.parts.len() <= PARTS as usize + 1);
}

#[test]
fn memory_is_bounded() {
    let mut table = Table::default();
    for number in 0..ROWS_MAX as u64 + 7 {
        table.add(&record(0, &format!("sender{number}"), &[]), 0);
    }
    assert_eq!((table.rows().count(), table.without_row), (ROWS_MAX, 7));
    for ms in 0..100_000 {
        table.add(&record(ms, "sender1", &[1]), 0);
    }
    let samples = table.row(&key("sender1")).unwrap().history().count();
    assert!((300..=302).contains(&samples), "{samples}");
}

#[test]
fn each_multiplexer_value_has_its_own_samples() {
    let mut table = Table::default();
    for ms in (0..10_000).step_by(50) {
        let page = ms / 50 % 2;
        table.add(&record(ms, "door", &[page as u8]), page);
    }
    let row = table.row(&key("door")).unwrap();
    assert_eq!(row.latest(), [(at(9950), &[1][..]), (at(9900), &[0][..])]);
    for page in [0, 1] {
        let samples = row.history().filter(|(_, data)| **data == [page]).count();
        assert_eq!(samples, 101, "100 and the last one");
    }
}
