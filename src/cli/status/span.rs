//! The span of a bus in the human-readable status: the other hosts, what is wrong, and what was lost on this host.

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
    let here = [
        ("while canhub-span was down", span.missed),
        ("too slow to read", span.lost_at_port),
        ("while a loop was stopped", span.held_back),
        ("too old to leave", span.too_old.before_sending),
        ("not written", span.write_errors),
        ("too old for the wire", span.too_old.before_wire),
    ];
    if let Some(words) = counted(&here) {
        text += &wrap("  ", &format!("span {} lost on this host: {words}", span.name));
    }
    span.hosts.iter().for_each(|host| text += &line(host));
    text
}

/// The counts that are not 0, after a comma each; `None` if all are.
fn counted(counts: &[(&str, u64)]) -> Option<String> {
    let words: Vec<String> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(what, count)| format!("{what} {}", short(*count)))
        .collect();
    (!words.is_empty()).then(|| words.join(", "))
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
    words += &counted(&counts).map_or(String::new(), |counts| format!(", {counts}"));
    cut(&format!("  host {words}"), WIDTH) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        names::{EndpointId, NetworkId},
        options::SpanOptions,
    };

    #[test]
    fn what_was_lost_on_this_host_is_told_by_cause() {
        let network: NetworkId = "a1".repeat(32).try_into().unwrap();
        let options = SpanOptions {
            name: "power".parse().unwrap(),
            age: std::time::Duration::from_millis(100),
            bridge: false,
        };
        let mut span = SpanStatus::new(&options, &EndpointId::of_span_port(&network), 0);
        assert_eq!(hosts(&span), "");
        (span.missed, span.held_back) = (12_345, 7);
        assert_eq!(
            hosts(&span),
            "  span power lost on this host: while canhub-span was down 12345, while a loop\n  was stopped 7\n"
        );
    }
}
