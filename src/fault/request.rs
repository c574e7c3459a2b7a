//! What somebody asks for, as people and programs write it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Effect;
use crate::{clock::parse_duration, names::check_name};

/// Without `--for`.
const USUAL: Duration = Duration::from_secs(10);
/// The shortest: it takes milliseconds to begin and to end one.
pub(super) const SHORTEST: Duration = Duration::from_millis(10);
/// The longest without `--until-cleared`, so that a forgotten one ends.
const LONGEST: Duration = Duration::from_secs(86_400);

/// A fault as written in JSON: the words of the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// The network.
    pub bus: String,
    /// The container; `None`: all members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// `cut`, `flood=7DF@1000`.
    pub effects: Vec<String>,
    /// `10s`.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub lasts: Option<String>,
    /// Instead of `for`: it does not end by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub until_cleared: bool,
    /// What it is for, in the words of who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// A fault that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Wish")]
pub struct Request {
    /// The network: its name, its ID or the start of it, or the name of its hub.
    pub bus: String,
    /// The container: its name, or the start of its endpoint's ID. `None`: all members.
    pub member: Option<String>,
    /// What happens to it.
    pub effects: Vec<Effect>,
    /// How long; `None`: until it is cleared.
    pub lasts: Option<Duration>,
    /// What it is for.
    pub label: Option<String>,
}

/// Which faults to clear. All that are given must fit; none given: all faults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Its network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus: Option<String>,
    /// Its container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
}

impl Wish {
    /// How long it lasts, if it ends by itself.
    pub fn lasts_for(&self) -> Option<Duration> {
        self.lasts.as_deref().and_then(|lasts| parse_lasts(lasts).ok())
    }
}

impl TryFrom<Wish> for Request {
    type Error = String;

    fn try_from(wish: Wish) -> Result<Self, String> {
        check_name("bus", &wish.bus)?;
        wish.member.as_deref().map_or(Ok(()), |member| check_name("member", member))?;
        wish.label.as_deref().map_or(Ok(()), |label| check_name("label", label))?;
        let effects = wish.effects.iter().map(|text| text.parse()).collect::<Result<Vec<Effect>, _>>()?;
        fit_together(&effects)?;
        let lasts = match (wish.lasts, wish.until_cleared) {
            (Some(text), true) => {
                return Err(format!("for {text} and until cleared exclude each other: use one of them"));
            }
            (Some(text), false) => Some(parse_lasts(&text)?),
            (None, true) => None,
            (None, false) => Some(USUAL),
        };
        Ok(Self { bus: wish.bus, member: wish.member, effects, lasts, label: wish.label })
    }
}

fn fit_together(effects: &[Effect]) -> Result<(), String> {
    if effects.is_empty() {
        return Err("no fault is given: write at least one, such as cut".to_owned());
    }
    let place = |key: &str| effects.iter().position(|effect| effect.key() == key);
    if let Some(twice) = effects.iter().enumerate().find(|(at, one)| place(one.key()) != Some(*at)) {
        return Err(format!("{} is given twice: give each fault once", twice.1.key()));
    }
    // A controller that is not running reports nothing and sends nothing.
    for (one, other) in [("down", "bus-off"), ("down", "error"), ("down", "flood"), ("bus-off", "error")] {
        if place(one).is_some() && place(other).is_some() {
            return Err(format!("{one} and {other} exclude each other: give one of them"));
        }
    }
    Ok(())
}

/// Parses how long a fault lasts: `10s`.
///
/// # Errors
/// One sentence.
pub(super) fn parse_lasts(text: &str) -> Result<Duration, String> {
    let wrong = |why: &str| {
        format!(
            "{text:?} is not a valid duration: {why}; write a number and a unit, from 10ms to 24h: 10s, 1.5min"
        )
    };
    let lasts = parse_duration(text).map_err(|why| wrong(&why))?;
    match lasts {
        lasts if lasts > LONGEST => Err(wrong("it is longer than a day, which needs --until-cleared")),
        lasts if lasts < SHORTEST => Err(wrong("it is too short")),
        lasts => Ok(lasts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(effects: &[&str]) -> Wish {
        let effects = effects.iter().map(|&text| text.to_owned()).collect();
        Wish { bus: "body".into(), effects, ..Wish::default() }
    }

    #[test]
    fn a_fault_ends_by_itself_unless_somebody_says_otherwise() {
        let lasts = |wish: Wish| Request::try_from(wish).map(|request| request.lasts);
        assert_eq!(lasts(wish(&["cut"])), Ok(Some(USUAL)));
        assert_eq!(
            lasts(Wish { lasts: Some("1.5 min".into()), ..wish(&["cut"]) }),
            Ok(Some(Duration::from_secs(90)))
        );
        assert_eq!(lasts(Wish { until_cleared: true, ..wish(&["cut"]) }), Ok(None));
        for (lasts, until_cleared, words) in [
            ("25h", false, "longer than a day, which needs --until-cleared"),
            ("9ms", false, "too short"),
            ("10", false, "it has no unit"),
            ("soon", false, "does not start with a number"),
            ("10s", true, "exclude each other"),
        ] {
            let wish = Wish { lasts: Some(lasts.into()), until_cleared, ..wish(&["cut"]) };
            let why = Request::try_from(wish).unwrap_err();
            assert!(why.contains(words), "{words:?} is not in {why:?}");
        }
    }

    #[test]
    fn each_wrong_time_is_named_with_what_is_allowed() {
        for text in [
            "",
            "10",
            "soon",
            "-1s",
            "0s",
            "9ms",
            "25h",
            "1.2.3s",
            "1s 5ms",
            "1e3s",
            "s",
            "99999999999d",
            "10S",
        ] {
            let why = Request::try_from(Wish { lasts: Some(text.into()), ..wish(&["cut"]) }).unwrap_err();
            assert!(why.starts_with(&format!("{text:?} is not a valid duration: ")), "{why}");
            assert!(why.ends_with("write a number and a unit, from 10ms to 24h: 10s, 1.5min"), "{why}");
        }
    }

    #[test]
    fn a_fault_lasts_from_10ms_to_a_day() {
        for (text, lasts) in [("10ms", Duration::from_millis(10)), ("24h", Duration::from_secs(86_400))] {
            let wish = Wish { lasts: Some(text.into()), ..wish(&["cut"]) };
            assert_eq!(Request::try_from(wish).map(|request| request.lasts), Ok(Some(lasts)));
        }
        for text in ["9.999ms", "86400.001s"] {
            assert!(
                Request::try_from(Wish { lasts: Some(text.into()), ..wish(&["cut"]) }).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn names_have_1_to_255_bytes() {
        let with = |key: &str, name: String| match key {
            "bus" => Wish { bus: name, ..wish(&["cut"]) },
            "member" => Wish { member: Some(name), ..wish(&["cut"]) },
            _ => Wish { label: Some(name), ..wish(&["cut"]) },
        };
        for key in ["bus", "member", "label"] {
            assert!(Request::try_from(with(key, "x".repeat(255))).is_ok(), "{key}");
            for bytes in [0, 256] {
                let why = Request::try_from(with(key, "x".repeat(bytes))).unwrap_err();
                assert!(why.contains(key) && why.contains("1 to 255 bytes"), "{why}");
            }
        }
    }

    #[test]
    fn effects_that_do_not_fit_together_are_refused() {
        for (effects, words) in [
            (&[][..], "no fault is given"),
            (&["cut", "cut"], "cut is given twice"),
            (&["down", "bus-off"], "down and bus-off exclude each other"),
            (&["error=ack", "down"], "down and error exclude each other"),
            (&["down", "flood=7DF@1"], "down and flood exclude each other"),
            (&["bus-off", "error=passive"], "bus-off and error exclude each other"),
        ] {
            let why = Request::try_from(wish(effects)).unwrap_err();
            assert!(why.contains(words), "{words:?} is not in {why:?}");
        }
        assert!(Request::try_from(wish(&["cut", "error=ack", "flood=7DF@10"])).is_ok());
    }
}
