//! What a fault does, as people write it: `cut`, `error=ack@10`, `flood=7DF@1000`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use socketcan::{CanAnyFrame, id::CAN_EFF_FLAG};

use super::error_frames::{ACTIVE, ErrorKind, GONE, KINDS, RESTARTED, frame};
use crate::{expect::FrameId, shape::Shapes, suggest::did_you_mean};

/// The most frames per second of all floods together. More than a wire of 1 Mbit/s carries, and a machine has other work.
pub(crate) const RATE_MAX: u32 = 20_000;
/// How often an error is reported unless something else is asked for, per second.
const ERRORS_PER_SECOND: u32 = 1;

const FORMS: &str =
    "cut, down, bus-off, error=KIND, flood=ID@RATE, or a shape such as loss=5% or rx-delay=2ms";
const KEYS: [&str; 5] = ["cut", "down", "bus-off", "error", "flood"];

/// What a fault does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Effect {
    /// As if unplugged: it neither hears nor is heard. Its interface stays up.
    Cut,
    /// Its interface is down: programs get `ENETDOWN`.
    Down,
    /// It hears the error frame of a bus-off, is cut off, and at the end hears that it was restarted.
    BusOff,
    /// It hears error frames.
    Error {
        /// Which.
        kind: &'static ErrorKind,
        /// How often, per second; 0 for a state, which is reported once.
        rate: u32,
    },
    /// A shape of the frames that it sends or, with `rx-`, that it is to hear.
    Shape {
        /// One of [`Shapes::KEYS`].
        key: String,
        /// As in the option of that name.
        value: String,
    },
    /// It sends this frame again and again.
    Flood {
        /// The frame.
        id: FrameId,
        /// How often, per second.
        rate: u32,
    },
}

impl Effect {
    /// Whether a word is meant as an effect, rather than as a member.
    pub fn is_meant(word: &str) -> bool {
        word.contains('=') || KEYS.contains(&word)
    }

    /// The word before its `=`.
    pub fn key(&self) -> &str {
        match self {
            Self::Cut => "cut",
            Self::Down => "down",
            Self::BusOff => "bus-off",
            Self::Error { .. } => "error",
            Self::Flood { .. } => "flood",
            Self::Shape { key, .. } => key,
        }
    }

    /// The error frame that its member hears when it begins.
    pub(crate) fn first_frame(&self) -> Option<&'static ErrorKind> {
        match self {
            Self::BusOff => Some(&GONE),
            Self::Error { kind, rate: 0 } => Some(kind),
            Self::Cut | Self::Down | Self::Error { .. } | Self::Flood { .. } | Self::Shape { .. } => None,
        }
    }

    /// The error frame that its member hears when it ends.
    pub(crate) fn last_frame(&self) -> Option<&'static ErrorKind> {
        match self {
            Self::BusOff => Some(&RESTARTED),
            Self::Error { rate: 0, .. } => Some(&ACTIVE),
            Self::Cut | Self::Down | Self::Error { .. } | Self::Flood { .. } | Self::Shape { .. } => None,
        }
    }

    /// A frame that is sent while it lasts, how often per second, and whether its member is the sender; otherwise its
    /// member is the only one who hears it.
    pub(crate) fn sends(&self) -> Option<(CanAnyFrame, u32, bool)> {
        match self {
            Self::Error { kind, rate: rate @ 1.. } => Some((kind.frame(), *rate, false)),
            Self::Flood { id, rate } => {
                let extended = if id.extended { CAN_EFF_FLAG } else { 0 };
                Some((frame(id.bits | extended, [0; 8]), *rate, true))
            }
            Self::Cut | Self::Down | Self::BusOff | Self::Error { .. } | Self::Shape { .. } => None,
        }
    }

    /// What it does to its member, as a predicate.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::Cut => "is cut off".to_owned(),
            Self::Down => "is down".to_owned(),
            Self::BusOff => "is bus-off".to_owned(),
            Self::Error { kind, rate: 0 } => format!("is error-{}", kind.name),
            Self::Error { kind, rate: 1 } => format!("hears one {} error per second", kind.name),
            Self::Error { kind, rate } => format!("hears {rate} {} errors per second", kind.name),
            Self::Flood { id, rate: 1 } => format!("sends {id} once per second"),
            Self::Flood { id, rate } => format!("sends {id} {rate} times per second"),
            Self::Shape { key, value } => format!("has {key}={value}"),
        }
    }
}

impl FromStr for Effect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (text, None),
        };
        match (key, value) {
            ("cut", None) => Ok(Self::Cut),
            ("down", None) => Ok(Self::Down),
            ("bus-off", None) => Ok(Self::BusOff),
            ("cut" | "down" | "bus-off", Some(value)) => {
                Err(format!("{key} takes no value, so not {value:?}: write {key}"))
            }
            ("error", value) => error(value.unwrap_or_default()),
            ("flood", value) => flood(value.unwrap_or_default()),
            (key, value) => shape(key, value.unwrap_or_default())
                .unwrap_or_else(|| Err(format!("{text:?} is not a fault{}: write {FORMS}", nearest(key)))),
        }
    }
}

/// A key that is close to this one.
fn nearest(key: &str) -> String {
    did_you_mean(key, &[&KEYS[..], &Shapes::KEYS].concat())
}

/// `None` if no shape has that name.
fn shape(key: &str, value: &str) -> Option<Result<Effect, String>> {
    let key = Shapes::KEYS.into_iter().find(|known| *known == key)?;
    let set = Shapes::default().set(key, value);
    Some(
        set.map(|_| Effect::Shape { key: key.to_owned(), value: value.to_owned() })
            .map_err(|why| format!("{key}={value}: {why}")),
    )
}

fn error(value: &str) -> Result<Effect, String> {
    let (name, rate) = match value.split_once('@') {
        Some((name, rate)) => (name, Some(rate)),
        None => (value, None),
    };
    let kind = KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| {
        let names = KINDS.each_ref().map(|kind| kind.name);
        let nearest = if name.is_empty() { String::new() } else { did_you_mean(name, &names) };
        format!("error={value}: {name:?} is not an error{nearest}: write {}", names.join(", "))
    })?;
    let rate = match (kind.is_state, rate) {
        (true, None) => 0,
        (true, Some(_)) => {
            return Err(format!(
                "error={value}: a controller reports that it is error-{name} once, so it has no rate: write error={name}"
            ));
        }
        (false, None) => ERRORS_PER_SECOND,
        (false, Some(rate)) => parse_rate("error", value, rate)?,
    };
    Ok(Effect::Error { kind, rate })
}

fn flood(value: &str) -> Result<Effect, String> {
    let (id, rate) = value.split_once('@').ok_or_else(|| {
        format!("flood={value}: it needs an id and how many frames per second: write flood=7DF@1000")
    })?;
    let id = id.parse().map_err(|why: String| format!("flood={value}: {why}"))?;
    Ok(Effect::Flood { id, rate: parse_rate("flood", value, rate)? })
}

fn parse_rate(key: &str, value: &str, rate: &str) -> Result<u32, String> {
    rate.parse().ok().filter(|rate| (1..=RATE_MAX).contains(rate)).ok_or_else(|| {
        format!("{key}={value}: {rate:?} is not a rate: write whole frames per second, from 1 to {RATE_MAX}")
    })
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut | Self::Down | Self::BusOff => f.write_str(self.key()),
            Self::Error { kind, rate: 0 } => write!(f, "error={}", kind.name),
            Self::Error { kind, rate } => write!(f, "error={}@{rate}", kind.name),
            Self::Flood { id, rate } => write!(f, "flood={id}@{rate}"),
            Self::Shape { key, value } => write!(f, "{key}={value}"),
        }
    }
}

impl TryFrom<String> for Effect {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Effect> for String {
    fn from(effect: Effect) -> Self {
        effect.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_is_written_as_it_was_parsed() {
        for (text, written) in [
            ("cut", "cut"),
            ("down", "down"),
            ("bus-off", "bus-off"),
            ("error=passive", "error=passive"),
            ("error=ack", "error=ack@1"),
            ("error=ack@25", "error=ack@25"),
            ("flood=7df@1000", "flood=7DF@1000"),
            ("flood=18FEF100@1", "flood=18FEF100@1"),
            ("loss=5%", "loss=5%"),
            ("rx-delay=2ms", "rx-delay=2ms"),
        ] {
            let effect: Effect = text.parse().unwrap();
            assert_eq!(effect.to_string(), written);
            assert_eq!(written.parse(), Ok(effect), "{written}");
        }
    }

    #[test]
    fn a_member_hears_what_its_controller_reports_and_sends_what_floods() {
        let kind = |name: &str| KINDS.iter().find(|kind| kind.name == name);
        let flood = |id| Some((frame(id, [0; 8]), 10, true));
        for (text, first, last, sends) in [
            ("cut", None, None, None),
            ("down", None, None, None),
            ("bus-off", Some(&GONE), Some(&RESTARTED), None),
            ("error=passive", kind("passive"), Some(&ACTIVE), None),
            ("error=warning", kind("warning"), Some(&ACTIVE), None),
            ("error=ack@10", None, None, kind("ack").map(|kind| (kind.frame(), 10, false))),
            ("flood=7DF@10", None, None, flood(0x7DF)),
            ("flood=000007DF@10", None, None, flood(0x8000_07DF)),
            ("loss=5%", None, None, None),
        ] {
            let effect: Effect = text.parse().unwrap();
            assert_eq!((effect.first_frame(), effect.last_frame()), (first, last), "{text}");
            assert_eq!(effect.sends(), sends, "{text}");
        }
        let (CanAnyFrame::Normal(flood), ..) = "flood=7DF@10".parse::<Effect>().unwrap().sends().unwrap()
        else {
            panic!("a data frame")
        };
        assert_eq!((flood.as_ref().can_dlc, flood.as_ref().data), (8, [0; 8]));
    }

    #[test]
    fn every_error_names_the_value_and_what_is_allowed() {
        for (text, words) in [
            ("cutt", "\"cutt\" is not a fault (did you mean cut?): write cut, down"),
            ("wombat=3", "\"wombat=3\" is not a fault: write cut, down"),
            ("cut=yes", "cut takes no value, so not \"yes\""),
            ("error", "\"\" is not an error: write warning, passive, ack"),
            ("error=pasive", "\"pasive\" is not an error (did you mean passive?)"),
            ("error=passive@3", "has no rate: write error=passive"),
            ("error=ack@0", "\"0\" is not a rate: write whole frames per second, from 1 to 20000"),
            ("loss=5", "loss=5: it does not end with %"),
            ("rx-delay=2", "rx-delay=2: it has no unit"),
            ("los=5%", "did you mean loss?"),
            ("flood", "it needs an id"),
            ("flood=7DF", "write flood=7DF@1000"),
            ("flood=7D@10", "\"7D\" is not a CAN id"),
            ("flood=7DF@20001", "from 1 to 20000"),
            ("flood=7DF@-1", "\"-1\" is not a rate"),
        ] {
            let why = text.parse::<Effect>().unwrap_err();
            assert!(why.contains(words), "{words:?} is not in {why:?}");
        }
    }

    #[test]
    fn each_wrong_value_is_named_with_what_is_allowed() {
        let words =
            ["", "Cut", "CUT", "bus_off", "busoff", "disconnect", "=5", "=", "wombat=3", "rx-cut", "loss5%"];
        let no_values = ["cut=", "cut=yes", "cut=2s", "down=1", "down=", "bus-off=200ms", "bus-off=on"];
        let errors = [
            "",
            "pasive",
            "Passive",
            "none",
            "bus-off",
            "ack@",
            "ack@0",
            "ack@-1",
            "ack@1.5",
            "ack@20001",
            "ack@10@20",
            "passive@3",
            "warning@",
        ];
        let floods = [
            "",
            "7DF",
            "7DF@",
            "7DF@0",
            "7DF@-1",
            "7DF@1.5",
            "7DF@20001",
            "7D@10",
            "800@10",
            "20000000@10",
            "7DG@1",
            "@10",
            "0x7DF@10",
            "7DF@1@2",
            "7DF @10",
        ];
        let refused = |text: &str| text.parse::<Effect>().expect_err(text);
        for text in words {
            let why = refused(text);
            assert!(why.starts_with(&format!("{text:?} is not a fault")) && why.contains(FORMS), "{why}");
        }
        for text in no_values {
            let (key, value) = text.split_once('=').unwrap();
            assert_eq!(refused(text), format!("{key} takes no value, so not {value:?}: write {key}"));
        }
        for (key, values) in [("error", &errors[..]), ("flood", &floods)] {
            for value in values {
                let why = refused(&format!("{key}={value}"));
                assert!(why.starts_with(&format!("{key}={value}: ")) && why.contains("write "), "{why}");
            }
        }
    }
}
