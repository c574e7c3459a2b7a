//! Frames on their way into a TCP connection, while the kernel has no room.

use std::{collections::VecDeque, io, time::Duration};

use canhub::frames::CanAnyFrame;

use crate::{cannelloni::tcp, flow::Moment};

/// Bytes that wait at most: some 1,500 classic frames.
const WAITING: usize = 32 << 10;

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    bytes: VecDeque<u8>,
    /// Length and time of each frame in `bytes`.
    frames: VecDeque<(usize, Moment)>,
    /// How much of the first frame is gone already: it has to be completed, however old it is.
    gone: usize,
    scratch: Vec<u8>,
}

impl Outgoing {
    /// The first bytes. They count as a frame that never gets old.
    pub(super) fn greet(&mut self, greeting: &[u8]) {
        self.bytes.extend(greeting);
        self.frames.push_back((greeting.len(), Moment(u64::MAX)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Adds a frame that was sent now. Returns whether there was room.
    pub(super) fn push(&mut self, frame: &CanAnyFrame, now: Moment) -> bool {
        self.scratch.clear();
        if self.bytes.len() > WAITING || tcp::put(&mut self.scratch, frame).is_err() {
            return false;
        }
        self.bytes.extend(&self.scratch);
        self.frames.push_back((self.scratch.len(), now));
        true
    }

    /// Drops frames that are older, and returns how many.
    pub(super) fn drop_old(&mut self, now: Moment, age: Duration) -> u64 {
        let is_old = |(_, pushed): &(usize, Moment)| now.since(*pushed) > age;
        // A frame that has begun goes on.
        let begun = usize::from(self.gone > 0);
        let keep = self.frames.front().filter(|_| begun > 0).map_or(0, |(length, _)| length - self.gone);
        let old = self.frames.iter().skip(begun).take_while(|frame| is_old(frame)).count();
        let dropped: usize = self.frames.drain(begun..begun + old).map(|(length, _)| length).sum();
        self.bytes.drain(keep..keep + dropped);
        old as u64
    }

    /// Writes as much as there is room for, and returns how many frames are completely gone.
    ///
    /// # Errors
    /// The connection's, except that there is no room.
    pub(super) fn send(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<u64> {
        let mut sent = 0;
        while !self.bytes.is_empty() {
            let written = match write(self.bytes.as_slices().0) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => break,
                Err(err) => return Err(err),
            };
            self.bytes.drain(..written);
            self.gone += written;
            while let Some(&(length, pushed)) = self.frames.front().filter(|(length, _)| *length <= self.gone)
            {
                self.gone -= length;
                self.frames.pop_front();
                sent += u64::from(pushed != Moment(u64::MAX));
            }
        }
        Ok(sent)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        cannelloni::tcp::{GREETING, Reader},
        parts::{Parts, tests::any_frame},
    };

    const AGE: Duration = Duration::from_millis(100);

    /// The format has no room for a DLC of 9 to 15.
    fn is_same(one: &CanAnyFrame, other: &CanAnyFrame) -> bool {
        let parts =
            |frame| Parts::of(frame).map(|parts| (parts.id, parts.flags, parts.length, parts.data)).unwrap();
        parts(one) == parts(other)
    }

    fn full(_: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    #[test]
    fn nothing_waits_longer_than_its_age_and_memory_is_bounded() {
        let mut out = Outgoing::default();
        out.greet(GREETING);
        let frame = Parts { id: 0x123, flags: 0, length: 8, len8_dlc: 0, data: &[7; 8] }.frame();
        let taken = (0..100_000).filter(|_| out.push(&frame, Moment(0))).count();
        assert!((1000..5000).contains(&taken), "{taken}");
        assert_eq!(out.send(full).unwrap(), 0);
        assert_eq!(out.drop_old(Moment(0) + AGE, AGE), 0);
        assert_eq!(out.drop_old(Moment(1) + AGE, AGE), 0, "the greeting is first and never old");
        let mut room = [GREETING.len()].into_iter();
        assert_eq!(out.send(|_| room.next().map_or_else(|| full(&[]), Ok)).unwrap(), 0);
        assert_eq!(out.drop_old(Moment(1) + AGE, AGE), taken as u64);
        assert!(out.is_empty());
    }

    proptest! {
        /// Whatever is dropped, and however the kernel takes the rest: the other side reads whole frames, in order.
        #[test]
        fn the_other_side_reads_whole_frames_in_order(
            steps in prop::collection::vec((any_frame(), 0..30u64, 0..40usize), 1..60),
        ) {
            let (mut out, mut wire, mut now) = (Outgoing::default(), Vec::new(), 1);
            let (mut pushed, mut gone, mut old) = (Vec::new(), 0, 0);
            out.greet(GREETING);
            for (frame, later, mut room) in steps {
                now += later;
                if out.push(&frame, Moment(now)) {
                    pushed.push(frame);
                }
                old += out.drop_old(Moment(now), Duration::from_nanos(50));
                gone += out.send(|bytes| {
                    let taken = room.min(bytes.len()).min(7);
                    room -= taken;
                    wire.extend_from_slice(&bytes[..taken]);
                    if taken == 0 { full(bytes) } else { Ok(taken) }
                }).unwrap();
            }
            gone += out.send(|bytes| { wire.extend_from_slice(bytes); Ok(bytes.len()) }).unwrap();
            let mut read = Vec::new();
            Reader::default().read(&wire, |frame| read.push(frame)).unwrap();
            prop_assert_eq!(read.len() as u64, gone);
            prop_assert_eq!(gone + old, pushed.len() as u64);
            let mut rest = pushed.iter();
            for frame in &read {
                prop_assert!(rest.any(|pushed| is_same(pushed, frame)));
            }
        }
    }
}
