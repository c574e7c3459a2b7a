//! The keys under which payloads travel. The version is that of the layout of keys; payloads have their own.

use std::sync::Arc;

use crate::{engine::Topic, fleet::HostName};

/// All hellos.
pub(super) const HELLOS: &str = "can/v1/hello/*";
/// All fleet lists.
pub(super) const FLEETS: &str = "can/v1/fleet/*";
/// All refusals.
pub(super) const REFUSALS: &str = "can/v1/refusal/*";

pub(super) fn data(span: &str, host: &str) -> String {
    format!("can/v1/data/{span}/{host}")
}

pub(super) fn hello(host: &str) -> String {
    format!("can/v1/hello/{host}")
}

pub(super) fn fleet(host: &str) -> String {
    format!("can/v1/fleet/{host}")
}

fn refusal(host: &str) -> String {
    format!("can/v1/refusal/{host}")
}

/// The key of what `host` sends.
pub(super) fn of(topic: &Topic, host: &str) -> String {
    match topic {
        Topic::Data(span) => data(span, host),
        Topic::Hello => hello(host),
        Topic::Fleet => fleet(host),
        Topic::Refusal => refusal(host),
    }
}

/// The topic and the host of a key; `None` if a host cannot have this name. Anybody of the fleet may refuse under any.
pub(super) fn parse(key: &str) -> Option<(Topic, &str)> {
    let (rest, host) = key.strip_prefix("can/v1/")?.rsplit_once('/')?;
    let topic = match rest.split_once('/') {
        None if rest == "hello" => Topic::Hello,
        None if rest == "fleet" => Topic::Fleet,
        None if rest == "refusal" => Topic::Refusal,
        Some(("data", span)) if !span.contains('/') => Topic::Data(Arc::from(span)),
        _ => return None,
    };
    host.parse::<HostName>().is_ok().then_some((topic, host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_parsed_as_it_is_made() {
        for topic in [Topic::Data("hello".into()), Topic::Hello, Topic::Fleet, Topic::Refusal] {
            assert_eq!(parse(&of(&topic, "bench")), Some((topic, "bench")));
        }
        for other in
            ["can/v2/hello/a", "can/v1/hello", "can/v1/data/a", "can/v1/data/a/b/c", "can/v1/other/a", ""]
        {
            assert_eq!(parse(other), None, "{other}");
        }
        for name in ["two\nlines", "B", "", &"a".repeat(64)] {
            assert_eq!(parse(&of(&Topic::Refusal, name)), None, "{name}");
        }
    }
}
