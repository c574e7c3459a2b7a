//! CAN controllers: what `ip -details link show type can` shows and `ip link set … type can` changes.

mod netlink;

use std::fmt;

pub(super) use netlink::{configure, parse, parse_history};

/// A CAN controller as the kernel reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Controller {
    /// Its state on the bus.
    pub state: BusState,
    /// Its error counters, if the driver reports them.
    pub errors: Option<ErrorCounters>,
    /// How often it went bus-off and was restarted since it was plugged in.
    pub history: History,
    /// The clock that its bit timing is divided from, in Hz.
    pub clock: u32,
    /// Bit timing of classic frames and of the arbitration phase; `None` before a bitrate is set.
    pub timing: Option<Timing>,
    /// Bit timing of the data phase of FD frames.
    pub data_timing: Option<Timing>,
    /// The supported bit timings.
    pub range: TimingRange,
    /// The same for the data phase.
    pub data_range: TimingRange,
    /// The transceiver's maximum bitrate in bit/s.
    pub bitrate_max: Option<u32>,
    /// The modes that are on.
    pub modes: Modes,
    /// The modes that the driver supports; `None` before Linux 5.17, which does not report them.
    pub supported: Option<Modes>,
    /// How long after bus-off the kernel restarts the controller, in ms; 0: never.
    pub restart_ms: u32,
    /// Termination in ohms, if it is switchable.
    pub termination: Option<u16>,
    /// The supported terminations, in ohms.
    pub terminations: Vec<u16>,
}

/// `enum can_state`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BusState {
    /// Fewer than 96 errors.
    ErrorActive,
    /// 96 errors or more.
    ErrorWarning,
    /// 128 or more: it may no longer signal errors to the other nodes.
    ErrorPassive,
    /// 256 or more: it is off the bus until restarted.
    BusOff,
    /// Not started.
    #[default]
    Stopped,
    /// Asleep.
    Sleeping,
}

/// `struct can_berr_counter`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ErrorCounters {
    /// Transmit errors.
    pub tx: u16,
    /// Receive errors.
    pub rx: u16,
}

/// Part of `struct can_device_stats`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct History {
    /// Number of bus-off events.
    pub bus_off: u32,
    /// Restarts of the controller, automatic or manual.
    pub restarts: u32,
}

/// The parts of `struct can_bittiming` that canhub uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// In bit/s.
    pub bitrate: u32,
    /// Sample point, in tenths of a percent.
    pub sample_point: u32,
    /// Time quanta per bit: the sample point moves in steps of one quantum.
    pub quanta: u32,
}

/// The bit timings that a controller supports: any that its divider reaches, or a fixed list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TimingRange {
    /// `struct can_bittiming_const`; `None` if there is a list.
    pub limits: Option<TimingLimits>,
    /// The supported bitrates in bit/s; empty if there is no list.
    pub bitrates: Vec<u32>,
}

/// The parts of `struct can_bittiming_const` that canhub uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimingLimits {
    /// Quanta before the sample point, not counting the first: minimum and maximum.
    pub segment1: (u32, u32),
    /// Quanta after the sample point.
    pub segment2: (u32, u32),
    /// Clock divider for one quantum.
    pub divider: (u32, u32),
}

bitflags::bitflags! {
    /// `CAN_CTRLMODE_*`.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub struct Modes: u32 {
        /// It receives its own frames, without the bus.
        const LOOPBACK = 0x01;
        /// It only listens: no acknowledgements, no error frames.
        const LISTEN_ONLY = 0x02;
        /// Each bit is sampled three times.
        const TRIPLE_SAMPLING = 0x04;
        /// A lost frame is not sent again.
        const ONE_SHOT = 0x08;
        /// An error frame for every bus error, not only for state changes.
        const BERR_REPORTING = 0x10;
        /// FD frames.
        const FD = 0x20;
        /// Frames without an acknowledgement are not errors.
        const PRESUME_ACK = 0x40;
        /// FD frames as before ISO 11898-1:2015.
        const FD_NON_ISO = 0x80;
    }
}

/// A change of a controller and its queue; `None` means no change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControllerChange {
    /// Bitrate in bit/s and, if requested, sample point in tenths of a percent.
    pub timing: Option<(u32, Option<u32>)>,
    /// The same for the data phase.
    pub data_timing: Option<(u32, Option<u32>)>,
    /// In ms.
    pub restart_ms: Option<u32>,
    /// Which modes to change.
    pub modes_mask: Modes,
    /// Those of them to turn on.
    pub modes: Modes,
    /// In ohms.
    pub termination: Option<u16>,
    /// Transmit queue length in frames.
    pub txqueuelen: Option<u32>,
}

impl Modes {
    /// Each of these modes with its name in `ip`.
    pub fn named(self) -> impl Iterator<Item = (String, Self)> {
        self.iter_names()
            .map(|(name, mode)| (name.to_ascii_lowercase().replace('_', "-"), mode))
            .collect::<Vec<_>>()
            .into_iter()
    }
}

impl fmt::Display for BusState {
    /// As `ip` spells it, in lower case.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ErrorActive => "error-active",
            Self::ErrorWarning => "error-warning",
            Self::ErrorPassive => "error-passive",
            Self::BusOff => "bus-off",
            Self::Stopped => "stopped",
            Self::Sleeping => "sleeping",
        })
    }
}

impl ControllerChange {
    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the link must be down for it (`EBUSY` in `can_changelink`).
    pub fn needs_down(&self) -> bool {
        let Self { timing, data_timing, restart_ms, modes_mask, .. } = self;
        timing.is_some() || data_timing.is_some() || restart_ms.is_some() || !modes_mask.is_empty()
    }
}

impl fmt::Display for ControllerChange {
    /// The change as `ip` spells it, in parentheses; empty if the adapter is only brought up.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timing, data_timing, restart_ms, modes_mask, modes, termination, txqueuelen } = self;
        let mut words = Vec::new();
        let mut rate = |rate: &str, asked: &Option<(u32, Option<u32>)>| {
            let Some((bitrate, point)) = asked else { return };
            words.push(format!("{rate} {bitrate}"));
            words.extend(point.map(|point| format!("sample-point 0.{point:03}")));
        };
        rate("bitrate", timing);
        rate("dbitrate", data_timing);
        words.extend(restart_ms.map(|time| format!("restart-ms {time}")));
        for (name, mode) in modes_mask.named() {
            words.push(format!("{name} {}", if modes.contains(mode) { "on" } else { "off" }));
        }
        words.extend(termination.map(|ohms| format!("termination {ohms}")));
        words.extend(txqueuelen.map(|length| format!("txqueuelen {length}")));
        if words.is_empty() { Ok(()) } else { write!(f, " ({})", words.join(", ")) }
    }
}
