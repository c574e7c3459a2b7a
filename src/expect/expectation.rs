//! What somebody expects, as people write it.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{clock, names::check_name};

/// The shortest cycle: below it, timers and schedulers are no more exact than the cycle.
const SHORTEST: Duration = Duration::from_millis(1);
/// The longest cycle.
const LONGEST: Duration = Duration::from_secs(3600);
/// How far a cycle may be off, in percent, unless something else is asked for.
const WITHIN: u8 = 30;

const IDS: &str =
    "write three hexadecimal digits for a standard id (1A0), eight for an extended one (18FEF100)";
const CYCLES: &str = "write a number and a unit, from 1ms to 1h: 20ms, 1.5s, 2min";

/// The id of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FrameId {
    /// Whether it has 29 bits.
    pub extended: bool,
    /// Its bits, without the kernel's flags.
    pub bits: u32,
}

impl FromStr for FrameId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{text:?} is not a CAN id: {why}; {IDS}");
        let (extended, max) = match text.len() {
            3 => (false, 0x7FF),
            8 => (true, 0x1FFF_FFFF),
            _ => return Err(wrong("it has neither three nor eight digits")),
        };
        if !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong("not all its digits are hexadecimal"));
        }
        match u32::from_str_radix(text, 16) {
            Ok(bits) if bits <= max => Ok(Self { extended, bits }),
            _ => Err(wrong(&format!("the largest is {max:X}"))),
        }
    }
}

impl fmt::Display for FrameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.extended {
            true => write!(f, "{:08X}", self.bits),
            false => write!(f, "{:03X}", self.bits),
        }
    }
}

/// A frame that should be on a bus again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wish", into = "Wish")]
pub struct Expectation {
    /// The network: its name, its ID or the start of it, or the name of its hub.
    pub bus: String,
    /// The id of the frame.
    pub id: FrameId,
    /// The only container that counts as its sender: its name, or the start of its endpoint's ID. `None`: any sender.
    pub from: Option<String>,
    /// Its cycle.
    pub every: Duration,
    /// How far the cycle may be off, in percent.
    pub within: u8,
}

/// An expectation as written in JSON: the words of the command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// The network.
    pub bus: String,
    /// Three or eight hexadecimal digits.
    pub id: String,
    /// `20ms`.
    pub every: String,
    /// The container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// `30%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
}

impl TryFrom<Wish> for Expectation {
    type Error = String;

    fn try_from(wish: Wish) -> Result<Self, String> {
        check_name("bus", &wish.bus)?;
        wish.from.as_deref().map_or(Ok(()), |from| check_name("from", from))?;
        Ok(Self {
            bus: wish.bus,
            id: wish.id.parse()?,
            every: parse_every(&wish.every)?,
            from: wish.from,
            within: wish.within.as_deref().map_or(Ok(WITHIN), parse_within)?,
        })
    }
}

impl From<Expectation> for Wish {
    fn from(expectation: Expectation) -> Self {
        Self {
            every: Cycle(expectation.every).to_string(),
            within: Some(format!("{}%", expectation.within)),
            id: expectation.id.to_string(),
            bus: expectation.bus,
            from: expectation.from,
        }
    }
}

impl Expectation {
    /// The name of its component of health.
    pub fn component(&self) -> String {
        component(&self.bus, self.id, self.from.as_deref())
    }
}

impl fmt::Display for Expectation {
    /// `1A0 on body every 20ms within 30% from door`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {} every {} within {}%", self.id, self.bus, Cycle(self.every), self.within)?;
        self.from.as_ref().map_or(Ok(()), |from| write!(f, " from {from}"))
    }
}

/// The name of a component of health: `expect:body:1A0`, or `expect:body:1A0@door`.
pub fn component(bus: &str, id: FrameId, from: Option<&str>) -> String {
    let from = from.map(|from| format!("@{from}")).unwrap_or_default();
    format!("expect:{bus}:{id}{from}")
}

/// A cycle, written as it is parsed.
pub(super) struct Cycle(pub(super) Duration);

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_micros() {
            micros if micros.is_multiple_of(1_000_000) => write!(f, "{}s", micros / 1_000_000),
            micros if micros.is_multiple_of(1000) => write!(f, "{}ms", micros / 1000),
            micros => write!(f, "{}us", micros),
        }
    }
}

/// Parses a cycle: `20ms`.
///
/// # Errors
/// One sentence.
pub fn parse_every(text: &str) -> Result<Duration, String> {
    let wrong = |why: &str| format!("{text:?} is not a cycle: {why}; {CYCLES}");
    let every = clock::parse_duration(text).map_err(|why| wrong(&why))?;
    if !(SHORTEST..=LONGEST).contains(&every) {
        return Err(wrong("it is out of range"));
    }
    Ok(every)
}

/// Parses how far a cycle may be off: `30%`.
///
/// # Errors
/// One sentence.
pub fn parse_within(text: &str) -> Result<u8, String> {
    let number = text.trim().strip_suffix('%').unwrap_or(text).trim();
    number.parse().ok().filter(|percent| (1..=100).contains(percent)).ok_or_else(|| {
        format!(
            "{text:?} is not how far a cycle may be off: write whole percent of the cycle, from 1% to 100%"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(bus: &str, id: &str, every: &str, within: Option<&str>) -> Result<Expectation, String> {
        let (bus, id, every) = (bus.into(), id.into(), every.into());
        Wish { bus, id, every, from: None, within: within.map(Into::into) }.try_into()
    }

    #[test]
    fn an_expectation_is_written_as_it_was_parsed() {
        let parsed = wish("body", "1a0", "0.02 s", None).unwrap();
        assert_eq!(
            parsed,
            Expectation {
                bus: "body".into(),
                id: FrameId { extended: false, bits: 0x1A0 },
                from: None,
                every: Duration::from_millis(20),
                within: 30
            }
        );
        assert_eq!(parsed.to_string(), "1A0 on body every 20ms within 30%");
        let from = Expectation { from: Some("door".into()), ..parsed };
        assert_eq!(from.component(), "expect:body:1A0@door");
        let json = serde_json::to_string(&from).unwrap();
        assert_eq!(json, r#"{"bus":"body","id":"1A0","every":"20ms","from":"door","within":"30%"}"#);
        assert_eq!(serde_json::from_str::<Expectation>(&json).unwrap(), from);
        let extended = wish("body", "0000001A", "1500us", Some("5 %")).unwrap();
        assert_eq!(extended.to_string(), "0000001A on body every 1500us within 5%");
    }

    #[test]
    fn every_error_names_the_value_and_what_is_allowed() {
        for (id, every, within, words) in [
            (
                "1A",
                "20ms",
                None,
                "\"1A\" is not a CAN id: it has neither three nor eight digits; write three",
            ),
            ("8FF", "20ms", None, "the largest is 7FF"),
            ("2FFFFFFF", "20ms", None, "the largest is 1FFFFFFF"),
            ("+12", "20ms", None, "not all its digits are hexadecimal"),
            ("1A0", "0ms", None, "\"0ms\" is not a cycle: it is out of range; write a number and a unit"),
            ("1A0", "0.5ms", None, "out of range"),
            ("1A0", "2h", None, "out of range"),
            ("1A0", "20", None, "it has no unit"),
            ("1A0", "20 days", None, "days is not a unit"),
            ("1A0", "-20ms", None, "does not start with a number"),
            ("1A0", "9e9ms", None, "is not a unit"),
            ("1A0", "20ms", Some("101%"), "\"101%\" is not how far a cycle may be off"),
            ("1A0", "20ms", Some("0%"), "from 1% to 100%"),
            ("1A0", "20ms", Some("a bit"), "from 1% to 100%"),
        ] {
            let why = wish("body", id, every, within).unwrap_err();
            assert!(why.contains(words), "{words:?} is not in {why:?}");
        }
        assert!(wish("", "1A0", "20ms", None).unwrap_err().contains("bus"));
    }
}
