//! The span of a bus in the human-readable status: the other hosts, and what is wrong.

use super::super::{
    hosts::{delay, state},
    lines::{WIDTH, cut, short, wrap},
};
use crate::status::{HostStatus, SpanStatus};

/// The other hosts on the span of a bus. Frames are totals, as in `canhub hosts`.
pub(super) fn hosts(span: &SpanStatus) -> String {
    let mut text = String::new();
    match (&span.problem, span.stopped) {
        (Some(why), _) => text += &wrap("  ! ", &format!("span {}: {why}", span.name)),
        (None, true) => text += &wrap("  ! ", &format!("span {} is stopped", span.name)),
        (None, false) => {}
    }
    for one in &span.refused {
        text += &wrap("  ! ", &format!("span {} refuses {}: {}", span.name, one.host, one.reason));
    }
    span.hosts.iter().for_each(|host| text += &line(host));
    text
}

fn line(host: &HostStatus) -> String {
    let mut words = format!("{} {}", host.name, state(host));
    if host.online {
        words += &format!(", {}", host.path.as_deref().unwrap_or("path unknown"));
        words += &host.delay_us.map_or(String::new(), |_| format!(", delay {}", delay(host)));
    }
    words += &format!(", in {}, out {}", short(host.frames_in), short(host.frames_out));
    let counts =
        [("lost", host.lost), ("too old", host.too_old), ("refused", host.refused), ("looped", host.looped)];
    for (what, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        words += &format!(", {what} {}", short(count));
    }
    cut(&format!("  host {words}"), WIDTH) + "\n"
}
