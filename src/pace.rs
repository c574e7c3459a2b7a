//! Pacing: the option `rate`, and how long a frame takes on a CAN bus.
//!
//! can-gw cannot block a writer: frames that an adapter cannot send in time would be lost without an error. So the
//! container end has a token bucket (`src/kernel/qdisc.rs`) that lets frames out no faster than the bus can carry them;
//! a writer then blocks or gets `EAGAIN`, as on hardware. The bucket does not know the real length of a frame, only
//! whether it is classic or FD, so it assumes the longest one with an 11-bit identifier.
//!
//! **Classic, 8 bytes:** 1 start bit, 11 identifier, 3 control, 4 length, 64 data and 15 CRC bits, to which bit
//! stuffing adds at most a quarter of all but the first (98 bits: 24); then 10 bits to the end of the frame and 3 to
//! the next one: 135 bits (ISO 11898-1:2015, 10.4 and 10.5).
//!
//! **FD, 64 bytes, with bit rate switching:** at the bitrate 17 bits up to and including BRS, 4 stuff bits, and 13
//! after the CRC: 34. At the data bitrate ESI, 4 length and 512 data bits, at most 129 stuff bits, and the CRC of 25
//! bits with its 7 fixed stuff bits: 678.
//!
//! Frames can be longer (29-bit identifiers, no bit rate switching), and other nodes use the bus too: for that,
//! [`crate::shares`] watches the adapter's queue.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    adapter::{Settings, bits_per_second},
    kernel::{CANFD_MTU, Link, Pace, Timing},
};

const CLASSIC_BITS: u64 = 135;
const FD_BITS: u64 = 34;
const FD_DATA_BITS: u64 = 678;
/// The burst in ms. A timer may be late by so much and the bus is used all the same; later, its time is lost. In frames it is
/// small compared to the adapter's queue.
const BURST_MS: u32 = 10;
/// The burst is at most this part of a queue that somebody made short.
const BURST_PART: u32 = 4;
/// In bit/s. With less, a frame takes longer than any program waits; with more, the kernel itself is slower.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=100_000_000;

/// The value of the option `rate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// The container is not paced.
    Off,
    /// Paced as on a bus with this bitrate, in bit/s.
    Bits(u32),
}

/// The bitrates of a bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wire {
    /// Of classic frames and of the arbitration phase, in bit/s.
    pub bitrate: u32,
    /// Of the data phase of FD frames in bit/s, if there is one.
    pub dbitrate: Option<u32>,
}

impl Wire {
    /// The bitrates of an adapter: as requested, or else the current ones. `None` if neither is known.
    pub fn of(settings: &Settings, adapter: Option<&Link>) -> Option<Self> {
        let controller = adapter.and_then(|link| link.controller.as_deref());
        let is = |timing: Option<Timing>| timing.map(|timing| timing.bitrate);
        let bitrate = settings.bitrate.or_else(|| is(controller?.timing))?;
        Some(Self { bitrate, dbitrate: settings.dbitrate.or_else(|| is(controller?.data_timing)) })
    }

    /// The pace of a container on this bus at `rate` bit/s, whose interface has this MTU. `queue`: the length of the adapter's
    /// queue in frames, if somebody chose it.
    pub fn pace(self, rate: u32, mtu: u32, queue: Option<u32>) -> Pace {
        let bitrate = u64::from(self.bitrate);
        // A data phase is never slower than the arbitration phase.
        let dbitrate = self.dbitrate.map_or(bitrate, u64::from).max(bitrate).max(1);
        let fd = FD_BITS + (FD_DATA_BITS * bitrate).div_ceil(dbitrate);
        let bytes = |bits: u64| u16::try_from(bits.div_ceil(8)).unwrap_or(u16::MAX);
        let (classic, fd) = (bytes(CLASSIC_BITS), bytes(fd));
        // The table ends with FD frames; an XL frame counts as several of them (`__qdisc_calculate_pkt_len`).
        let largest = u32::from(fd.max(classic)) * mtu.div_ceil(CANFD_MTU + 1);
        // The kernel logs a warning if a bucket is smaller than the MTU.
        let fits = queue.map_or(u32::MAX, |frames| (frames / BURST_PART).saturating_mul(u32::from(classic)));
        let burst = (rate / 8 / 1000 * BURST_MS).min(fits).max(largest).max(mtu);
        Pace { rate: rate / 8 * 8, classic, fd, burst }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Bits(rate) => write!(f, "{rate}"),
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    /// `off`, or bits per second, also in the form `500k` or `1M`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("off") {
            return Ok(Self::Off);
        }
        bits_per_second(text).filter(|rate| RATES.contains(rate)).map(Self::Bits).ok_or_else(|| {
            let (slowest, fastest) = RATES.into_inner();
            format!(
                "must be off or a number of bits per second from {slowest} to {fastest}, like 500000 or 500k"
            )
        })
    }
}

impl Serialize for Rate {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_off_or_bits_per_second() {
        for (text, rate) in [
            ("off", Rate::Off),
            ("OFF", Rate::Off),
            ("500000", Rate::Bits(500_000)),
            ("500k", Rate::Bits(500_000)),
            ("1M", Rate::Bits(1_000_000)),
            ("1000", Rate::Bits(1_000)),
        ] {
            assert_eq!(text.parse(), Ok(rate));
            assert_eq!(rate.to_string().parse(), Ok(rate));
        }
        for text in [
            "",
            "0",
            "0k",
            "-1",
            "+5000",
            "on",
            "fast",
            "k",
            "1.5M",
            "500 k",
            "999",
            "101M",
            "9999999999",
            "5000M",
        ] {
            let err = text.parse::<Rate>().unwrap_err();
            assert!(err.contains("off") && err.contains("1000 to 100000000"), "{text}: {err}");
        }
    }

    #[test]
    fn frame_sizes_correspond_to_their_time_on_the_bus() {
        let pace = |bitrate, dbitrate| Wire { bitrate, dbitrate }.pace(bitrate, CANFD_MTU, None);
        // 3,676 frames per second; a bus carries at most 500,000 / 111 and at least 500,000 / 135 = 3,703 of 8 bytes.
        assert_eq!(pace(500_000, None), Pace { rate: 500_000, classic: 17, fd: 89, burst: 620 });
        let short = Wire { bitrate: 500_000, dbitrate: None }.pace(500_000, CANFD_MTU, Some(40));
        assert_eq!(short.burst, 170, "ten frames of forty");
        assert_eq!(pace(500_000, Some(2_000_000)).fd, 26);
        assert_eq!(pace(500_000, Some(5_000_000)).fd, 13);
        assert_eq!(pace(1_000_000, Some(500_000)).fd, 89);
        assert_eq!(pace(83_333, None).rate, 83_328, "whole bytes, as the kernel counts");
        // The kernel counts an XL frame of 2,060 bytes as 28 FD frames and a classic one.
        assert!(Wire { bitrate: 500_000, dbitrate: None }.pace(500_000, 2060, None).burst >= 28 * 89 + 17);
    }
}
