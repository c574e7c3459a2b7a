//! CAN controllers: what `ip -details link show type can` shows and `ip link set … type can` changes.
//!
//! Parsed by hand, like links: a new or odd attribute must not hide the others.

use std::fmt;

use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{CanBitTiming, CanCtrlMode, CanCtrlModeFlags, InfoCan, InfoData, InfoKind},
};
use rtnetlink::{
    LinkMessageBuilder, LinkUnspec,
    packet_core::{NlaBuffer, NlasIterator, parse_u16, parse_u32},
};

// `enum` of include/uapi/linux/can/netlink.h.
const IFLA_CAN_BITTIMING: u16 = 1;
const IFLA_CAN_BITTIMING_CONST: u16 = 2;
const IFLA_CAN_CLOCK: u16 = 3;
const IFLA_CAN_STATE: u16 = 4;
const IFLA_CAN_CTRLMODE: u16 = 5;
const IFLA_CAN_RESTART_MS: u16 = 6;
const IFLA_CAN_BERR_COUNTER: u16 = 8;
const IFLA_CAN_DATA_BITTIMING: u16 = 9;
const IFLA_CAN_DATA_BITTIMING_CONST: u16 = 10;
const IFLA_CAN_TERMINATION: u16 = 11;
const IFLA_CAN_TERMINATION_CONST: u16 = 12;
const IFLA_CAN_BITRATE_CONST: u16 = 13;
const IFLA_CAN_DATA_BITRATE_CONST: u16 = 14;
const IFLA_CAN_BITRATE_MAX: u16 = 15;
const IFLA_CAN_CTRLMODE_EXT: u16 = 17;
const IFLA_CAN_CTRLMODE_SUPPORTED: u16 = 1;

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

/// The messages that configure a controller and bring it up: down if necessary, settings, up.
pub(super) fn configure(
    index: u32,
    change: &ControllerChange,
    is_up: bool,
    up: bool,
) -> Vec<RouteNetlinkMessage> {
    let link = || LinkUnspec::new_with_index(index);
    let mut messages = Vec::new();
    if is_up && change.needs_down() {
        messages.push(RouteNetlinkMessage::SetLink(link().down().build()));
    }
    let settings = info(change);
    if !settings.is_empty() {
        let message = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::Can);
        messages.push(RouteNetlinkMessage::NewLink(
            message.index(index).set_info_data(InfoData::Can(settings)).build(),
        ));
    }
    if let Some(length) = change.txqueuelen {
        messages.push(RouteNetlinkMessage::SetLink(link().txqueuelen(length).build()));
    }
    if up {
        messages.push(RouteNetlinkMessage::SetLink(link().up().build()));
    }
    messages
}

fn info(change: &ControllerChange) -> Vec<InfoCan> {
    let timing = |(bitrate, sample_point): (u32, Option<u32>)| {
        let mut timing = CanBitTiming::new(bitrate);
        timing.sample_point = sample_point.unwrap_or_default();
        timing
    };
    let flags = |modes: Modes| CanCtrlModeFlags::from_bits_retain(modes.bits());
    let modes = (!change.modes_mask.is_empty()).then(|| {
        InfoCan::CtrlMode(CanCtrlMode { mask: flags(change.modes_mask), flags: flags(change.modes) })
    });
    [
        modes,
        change.timing.map(|asked| InfoCan::BitTiming(timing(asked))),
        change.data_timing.map(|asked| InfoCan::DataBitTiming(timing(asked))),
        change.restart_ms.map(InfoCan::RestartMs),
        change.termination.map(InfoCan::Termination),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Parses `IFLA_INFO_DATA` of a link of kind `can`.
pub(super) fn parse(data: &[u8]) -> Controller {
    let mut controller = Controller::default();
    for nla in NlasIterator::new(data).filter_map(Result::ok) {
        let value = nla.value();
        match nla.kind() {
            IFLA_CAN_BITTIMING => controller.timing = timing(value),
            IFLA_CAN_BITTIMING_CONST => controller.range.limits = limits(value),
            IFLA_CAN_CLOCK => controller.clock = parse_u32(value).unwrap_or_default(),
            IFLA_CAN_STATE => controller.state = state(parse_u32(value).unwrap_or(u32::MAX)),
            IFLA_CAN_CTRLMODE => {
                controller.modes = Modes::from_bits_retain(word(value, 4).unwrap_or_default())
            }
            IFLA_CAN_RESTART_MS => controller.restart_ms = parse_u32(value).unwrap_or_default(),
            IFLA_CAN_BERR_COUNTER => controller.errors = errors(value),
            IFLA_CAN_DATA_BITTIMING => controller.data_timing = timing(value),
            IFLA_CAN_DATA_BITTIMING_CONST => controller.data_range.limits = limits(value),
            IFLA_CAN_TERMINATION => controller.termination = parse_u16(value).ok(),
            IFLA_CAN_TERMINATION_CONST => {
                controller.terminations =
                    value.chunks_exact(2).filter_map(|ohms| parse_u16(ohms).ok()).collect();
            }
            IFLA_CAN_BITRATE_CONST => controller.range.bitrates = words(value),
            IFLA_CAN_DATA_BITRATE_CONST => controller.data_range.bitrates = words(value),
            IFLA_CAN_BITRATE_MAX => controller.bitrate_max = parse_u32(value).ok().filter(|limit| *limit > 0),
            IFLA_CAN_CTRLMODE_EXT => controller.supported = supported(&nla),
            _ => {}
        }
    }
    controller
}

/// Parses `IFLA_INFO_XSTATS`: `struct can_device_stats`.
pub(super) fn parse_history(stats: &[u8]) -> History {
    History { bus_off: word(stats, 12).unwrap_or_default(), restarts: word(stats, 20).unwrap_or_default() }
}

fn word(value: &[u8], at: usize) -> Option<u32> {
    parse_u32(value.get(at..at + 4)?).ok()
}

fn words(value: &[u8]) -> Vec<u32> {
    value.chunks_exact(4).filter_map(|word| parse_u32(word).ok()).collect()
}

fn timing(value: &[u8]) -> Option<Timing> {
    let words = words(value);
    let [bitrate, sample_point, _tq, prop_seg, phase_seg1, phase_seg2, ..] = words[..] else { return None };
    let quanta = prop_seg.saturating_add(phase_seg1).saturating_add(phase_seg2).saturating_add(1);
    (bitrate > 0).then_some(Timing { bitrate, sample_point, quanta })
}

fn limits(value: &[u8]) -> Option<TimingLimits> {
    // After a name of 16 bytes: tseg1_min, tseg1_max, tseg2_min, tseg2_max, sjw_max, brp_min, brp_max.
    let words = words(value.get(16..)?);
    let at = |first: usize| Some((*words.get(first)?, *words.get(first + 1)?));
    Some(TimingLimits { segment1: at(0)?, segment2: at(2)?, divider: at(5)? })
}

fn errors(value: &[u8]) -> Option<ErrorCounters> {
    Some(ErrorCounters { tx: parse_u16(value.get(..2)?).ok()?, rx: parse_u16(value.get(2..4)?).ok()? })
}

fn state(number: u32) -> BusState {
    match number {
        0 => BusState::ErrorActive,
        1 => BusState::ErrorWarning,
        2 => BusState::ErrorPassive,
        3 => BusState::BusOff,
        5 => BusState::Sleeping,
        _ => BusState::Stopped,
    }
}

fn supported(ext: &NlaBuffer<&[u8]>) -> Option<Modes> {
    let mut inner = NlasIterator::new(ext.value()).filter_map(Result::ok);
    let modes = inner.find(|nla| nla.kind() == IFLA_CAN_CTRLMODE_SUPPORTED)?;
    parse_u32(modes.value()).ok().map(Modes::from_bits_retain)
}
