//! Controllers in netlink messages.
//!
//! Parsed by hand, like links: a new or odd attribute must not hide the others.

use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{CanBitTiming, CanCtrlMode, CanCtrlModeFlags, InfoCan, InfoData, InfoKind},
};
use rtnetlink::{
    LinkMessageBuilder, LinkUnspec,
    packet_core::{NlaBuffer, NlasIterator, parse_u16, parse_u32},
};

use super::{BusState, Controller, ControllerChange, ErrorCounters, History, Modes, Timing, TimingLimits};

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

/// The messages that configure a controller and bring it up: down if necessary, settings, up.
pub(in crate::kernel) fn configure(
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
pub(in crate::kernel) fn parse(data: &[u8]) -> Controller {
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
pub(in crate::kernel) fn parse_history(stats: &[u8]) -> History {
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
