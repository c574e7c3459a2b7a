//! The token bucket (`sch_tbf`) that paces a container end.
//!
//! The kernel takes the size of a frame's `skb` for its length, 16 bytes for any classic frame and 72 for any FD frame,
//! which is not its length on a CAN bus. A size table (`TCA_STAB`) replaces these sizes, so one bucket handles both
//! kinds. The kernel does not report the table, only its `struct tc_sizespec`, whose fields `mpu` and `mtu` it stores
//! but never uses (`__qdisc_calculate_pkt_len` in `net/sched/sch_api.c`): canhub stores the two sizes there, to read
//! them back.

use rtnetlink::packet_core::{DefaultNla, parse_u32};

use super::{TCA_OPTIONS, TCA_STAB, attribute, nested};
use crate::kernel::{CAN_MTU, CANFD_MTU};

const TCA_STAB_BASE: u16 = 1;
const TCA_STAB_DATA: u16 = 2;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_BURST: u16 = 6;

/// `TC_LINKLAYER_ETHERNET`: sizes in bytes, so no rate table is needed.
const LINKLAYER_ETHERNET: u8 = 1;
/// A tick of `psched`, the unit of a bucket's size, is 2⁶ ns.
pub(super) const TICK_SHIFT: u32 = 6;
const BITS: u32 = 8;

/// The limit of a bucket's queue in classic frames. A socket blocks its writer after about 290
/// (`net.core.wmem_default`), so only frames without a socket, forwarded by a container's own can-gw rules, can ever
/// fill it.
const QUEUE_FRAMES: u32 = 16 * 1024;

/// How fast an end may send, and the frame sizes that the bucket assumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// In bit/s, a multiple of eight.
    pub rate: u32,
    /// The size of a classic frame, in bytes.
    pub classic: u16,
    /// The size of an FD frame, in bytes.
    pub fd: u16,
    /// The burst size in bytes: what may be sent at once after a pause. A larger frame is never sent.
    pub burst: u32,
}

impl Pace {
    /// The pace of a bucket as the kernel reports it: its options and its size table. `None` if somebody changed it.
    pub(super) fn parse(options: &[u8], table: &[u8]) -> Option<Self> {
        let (rate, limit, burst) = attribute(options, TCA_TBF_PARMS, parse_bucket)?;
        let (classic, fd) = attribute(table, TCA_STAB_BASE, parse_sizes)?;
        Some(Self { rate, classic, fd, burst }).filter(|pace| pace.limit() == limit)
    }

    pub(super) fn limit(self) -> u32 {
        QUEUE_FRAMES * u32::from(self.classic)
    }

    /// The size of each `skb` up to an FD frame. Sizes in between do not occur.
    fn sizes(self) -> Vec<u8> {
        let size = |length: u32| if length <= CAN_MTU { self.classic } else { self.fd };
        (0..=CANFD_MTU).flat_map(|length| size(length).to_ne_bytes()).collect()
    }

    pub(super) fn options(self) -> DefaultNla {
        // struct tc_ratespec: cell_log, linklayer, overhead, cell_align, mpu, rate in bytes per second.
        let rate =
            [&[0, LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0][..], &(self.rate / BITS).to_ne_bytes()].concat();
        // struct tc_tbf_qopt: rate, peak rate, limit, buffer, mtu. The bucket size in bytes is a separate attribute.
        let parameters = [&rate[..], &[0; 12], &self.limit().to_ne_bytes(), &[0; 8]].concat();
        let burst = DefaultNla::new(TCA_TBF_BURST, self.burst.to_ne_bytes().to_vec());
        nested(TCA_OPTIONS, &[DefaultNla::new(TCA_TBF_PARMS, parameters), burst])
    }

    pub(super) fn size_table(self) -> DefaultNla {
        // struct tc_sizespec: cell_log, size_log, cell_align, overhead, linklayer, mpu, mtu, tsize.
        let words = [0, 0, 0, u32::from(self.classic), u32::from(self.fd), CANFD_MTU + 1];
        let base = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let base = DefaultNla::new(TCA_STAB_BASE, base);
        nested(TCA_STAB, &[base, DefaultNla::new(TCA_STAB_DATA, self.sizes())])
    }
}

/// Rate in bit/s, limit and bucket size in bytes.
fn parse_bucket(parameters: &[u8]) -> Option<(u32, u32, u32)> {
    let word = |at: usize| parse_u32(parameters.get(at..at + 4)?).ok();
    let (rate, limit, ticks) = (word(8)?, word(24)?, word(28)?);
    // The kernel stores the size as a duration.
    let burst = ((u64::from(ticks) << TICK_SHIFT) as f64 * f64::from(rate) / 1e9).round();
    Some((rate.checked_mul(BITS)?, limit, burst as u32))
}

/// The sizes of a classic and of an FD frame, if everything else is as canhub sets it.
fn parse_sizes(base: &[u8]) -> Option<(u16, u16)> {
    let word = |at: usize| parse_u32(base.get(at..at + 4)?).ok();
    let plain = [word(0)?, word(4)?, word(8)?, word(20)?] == [0, 0, 0, CANFD_MTU + 1];
    let size = |at: usize| u16::try_from(word(at)?).ok();
    Some((size(12)?, size(16)?)).filter(|_| plain)
}
