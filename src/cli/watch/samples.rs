//! Frames for the tests.

use std::fs;

use socketcan::{CanDataFrame, CanFdFrame, EmbeddedFrame as _, ExtendedId, StandardId, id::FdFlags};

use crate::frames::{CanAnyFrame, Lost, Record, Timestamp, dbc::Database, table::Table};

const EVERYTHING: &str = include_str!("../../../tests/e2e/watch/everything.dbc");
const MS: u64 = 1_000_000;
/// 2026-11-28T10:14:26Z: in the tests, the end of what was heard.
pub(super) const NOW: Timestamp = Timestamp(1_795_860_866_000_000_000);

pub(super) fn database() -> Database {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), EVERYTHING).unwrap();
    Database::load(&[file.path()]).unwrap()
}

pub(super) fn standard(id: u16, data: &[u8]) -> CanAnyFrame {
    CanDataFrame::new(StandardId::new(id).unwrap(), data).unwrap().into()
}

pub(super) fn extended(id: u32, data: &[u8]) -> CanAnyFrame {
    CanDataFrame::new(ExtendedId::new(id).unwrap(), data).unwrap().into()
}

pub(super) fn fd(id: u16, data: &[u8]) -> CanAnyFrame {
    CanFdFrame::with_flags(StandardId::new(id).unwrap(), data, FdFlags::BRS).unwrap().into()
}

/// A frame that came this many ms before [`NOW`].
pub(super) fn record(ago: u64, sender: &str, frame: CanAnyFrame) -> Record {
    Record { time: Timestamp(NOW.0 - ago * MS), sender: sender.parse().unwrap(), frame }
}

/// Twelve seconds of a bus: a door whose speed rises, an engine, an extended id from the host that fell silent, and a
/// lock that sends the engine's id.
pub(super) fn records() -> Vec<Record> {
    let mut records = Vec::new();
    for ago in (0..12_000).rev() {
        let since = 12_000 - ago;
        if ago % 20 == 0 {
            let speed = (since as u16).to_be_bytes();
            let data = [speed[0], speed[1], 0x64, 0xFF, 3, 0, 0, 2];
            records.push(record(ago, "door", standard(0x1A0, &data)));
        }
        if ago % 100 == since % 3 {
            let page = (ago / 100 % 2) as u8;
            records.push(record(ago, "engine", standard(0x2A0, &[page, 1, 2, 0, 0, 0, 0, 7])));
        }
        if ago % 1000 == 0 && ago >= 5000 {
            records.push(record(ago, "(host)", extended(0x18FE_E527, &[0; 8])));
        }
    }
    records.push(record(0, "lock", standard(0x2A0, &[0, 0, 0, 0, 0, 0, 0, 0])));
    records
}

pub(super) fn table() -> Table {
    let mut table = Table::default();
    super::terminal::add(&mut table, &database(), &mut records(), Lost::default());
    table
}
