//! Points in time, in seconds since 1970 (UTC).

use std::time::SystemTime;

use canhub::clock::unix_seconds;
use time::OffsetDateTime;

/// Now; 0 if the clock is before 1970.
pub fn now() -> i64 {
    i64::try_from(unix_seconds(SystemTime::now())).unwrap_or(i64::MAX)
}

/// The day, for people: `2026-11-27`.
pub fn day(at: i64) -> String {
    OffsetDateTime::from_unix_timestamp(at)
        .map_or_else(|_| format!("second {at}"), |at| at.date().to_string())
}
