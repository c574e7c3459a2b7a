//! Time formats for people and machines.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// A time in RFC 3339, UTC, with milliseconds: `2026-11-21T08:05:00.250Z`.
pub fn rfc3339(time: SystemTime) -> String {
    rfc3339_in(time, 3)
}

/// The same with this many decimals, at most 9.
pub fn rfc3339_in(time: SystemTime, decimals: u32) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let fraction = since.subsec_nanos() / 10_u32.pow(9_u32.saturating_sub(decimals));
    let width = decimals as usize;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:0width$}Z")
}

/// The time this long ago, in the same format.
pub fn rfc3339_ago(ago: Duration) -> String {
    rfc3339(SystemTime::now().checked_sub(ago).unwrap_or(UNIX_EPOCH))
}

/// Two readings, of the clock that people set and of the other, are not this far apart unless somebody has set it.
const SET: Duration = Duration::from_millis(50);

/// Shows points of a clock that nobody sets, such as the time since the boot, as times of day: always the same, until
/// somebody sets the clock.
#[derive(Debug, Default)]
pub struct TimesOfDay {
    /// When the other clock was at zero.
    zero: Mutex<Option<SystemTime>>,
}

impl TimesOfDay {
    /// The time of day of a point, if it is `now` by its clock and `wall` by the other.
    pub fn of(&self, point: Duration, now: Duration, wall: SystemTime) -> SystemTime {
        let read = wall.checked_sub(now).unwrap_or(UNIX_EPOCH);
        let mut kept = self.zero.lock();
        let apart = |zero: SystemTime| zero.duration_since(read).unwrap_or_else(|err| err.duration());
        let zero = kept.filter(|zero| apart(*zero) < SET).unwrap_or(read);
        *kept = Some(zero);
        zero.checked_add(point).unwrap_or(wall)
    }
}

/// A time in whole seconds since 1970; 0 before that.
pub fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A duration in whole microseconds, for logs and responses.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Parses a duration as people write it: a number, which may have decimals, and `us`, `ms`, `s`, `m` or `min`, `h` or `d`.
/// Parts of a microsecond are rounded.
///
/// # Errors
/// What is wrong, as the end of a sentence.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| "it does not start with a number".to_owned())?;
    let micros = match unit.trim_start() {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" | "min" => 60e6,
        "h" => 3600e6,
        "d" => 86_400e6,
        "" => return Err("it has no unit".to_owned()),
        other => return Err(format!("{other} is not a unit")),
    };
    Duration::try_from_secs_f64((number * micros).round() / 1e6).map_err(|_| "it is too long".to_owned())
}

const DAYS_OF_400_YEARS: u64 = 146_097;

/// The date this many days after 1970-01-01 (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms",
/// `civil_from_days`). Years start in March, so that the leap day is the last day of a year.
pub fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let day_of_era = days % DAYS_OF_400_YEARS;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (days / DAYS_OF_400_YEARS * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The days from 1970-01-01 to a date; `None` before that, or if there is no such month. The opposite of [`date`].
pub fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let year_of_era = year % 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (year / 400 * DAYS_OF_400_YEARS + day_of_era).checked_sub(719_468)
}

/// A duration for people, in the largest unit that fits: `3 h`.
pub fn roughly(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_match_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_399, "2000-02-28T23:59:59.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (1_709_251_199, "2024-02-29T23:59:59.007Z"),
            (1_735_689_599, "2024-12-31T23:59:59.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::new(seconds, 7_000_000)), expected);
        }
    }

    #[test]
    fn a_point_has_the_same_time_of_day_until_somebody_sets_the_clock() {
        let times = TimesOfDay::default();
        let [boot, point] = [1_000_000, 3_600].map(Duration::from_secs);
        // The two clocks are never read at once.
        let of = |now_ms: u64, wall: Duration, late_ms: u64| {
            let now = Duration::from_millis(now_ms);
            let wall = UNIX_EPOCH + wall + now + Duration::from_millis(late_ms);
            times.of(point, now, wall).duration_since(UNIX_EPOCH).unwrap()
        };
        assert_eq!(of(5_000, boot, 1), boot + point + Duration::from_millis(1));
        assert_eq!(of(7_000, boot, 30), boot + point + Duration::from_millis(1));
        let day = Duration::from_secs(86_400);
        assert_eq!(of(8_000, boot - day, 0), boot - day + point, "set back");
        assert_eq!(of(9_000, boot + day, 0), boot + day + point, "set forward");
        // As a record could have it; and a machine without a clock, which begins in 1970.
        let _ = times.of(Duration::MAX, point, UNIX_EPOCH);
    }

    #[test]
    fn days_are_the_opposite_of_dates() {
        for since in (0..60_000).step_by(17) {
            let (year, month, day) = date(since);
            assert_eq!(days(year, month, day), Some(since));
        }
        assert_eq!((days(1969, 12, 31), days(2026, 13, 1), days(2026, 0, 1)), (None, None, None));
    }

    #[test]
    fn a_duration_has_one_unit() {
        for (seconds, expected) in
            [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (400_000, "4 days")]
        {
            assert_eq!(roughly(Duration::from_secs(seconds)), expected);
        }
    }
}
