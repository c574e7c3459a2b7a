//! The network emulator (`sch_netem`), which delays, loses, duplicates and corrupts frames.
//!
//! With a variable delay it lets frames overtake each other, which frames of one sender never do on a CAN bus. Its `rate`
//! prevents that: each frame is then due after the one before (`netem_enqueue` in `net/sched/sch_netem.c`). The highest
//! rate costs a frame a few nanoseconds.

use std::time::Duration;

use rtnetlink::packet_core::{DefaultNla, Emitable, NlasIterator, parse_u32};

use super::TCA_OPTIONS;

const TCA_NETEM_CORR: u16 = 1;
const TCA_NETEM_REORDER: u16 = 3;
const TCA_NETEM_CORRUPT: u16 = 4;
const TCA_NETEM_RATE: u16 = 6;
const TCA_NETEM_PAD: u16 = 9;
const TCA_NETEM_LATENCY64: u16 = 10;
const TCA_NETEM_JITTER64: u16 = 11;
const TCA_NETEM_PRNG_SEED: u16 = 14;

/// `struct tc_netem_qopt`: latency, limit, loss, gap, duplicate, jitter.
const OPTIONS_LEN: usize = 24;
/// In bytes per second. The rate with all bits set means that there is another attribute with 64 bits.
const IN_ORDER: u32 = u32::MAX - 1;

/// What happens to frames on their way through a link. Parts of the frames are parts of `u32::MAX`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Netem {
    /// How late each frame is.
    pub delay: Duration,
    /// By how much that varies, both ways. Frames stay in order. Less than 2³¹ ns.
    pub jitter: Duration,
    /// How many frames may wait; more are dropped, and their sender gets `ENOBUFS`.
    pub limit: u32,
    /// The part that is lost.
    pub loss: u32,
    /// The part that passes twice.
    pub duplicate: u32,
    /// The part in which one bit is flipped.
    pub corrupt: u32,
}

impl Netem {
    pub(super) fn options(self) -> DefaultNla {
        let words = [0, self.limit, self.loss, 0, self.duplicate, 0];
        let nanos =
            |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX).to_ne_bytes().to_vec();
        let words_of = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
        let rate = if self.jitter.is_zero() { 0 } else { IN_ORDER };
        let attributes = [
            DefaultNla::new(TCA_NETEM_LATENCY64, nanos(self.delay)),
            DefaultNla::new(TCA_NETEM_JITTER64, nanos(self.jitter)),
            // What is not mentioned stays as it is when a qdisc is changed.
            DefaultNla::new(TCA_NETEM_CORR, words_of(&[0; 3])),
            DefaultNla::new(TCA_NETEM_REORDER, words_of(&[0; 2])),
            DefaultNla::new(TCA_NETEM_CORRUPT, words_of(&[self.corrupt, 0])),
            // struct tc_netem_rate: rate, packet overhead, cell size, cell overhead.
            DefaultNla::new(TCA_NETEM_RATE, words_of(&[rate, 0, 0, 0])),
        ];
        let mut value = words_of(&words);
        let mut rest = vec![0; attributes.as_slice().buffer_len()];
        attributes.as_slice().emit(&mut rest);
        value.extend(rest);
        DefaultNla::new(TCA_OPTIONS, value)
    }

    /// The options as the kernel reports them. `None` if they are not as canhub sets them.
    pub(super) fn parse(options: &[u8]) -> Option<Self> {
        let word = |bytes: &[u8], at: usize| parse_u32(bytes.get(at * 4..at * 4 + 4)?).ok();
        let [limit, loss, gap, duplicate] = [1, 2, 3, 4].map(|at| word(options, at));
        let (mut delay, mut jitter, mut corrupt, mut rate) = (None, None, None, None);
        for nla in NlasIterator::new(options.get(OPTIONS_LEN..)?) {
            let nla = nla.ok()?;
            let value = nla.value();
            let nanos = || Some(Duration::from_nanos(u64::from_ne_bytes(value.get(..8)?.try_into().ok()?)));
            match nla.kind() {
                TCA_NETEM_LATENCY64 => delay = nanos(),
                TCA_NETEM_JITTER64 => jitter = nanos(),
                // The correlation follows.
                TCA_NETEM_CORRUPT if word(value, 1) == Some(0) => corrupt = word(value, 0),
                TCA_NETEM_RATE if value.get(4..).is_some_and(is_zero) => rate = word(value, 0),
                TCA_NETEM_CORR | TCA_NETEM_REORDER if is_zero(value) => {}
                // Filling before a number of 64 bits, and a number that the kernel chose.
                TCA_NETEM_PAD | TCA_NETEM_PRNG_SEED => {}
                // A loss model, slots, …
                _ => return None,
            }
        }
        let netem = Self {
            delay: delay?,
            jitter: jitter?,
            limit: limit?,
            loss: loss?,
            duplicate: duplicate?,
            corrupt: corrupt?,
        };
        let is_in_order = rate == Some(if netem.jitter.is_zero() { 0 } else { IN_ORDER });
        (gap == Some(0) && is_in_order).then_some(netem)
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_core::Nla as _;

    use super::*;

    const NETEM: Netem = Netem {
        delay: Duration::from_micros(5_500),
        jitter: Duration::from_millis(2),
        limit: 16_384,
        loss: 1 << 30,
        duplicate: 7,
        corrupt: u32::MAX,
    };

    fn value(netem: Netem) -> Vec<u8> {
        let nla = netem.options();
        let mut value = vec![0; nla.value_len()];
        nla.emit_value(&mut value);
        value
    }

    #[test]
    fn what_is_set_is_read_back_and_changes_are_noticed() {
        let steady = Netem { jitter: Duration::ZERO, ..NETEM };
        for netem in [NETEM, steady, Netem { limit: 1000, ..Netem::default() }] {
            let seed = [4, 0, 9, 0, 12, 0, 14, 0, 1, 2, 3, 4, 5, 6, 7, 8];
            let told = [&value(netem)[..], &seed].concat();
            assert_eq!(Netem::parse(&told), Some(netem));
            // The limit, a gap, one attribute more.
            let changed = |at: usize| {
                let mut told = told.clone();
                told[at] ^= 1;
                Netem::parse(&told)
            };
            assert_ne!(changed(4), Some(netem));
            assert_eq!(changed(12), None);
            assert_eq!(Netem::parse(&[&told[..], &[8, 0, 7, 0, 1, 0, 0, 0]].concat()), None, "ECN");
            assert_eq!(Netem::parse(&told[..OPTIONS_LEN]), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn random_bytes_never_panic(payload in proptest::collection::vec(proptest::num::u8::ANY, 0..120)) {
            Netem::parse(&payload);
        }
    }
}
