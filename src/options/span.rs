//! The options about a span: `span`, `span-age`, `span-bridge`.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use super::on_off;
use crate::{expect::parse_every, names::SpanName};

/// The default of `span-age`.
const AGE: Duration = Duration::from_millis(100);
/// In milliseconds. The timers of a host are not finer than 1 ms, and after a minute no frame is about now.
const AGES_MS: RangeInclusive<u32> = 1..=60_000;

/// The span of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanOptions {
    /// Its name.
    pub name: SpanName,
    /// Frames that are older do not reach another host.
    pub age: Duration,
    /// Whether adapters on several hosts may carry this span.
    pub bridge: bool,
}

impl SpanOptions {
    /// The span of a network; `None` if it has none.
    pub(super) fn parse(options: &BTreeMap<&str, &str>) -> Result<Option<Self>, String> {
        let get = |key: &str| options.get(key).copied();
        let Some(name) = get("span") else {
            return match ["span-age", "span-bridge"].into_iter().find_map(|key| Some((key, get(key)?))) {
                Some((key, value)) => Err(format!(
                    "option {key}={value}: only valid with a span; add span=NAME or remove {key}"
                )),
                None => Ok(None),
            };
        };
        Ok(Some(Self {
            name: name.parse().map_err(|why| format!("option span={name}: {why}"))?,
            age: get("span-age").map_or(Ok(AGE), age)?,
            bridge: on_off("span-bridge", get("span-bridge").or(Some("off")))?,
        }))
    }

    /// The words of these options in an alias, each after a blank.
    pub(crate) fn words(&self) -> String {
        let age = match self.age == AGE {
            true => String::new(),
            false => format!(" span-age={}ms", self.age.as_millis()),
        };
        let bridge = if self.bridge { " span-bridge=on" } else { "" };
        format!(" span={}{age}{bridge}", self.name)
    }

    /// [`age`](Self::age) in whole milliseconds.
    pub fn age_ms(&self) -> u32 {
        u32::try_from(self.age.as_millis()).unwrap_or(u32::MAX)
    }
}

fn age(value: &str) -> Result<Duration, String> {
    let age = parse_every(&value.to_ascii_lowercase()).ok();
    let millis = age.and_then(|age| u32::try_from(age.as_millis()).ok());
    millis.filter(|age| AGES_MS.contains(age)).map(|age| Duration::from_millis(age.into())).ok_or_else(|| {
        let (least, most) = AGES_MS.into_inner();
        format!(
            "option span-age={value}: must be a time from {least}ms to {}s, like 100ms or 1s",
            most / 1000
        )
    })
}
