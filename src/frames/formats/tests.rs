//! All formats write and read all kinds of frames, and survive anything that is not theirs.

use std::{fs::File, io::Cursor, os::unix::fs::FileExt as _};

use proptest::prelude::*;

use super::*;
use crate::frames::{CanAnyFrame, Record, Sender, Timestamp};

fn sender() -> impl Strategy<Value = Sender> {
    prop_oneof![
        "[a-zA-Z0-9][a-zA-Z0-9_.-]{1,40}".prop_map(|name| Sender::Member(name.as_str().into())),
        Just(Sender::Host),
        Just(Sender::Wire),
        Just(Sender::Unknown),
    ]
}

fn frame() -> impl Strategy<Value = CanAnyFrame> {
    let id =
        prop_oneof![(0..0x800u32).prop_map(|id| (id, false)), (0..0x2000_0000u32).prop_map(|id| (id, true))];
    let data = prop::collection::vec(any::<u8>(), 0..=8);
    prop_oneof![
        (id.clone(), data.clone()).prop_map(|((id, extended), data)| parts::classic(id, extended, &data)),
        (id.clone(), 0..=8u8).prop_map(|((id, extended), dlc)| parts::remote(id, extended, dlc)),
        (1..0x2000_0000u32, data).prop_map(|(class, data)| parts::error(class, &data)),
        (id, any::<(bool, bool)>(), prop::collection::vec(any::<u8>(), 0..=64)).prop_map(
            |((id, extended), (brs, esi), data)| parts::fd(id, extended, parts::fd_flags(brs, esi), &data)
        ),
    ]
    .prop_map(Result::unwrap)
}

/// In the order of their times, which start at 2026 or so.
fn records() -> impl Strategy<Value = Vec<Record>> {
    let senders = prop::collection::vec(sender(), 1..4);
    let records = prop::collection::vec((0..3_000_000_000u64, any::<prop::sample::Index>(), frame()), 0..50);
    (1_700_000_000_000_000_000..1_900_000_000_000_000_000u64, senders, records).prop_map(
        |(mut time, senders, records)| {
            let record = |(gap, sender, frame): (u64, prop::sample::Index, CanAnyFrame)| {
                time += gap;
                Record { time: Timestamp(time), sender: sender.get(&senders).clone(), frame }
            };
            records.into_iter().map(record).collect()
        },
    )
}

fn bytes(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn read(format: Format, bytes: Vec<u8>) -> Vec<Result<Record, ReadError>> {
    format.read(Cursor::new(bytes)).collect()
}

fn is_equal(format: Format, read: &Record, written: &Record) -> bool {
    let resolution = if matches!(format, Format::Blf | Format::Pcapng) { 1 } else { 1000 };
    read.frame == written.frame
        && read.sender == written.sender
        && read.time.0 == written.time.0 / resolution * resolution
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn all_that_is_written_is_read_after_each_flush(records in records()) {
        for (_, format) in Format::ALL {
            let file = tempfile::tempfile().unwrap();
            let mut writer = Writer::new(file.try_clone().unwrap(), format);
            for (at, record) in records.iter().enumerate() {
                writer.write(record).unwrap();
                if at % 7 == 3 {
                    writer.flush().unwrap();
                    prop_assert_eq!(writer.kept(), at as u64 + 1);
                    prop_assert_eq!(read(format, bytes(&file)).iter().filter(|record| record.is_ok()).count(), at + 1);
                }
            }
            writer.finish().unwrap();
            let read = read(format, bytes(&file));
            prop_assert_eq!(read.len(), records.len(), "{:?}: {:?}", format, read.last());
            for (read, written) in read.iter().zip(&records) {
                let read = read.as_ref().unwrap();
                prop_assert!(is_equal(format, read, written), "{:?}: {:?} instead of {:?}", format, read, written);
            }
        }
    }

    #[test]
    fn a_file_that_is_cut_anywhere_reads_up_to_there(records in records(), cut in any::<prop::sample::Index>()) {
        for (_, format) in Format::ALL {
            let file = tempfile::tempfile().unwrap();
            let mut writer = Writer::new(file.try_clone().unwrap(), format);
            records.iter().for_each(|record| {
                writer.write(record).unwrap();
                writer.flush().unwrap();
            });
            let mut bytes = bytes(&file);
            bytes.truncate(cut.index(bytes.len() + 1));
            let read = read(format, bytes);
            for (at, record) in read.iter().enumerate() {
                match record {
                    Ok(record) => prop_assert!(is_equal(format, record, &records[at]), "{:?}: {:?}", format, record),
                    Err(err) => prop_assert!(err.is_cut() || at == 0, "{:?}: {}", format, err),
                }
            }
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        for (_, format) in Format::ALL {
            read(format, bytes.clone()).len();
        }
        bytes.splice(0..0, *b"LOGG\x48\0\0\0");
        read(Format::Blf, bytes).len();
    }

    #[test]
    fn no_damage_makes_a_reader_panic(
        records in records(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..10),
    ) {
        for (_, format) in Format::ALL {
            let file = tempfile::tempfile().unwrap();
            let mut writer = Writer::new(file.try_clone().unwrap(), format);
            records.iter().for_each(|record| writer.write(record).unwrap());
            writer.finish().unwrap();
            let mut bytes = bytes(&file);
            for (at, byte) in &damage {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
            }
            read(format, bytes).len();
        }
    }
}

#[test]
fn a_standard_id_with_too_many_bits_does_not_make_a_file_unreadable() {
    // Programs can send such frames on a virtual bus.
    let mut frame = socketcan::frame::can_frame_default();
    frame.can_id = 0x1_0123;
    let written =
        Record { time: Timestamp(1_700_000_000_000_000_000), sender: Sender::Host, frame: frame.into() };
    for (_, format) in Format::ALL {
        let file = tempfile::tempfile().unwrap();
        let mut writer = Writer::new(file.try_clone().unwrap(), format);
        writer.write(&written).unwrap();
        writer.finish().unwrap();
        let frames: Vec<_> =
            read(format, bytes(&file)).into_iter().map(|record| record.unwrap().frame).collect();
        assert_eq!(frames, [parts::classic(0x123, false, &[]).unwrap()], "{format:?}");
    }
}

#[test]
fn the_ending_names_the_format() {
    for (name, format) in [("a.log", Format::CandumpLog), ("b.ASC", Format::Asc), ("c.d.blf", Format::Blf)] {
        assert_eq!(Format::of(Path::new(name)), Ok(format));
    }
    let error = Format::of(Path::new("trace.mf4")).unwrap_err();
    assert!(error.contains("trace.mf4") && error.contains(".pcapng"), "{error}");
}

#[test]
fn a_full_disk_is_an_error_and_keeps_nothing() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut writer = Writer::new(full, Format::CandumpLog);
    let frame = parts::classic(0x123, false, &[1; 8]).unwrap();
    writer.write(&Record { time: Timestamp(1), sender: Sender::Host, frame }).unwrap();
    assert_eq!(writer.flush().unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!((writer.kept(), writer.length()), (0, 39));
}
