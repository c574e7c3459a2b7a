//! Dates such as `Fri Nov 27 10:14:30.123 am 2026`. canhub writes UTC, and takes what it reads as UTC.

use std::time::Duration;

use crate::{clock, frames::Timestamp};

const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// Those that CANoe writes on a German system.
const GERMAN_MONTHS: [(&str, u64); 4] = [("mär", 3), ("mai", 5), ("okt", 10), ("dez", 12)];

/// The date of a time, with milliseconds.
pub(super) fn print(time: Timestamp) -> String {
    let time = Duration::from_nanos(time.0);
    let (days, second) = (time.as_secs() / 86_400, time.as_secs() % 86_400);
    let (year, month, day) = clock::date(days);
    let (hour, half) = (second / 3600 % 12, if second < 43_200 { "am" } else { "pm" });
    format!(
        "{} {} {day:02} {:02}:{:02}:{:02}.{:03} {half} {year}",
        WEEKDAYS[(days % 7) as usize],
        MONTHS[(month - 1) as usize],
        if hour == 0 { 12 } else { hour },
        second / 60 % 60,
        second % 60,
        time.subsec_millis(),
    )
}

/// The time of a date with or without weekday, milliseconds, `am` and `pm`.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let mut words = text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().into_iter().peekable();
    if month_of(words.peek()?).is_none() {
        words.next();
    }
    let month = month_of(&words.next()?)?;
    let day = words.next()?.parse().ok()?;
    let clock = words.next()?;
    let (half, year) = match (words.next()?, words.next()) {
        (half, Some(year)) => (Some(half), year),
        (year, None) => (None, year),
    };

    let (clock, millis) = clock.split_once('.').unwrap_or((&clock, "0"));
    let mut numbers = clock.split(':').map(|number| number.parse::<u64>().ok());
    let (hour, minute, second) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let hour = match half.as_deref() {
        Some("am") => hour % 12,
        Some("pm") => hour % 12 + 12,
        Some(_) => return None,
        None => hour,
    };
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = clock::days(year.parse().ok()?, month, day)?;
    let fraction = super::super::parts::nanoseconds(&format!("0.{millis}"))?;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    Some(Timestamp(seconds.checked_mul(1_000_000_000)?.checked_add(fraction)?))
}

fn month_of(word: &str) -> Option<u64> {
    let german = GERMAN_MONTHS.iter().find(|(name, _)| word == *name).map(|(_, month)| *month);
    let english = MONTHS.iter().position(|month| month.eq_ignore_ascii_case(word)).map(|at| at as u64 + 1);
    english.or(german)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_parsed_as_they_are_printed() {
        let time = Timestamp(1_795_774_470_123_000_000);
        assert_eq!(print(time), "Fri Nov 27 10:14:30.123 am 2026");
        for hours in 0..30 {
            let time = Timestamp(time.0 + hours * 3_600_000_000_000);
            assert_eq!(parse(&print(time)), Some(time));
        }
    }

    #[test]
    fn dates_of_other_programs_are_parsed() {
        let time = |millis: u64| Some(Timestamp(1_506_783_973_000_000_000 + millis * 1_000_000));
        assert_eq!(parse("Sam Sep 30 15:06:13.191 2017"), time(191));
        assert_eq!(parse("Sep 30 03:06:13 PM 2017"), time(0));
        for wrong in [
            "",
            "Sam",
            "Sep 30",
            "Sam Sep 30 25:00:00 2017",
            "Sam Sep 30 15:06 2017",
            "Sam Sep 30 1:2:3 xm 2017",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
