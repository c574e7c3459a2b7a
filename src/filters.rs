//! What a container may send and hear: the options `allow-tx` and `allow-rx`, as filters of can-gw rules.
//!
//! A frame passes from one container to another if the sender may send it and the receiver may hear it, so their lists are
//! intersected. The patterns of a list do not overlap, and so those of an intersection do not either: a frame passes at most
//! one rule between two ends, once and in order.

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{frames::ids::IdSet, kernel::Filter};

/// Kernel filters of one list. Each is a rule per other member, and two with FD, and every frame is compared with all of
/// them.
const LIST_MAX: usize = 64;
/// Kernel filters between two ends. Aligned ranges of two lists stay far below it; odd masks can multiply.
const WAY_MAX: usize = 256;

/// Passes every data and remote frame: [`Filter::default`].
const EVERYTHING: Filter = Filter { id: 0, mask: 0 };

/// A list of IDs as somebody wrote it, small enough for the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdList {
    text: Arc<str>,
    set: Arc<IdSet>,
}

/// The lists of one container or of a network. `None`: everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filters {
    /// What may be sent.
    #[serde(default, rename = "allow_tx", skip_serializing_if = "Option::is_none")]
    pub tx: Option<IdList>,
    /// What may be heard.
    #[serde(default, rename = "allow_rx", skip_serializing_if = "Option::is_none")]
    pub rx: Option<IdList>,
    /// There were lists, but their record is lost: nothing may be assumed.
    #[serde(default, rename = "lists_lost", skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
}

impl Filters {
    /// Whether it allows everything.
    pub fn are_open(&self) -> bool {
        *self == Self::default()
    }

    /// These lists, and those of the network where there is none.
    pub fn or(&self, network: &Self) -> Self {
        Self {
            tx: self.tx.clone().or_else(|| network.tx.clone()),
            rx: self.rx.clone().or_else(|| network.rx.clone()),
            lost: self.lost || (network.lost && (self.tx.is_none() || self.rx.is_none())),
        }
    }

    /// In words: `may send 7DF 7E0-7E7 and hear everything`; `None` if everything is allowed.
    pub fn words(&self) -> Option<String> {
        if self.lost {
            return Some("may send and hear what it could before: its lists are lost".into());
        }
        let words = |list: &Option<IdList>, nothing: &str| match list {
            None => "everything".to_owned(),
            Some(list) if list.text.eq_ignore_ascii_case("none") => nothing.to_owned(),
            Some(list) => list.to_string(),
        };
        let open = self.are_open();
        (!open).then(|| {
            format!("may send {} and hear {}", words(&self.tx, "nothing"), words(&self.rx, "nothing"))
        })
    }

    /// Rejects lists that need too many rules between the two.
    ///
    /// # Errors
    /// One sentence with the number.
    pub fn fit(&self, other: &Self) -> Result<(), String> {
        for (from, to) in [(self, other), (other, self)] {
            let (Some(tx), Some(rx)) = (&from.tx, &to.rx) else { continue };
            let needed = tx.set.and(&rx.set).patterns_needed();
            if needed > WAY_MAX {
                return Err(format!(
                    "options allow-tx={tx} and allow-rx={rx} together need {needed} filters, at most {WAY_MAX} are possible: use aligned ranges such as 100-1FF instead of masks"
                ));
            }
        }
        Ok(())
    }
}

/// Which frames pass from one end to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The filters of data and remote frames; no frame passes two of them.
    pub frames: Cow<'static, [Filter]>,
    /// Whether error frames pass.
    pub errors: bool,
}

impl Way {
    /// From an end that may send `tx` to one that may hear `rx`.
    pub fn between(tx: Option<&IdList>, rx: Option<&IdList>) -> Self {
        let one =
            |list: &IdList| Self { frames: list.set.filters().into(), errors: list.set.has_error_frames() };
        match (tx, rx) {
            (None, None) => Self { frames: Cow::Borrowed(&[EVERYTHING]), errors: true },
            (Some(list), None) | (None, Some(list)) => one(list),
            (Some(tx), Some(rx)) => {
                let both = tx.set.and(&rx.set);
                Self { frames: both.filters().into(), errors: both.has_error_frames() }
            }
        }
    }
}

impl FromStr for IdList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let set: IdSet = text.parse().map_err(|why: crate::frames::ids::IdsError| why.to_string())?;
        match set.patterns_needed() {
            needed if needed > LIST_MAX => Err(format!(
                "needs {needed} filters in the kernel, at most {LIST_MAX} are possible: use aligned ranges such as 100-1FF"
            )),
            _ => Ok(Self { text: text.into(), set: set.into() }),
        }
    }
}

impl fmt::Display for IdList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for IdList {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for IdList {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(tx: Option<&str>, rx: Option<&str>, lost: bool) -> Filters {
        let list = |text: Option<&str>| text.map(|text| text.parse().unwrap());
        Filters { tx: list(tx), rx: list(rx), lost }
    }

    #[test]
    fn a_list_of_the_container_wins_over_the_one_of_the_network_each_way() {
        let network = filters(Some("100"), Some("200"), false);
        for (own, both) in [
            ((None, None), ("100", "200")),
            ((Some("300"), None), ("300", "200")),
            ((None, Some("300")), ("100", "300")),
            ((Some("300"), Some("none")), ("300", "none")),
        ] {
            let expected = filters(Some(both.0), Some(both.1), false);
            assert_eq!(filters(own.0, own.1, false).or(&network), expected, "{own:?}");
        }
    }

    #[test]
    fn lists_are_lost_if_one_that_would_count_is() {
        let list = Some("123");
        for (own, network_lost, lost) in [
            (filters(None, None, false), false, false),
            (filters(None, None, false), true, true),
            (filters(list, None, false), true, true),
            (filters(None, list, false), true, true),
            (filters(list, list, false), true, false),
            (filters(None, None, true), false, true),
            (filters(list, list, true), true, true),
        ] {
            assert_eq!(own.or(&filters(None, None, network_lost)).lost, lost, "{own:?} {network_lost}");
        }
    }

    #[test]
    fn what_is_allowed_is_said_in_words() {
        for (filters, words) in [
            (filters(None, None, false), None),
            (filters(Some("7DF"), None, false), Some("may send 7DF and hear everything")),
            (filters(Some("NONE"), Some("100-1FF"), false), Some("may send nothing and hear 100-1FF")),
            (
                filters(Some("7DF"), None, true),
                Some("may send and hear what it could before: its lists are lost"),
            ),
        ] {
            assert_eq!(filters.words().as_deref(), words);
        }
    }

    #[test]
    fn error_frames_pass_if_neither_list_stops_them() {
        let list = |text: Option<&str>| text.map(|text| text.parse::<IdList>().unwrap());
        for (tx, rx, pass) in [
            (None, None, true),
            (Some("!123"), None, true),
            (None, Some("!123"), true),
            (Some("!123"), Some("!456"), true),
            (Some("123"), None, false),
            (None, Some("123"), false),
            (Some("!123"), Some("123"), false),
            (Some("123"), Some("!123"), false),
        ] {
            assert_eq!(Way::between(list(tx).as_ref(), list(rx).as_ref()).errors, pass, "{tx:?} {rx:?}");
        }
    }

    #[test]
    fn a_list_may_need_64_filters() {
        // No two of them can share a filter.
        let list = |entries: u32| {
            let ids: Vec<String> = (0..entries).map(|number| format!("{:03X}", number * 2)).collect();
            ids.join(" ").parse::<IdList>()
        };
        assert!(list(64).is_ok());
        let why = list(65).unwrap_err();
        assert!(why.starts_with("needs 65 filters in the kernel, at most 64 are possible"), "{why}");
    }

    #[test]
    fn the_lists_of_a_sender_and_a_receiver_may_need_256_filters_together() {
        // Each of the 16 patterns of one list overlaps each of the other's.
        let digit = |shift: u32, more: &str| {
            let entries: Vec<String> =
                (0..16_u32).map(|digit| format!("{:03X}:{:03X}", digit << shift, 0xF_u32 << shift)).collect();
            format!("{} {more}", entries.join(" "))
        };
        for (more, needed) in [("", None), ("00000001", Some(257))] {
            let sender = filters(Some(&digit(0, more)), None, false);
            let receiver = filters(None, Some(&digit(4, more)), false);
            for (one, other) in [(&sender, &receiver), (&receiver, &sender)] {
                let fit = one.fit(other);
                let words = needed.map(|needed| format!("need {needed} filters, at most 256 are possible"));
                match words {
                    None => assert_eq!(fit, Ok(())),
                    Some(words) => assert!(fit.as_ref().unwrap_err().contains(&words), "{fit:?}"),
                }
            }
        }
    }
}
