//! Sizes and limits of time, as people write them on the command line.

use std::time::Duration;

use crate::clock;

/// Parses `10s`, `500ms`, `5m`, `1h` or `1d`.
///
/// # Errors
/// If it is none of these, or shorter than a millisecond.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = clock::parse_duration(text);
    let parsed = parsed.and_then(|time| match time >= Duration::from_millis(1) {
        true => Ok(time),
        false => Err("it is too short".to_owned()),
    });
    parsed.map_err(|why| format!("{text:?} is not a time: {why}; write it as 500ms, 10s, 5m, 1h or 1d"))
}

/// Parses `100k`, `100M` or `1G`, in bytes; powers of 1000.
///
/// # Errors
/// If it is none of these, or zero.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let units = [("k", 1000), ("M", 1_000_000), ("G", 1_000_000_000)];
    quantity(text, &units)
        .ok_or_else(|| format!("{text:?} is not a size above zero, such as 500k, 100M or 1G"))
}

/// A number and one of these units; `None` also if it is zero or too large.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text.get(digits.len()..)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(*factor).filter(|value| *value > 0)
}

/// A number with its digits in groups of three: `12,345`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size for people: `12.3 MB`.
pub(super) fn bytes(size: u64) -> String {
    match size {
        0..1000 => format!("{size} B"),
        1000..1_000_000 => format!("{:.1} kB", size as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", size as f64 / 1e6),
        _ => format!("{:.1} GB", size as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_a_unit_and_are_above_zero() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(duration("1.5 min"), Ok(Duration::from_secs(90)));
        assert_eq!(size("100M"), Ok(100_000_000));
        for wrong in
            ["", "5", "s", "0s", "-1s", "0.5us", "5 weeks", "99999999999999999999d", "18446744073709551615d"]
        {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
        assert!(size("0k").is_err() && size("1T").is_err());
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([999, 1500, 2_340_000].map(bytes), ["999 B", "1.5 kB", "2.3 MB"]);
    }
}
