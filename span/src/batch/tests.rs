//! The format, byte by byte.

use proptest::prelude::*;
use socketcan::{EmbeddedFrame as _, Frame as _};

use super::*;
use crate::parts::{FDF, Parts, tests::any_frame};

/// The example of `docs/span-batch.md`.
fn example() -> Vec<u8> {
    let text = include_str!("../../../docs/span-batch.md");
    let block = text.split("```hex\n").nth(1).unwrap().split("```").next().unwrap();
    let digits = block.lines().map(|line| line.split('|').next().unwrap()).collect::<Vec<_>>().join(" ");
    digits.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn header() -> Header {
    Header {
        instance: 0x0123_4567_89AB_CDEF,
        epoch: 1,
        sequence: 42,
        frames_before: 1000,
        base: Moment(5_000_000_000),
        wall: Timestamp(1_795_800_000_000_000_000),
    }
}

#[test]
fn the_example_of_the_description_is_read_and_written() {
    let bytes = example();
    let batch = decode(&bytes).unwrap();
    assert_eq!(batch.header(), &header());
    let frames: Vec<_> = batch.frames().collect();
    let [data, remote, fd] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!(
        (data.time, data.frame.id_word(), data.frame.data()),
        (Moment(5_000_000_000), 0x123, &[0xDE, 0xAD][..])
    );
    assert_eq!((remote.time, remote.frame.id_word()), (Moment(5_000_100_000), 0xD8FE_F100));
    assert_eq!((remote.frame.dlc(), remote.frame.data()), (8, &[][..]));
    let CanAnyFrame::Fd(frame) = fd.frame else { panic!("{fd:?}") };
    assert_eq!(
        (frame.is_brs(), frame.is_esi(), frame.data()),
        (true, false, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12][..])
    );

    let mut encoder = Encoder::default();
    encoder.start(&header());
    for timed in &frames {
        encoder.push(timed).unwrap();
    }
    assert_eq!(encoder.finish(), bytes);
}

#[test]
fn every_wrong_byte_is_refused_with_the_reason() {
    let bytes = example();
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        decode(&bytes).unwrap_err()
    };
    let frame = |frame, fault| BatchError::Frame { frame, fault };
    let (first, second, third) = (HEADER, HEADER + FRAME + 2, HEADER + 2 * FRAME + 2);
    assert_eq!(refused(&|bytes| bytes.truncate(HEADER - 1)), BatchError::Short(HEADER - 1));
    assert_eq!(refused(&|bytes| bytes[0] = b'X'), BatchError::Magic(*b"XHSB"));
    assert_eq!(refused(&|bytes| bytes[4] = 2), BatchError::Version(2));
    assert_eq!(refused(&|bytes| bytes[5] = 1), BatchError::Header("reserved byte", 1));
    assert_eq!(refused(&|bytes| bytes[6] = 4), BatchError::Header("number of frames", 1027));
    assert_eq!(refused(&|bytes| bytes[8..16].fill(0)), BatchError::Header("instance", 0));
    assert_eq!(refused(&|bytes| bytes[16..20].fill(0)), BatchError::Header("epoch", 0));
    assert_eq!(refused(&|bytes| bytes[20..28].fill(0)), BatchError::Header("sequence", 0));
    assert!(matches!(refused(&|bytes| bytes[28] = 0x80), BatchError::Header("number of frames before", _)));
    assert_eq!(refused(&|bytes| bytes[7] = 4), frame(3, Fault::Cut));
    assert_eq!(refused(&|bytes| bytes[7] = 2), BatchError::Trailing(FRAME + 12));
    assert_eq!(refused(&|bytes| bytes.resize(BYTES_MAX + 1, 0)), BatchError::Long(BYTES_MAX + 1));
    assert_eq!(refused(&|bytes| bytes[first + 4] = 0x20), frame(0, Fault::Id(0x2000_0123)), "an error frame");
    assert_eq!(refused(&|bytes| bytes[first + 6] = 0x09), frame(0, Fault::Id(0x923)), "more than 11 bits");
    assert_eq!(refused(&|bytes| bytes[first + 8] = 1), frame(0, Fault::Flags(1)), "BRS without FDF");
    assert_eq!(refused(&|bytes| bytes[third + 8] = 0x85), frame(2, Fault::Flags(0x85)), "CAN XL");
    assert_eq!(refused(&|bytes| bytes[third + 4] = 0x40), frame(2, Fault::Flags(5)), "a remote FD frame");
    assert_eq!(refused(&|bytes| bytes[second + 9] = 9), frame(1, Fault::Length(9)));
    assert_eq!(refused(&|bytes| bytes[third + 9] = 11), frame(2, Fault::Length(11)));
    assert_eq!(refused(&|bytes| bytes[first + 10] = 9), frame(0, Fault::Dlc(9)), "a DLC of 9 with 2 bytes");
    assert_eq!(refused(&|bytes| bytes[third + 10] = 9), frame(2, Fault::Dlc(9)), "a DLC of an FD frame");
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err(), "{length} bytes of it");
    }
}

#[test]
fn a_batch_without_frames_is_a_heartbeat() {
    let mut encoder = Encoder::default();
    encoder.start(&header());
    let batch = decode(encoder.finish()).unwrap();
    assert_eq!((batch.count(), batch.frames().count()), (0, 0));
}

#[test]
fn a_batch_has_limits_and_uses_the_same_memory_again() {
    let mut encoder = Encoder::default();
    let memory = encoder.finish().as_ptr();
    let short = CanAnyFrame::new(socketcan::StandardId::new(1).unwrap(), &[1; 8]).unwrap();
    let long = CanAnyFrame::new(socketcan::StandardId::new(1).unwrap(), &[1; 64]).unwrap();
    for (frame, fits) in [(short, usize::from(FRAMES_MAX)), (long, (BYTES_MAX - HEADER) / (FRAME + 64))] {
        encoder.start(&header());
        let timed = Timed { time: header().base, frame };
        let pushed = (0..2000).take_while(|_| encoder.push(&timed).is_ok()).count();
        assert_eq!(pushed, fits);
        assert_eq!(encoder.push(&timed), Err(PushError::Full));
        assert_eq!(decode(encoder.finish()).unwrap().frames().count(), fits);
    }
    encoder.start(&header());
    let late = Timed { time: Moment(header().base.0 + (1 << 32)), frame: short };
    assert_eq!(encoder.push(&late), Err(PushError::Full));
    assert_eq!(encoder.finish().as_ptr(), memory);
}

proptest! {
    #[test]
    fn frames_come_out_as_they_went_in(frames in prop::collection::vec((0..u64::from(u32::MAX), any_frame()), 0..100)) {
        let mut encoder = Encoder::default();
        encoder.start(&header());
        let sent: Vec<_> = frames
            .into_iter()
            .map(|(after, frame)| Timed { time: Moment(header().base.0 + after), frame })
            .collect();
        for timed in &sent {
            prop_assert_eq!(encoder.push(timed), Ok(()));
        }
        let read: Vec<_> = decode(encoder.finish()).unwrap().frames().collect();
        prop_assert_eq!(read, sent);
    }
}

#[test]
fn a_batch_may_have_all_the_bytes_that_it_may_have() {
    let mut encoder = Encoder::default();
    let (base, wall) = (Moment(5), Timestamp(0));
    encoder.start(&Header { instance: 2, epoch: 1, sequence: 1, frames_before: 0, base, wall });
    let data = [7; 64];
    let mut push = |length: u8| {
        let data = &data[..usize::from(length)];
        let frame = Parts { id: 1, flags: FDF, length, len8_dlc: 0, data }.frame();
        encoder.push(&Timed { time: base, frame })
    };
    while push(64).is_ok() {}
    assert_eq!((push(16), push(12), push(0)), (Err(PushError::Full), Ok(()), Err(PushError::Full)));
    let bytes = encoder.finish();
    assert_eq!((bytes.len(), decode(bytes).unwrap().count()), (BYTES_MAX, 800));
}

#[test]
fn an_fd_frame_of_8_bytes_has_no_other_dlc() {
    let mut encoder = Encoder::default();
    let (base, wall) = (Moment(5), Timestamp(0));
    encoder.start(&Header { instance: 2, epoch: 1, sequence: 1, frames_before: 0, base, wall });
    let frame = Parts { id: 1, flags: FDF, length: 8, len8_dlc: 0, data: &[7; 8] }.frame();
    encoder.push(&Timed { time: base, frame }).unwrap();
    let mut bytes = encoder.finish().to_vec();
    decode(&bytes).unwrap();
    bytes[HEADER + 10] = 9;
    assert_eq!(decode(&bytes).unwrap_err(), BatchError::Frame { frame: 0, fault: Fault::Dlc(9) });
}
