//! Checks settings against the capabilities of an adapter.

use super::settings::Settings;
use crate::kernel::{Controller, Modes, TimingLimits, TimingRange};

/// Checks whether a controller supports the settings.
///
/// # Errors
/// The first setting that it does not support, with what it does.
pub(super) fn check(asked: &Settings, controller: &Controller) -> Result<(), String> {
    if let Some(supported) = controller.supported {
        // Turning off a mode that the controller does not have is fine.
        let missing = asked.modes - supported - Modes::FD;
        if let Some((name, _)) = missing.named().next() {
            let known: Vec<String> = supported.named().map(|(name, _)| name).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(format!("its driver does not support {name}; supported modes: {known}"));
        }
        if let (Some(rate), false) = (asked.dbitrate, supported.contains(Modes::FD)) {
            return Err(format!("dbitrate={rate}: the controller does not support CAN FD"));
        }
    }
    check_rate("bitrate", asked.bitrate, &controller.range, controller)?;
    check_rate("dbitrate", asked.dbitrate, &controller.data_range, controller)?;
    match asked.termination {
        Some(ohms) if !controller.terminations.contains(&ohms) => {
            let choices: Vec<String> = controller.terminations.iter().map(u16::to_string).collect();
            Err(match choices.is_empty() {
                true => format!("termination={ohms}: it has no switchable termination"),
                false => format!("termination={ohms}: supported are {} ohms", choices.join(", ")),
            })
        }
        _ => Ok(()),
    }
}

fn check_rate(
    key: &str,
    rate: Option<u32>,
    range: &TimingRange,
    controller: &Controller,
) -> Result<(), String> {
    let Some(rate) = rate else { return Ok(()) };
    if !range.bitrates.is_empty() {
        let rates: Vec<String> = range.bitrates.iter().map(u32::to_string).collect();
        return match range.bitrates.contains(&rate) {
            true => Ok(()),
            false => Err(format!("{key}={rate}: supported are {} bit/s", rates.join(", "))),
        };
    }
    let clock = controller.clock;
    let Some(TimingLimits { segment1, segment2, divider }) = range.limits.filter(|_| clock > 0) else {
        return Ok(());
    };
    let per_bit = |segment1: u32, segment2: u32, divider: u32| {
        let quanta = 1 + u64::from(segment1) + u64::from(segment2);
        u32::try_from(u64::from(clock) / (quanta * u64::from(divider)).max(1)).unwrap_or(u32::MAX)
    };
    let slowest = per_bit(segment1.1, segment2.1, divider.1);
    let fastest = per_bit(segment1.0, segment2.0, divider.0).min(controller.bitrate_max.unwrap_or(u32::MAX));
    match (slowest..=fastest).contains(&rate) {
        true => Ok(()),
        false => Err(format!(
            "{key}={rate}: with its clock of {} MHz it supports {slowest} to {fastest} bit/s",
            f64::from(clock) / 1e6
        )),
    }
}
