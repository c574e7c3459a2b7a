//! What happens to frames on their way to or from a container: the options `delay`, `jitter`, `loss`, `duplicate` and
//! `corrupt`, and with `rx-` what the container is to hear.
//!
//! The kernel does it (`sch_netem`): a queueing discipline on the container end sees what the container sends, one on the
//! host end what it is to hear. Both see each frame once, whoever else receives it.
//!
//! A shape says only what was asked for. So the value of a container's connection replaces its network's, and that of a
//! fault both, one by one ([`Shape::or`]), and `loss=0%` takes a network's loss away again.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{clock::parse_duration, kernel::Netem};

/// Later, no test waits for a frame.
const DELAY_MAX: Duration = Duration::from_secs(10);
/// netem keeps at most 2³¹ ns.
const JITTER_MAX: Duration = Duration::from_secs(2);
/// A [`Chance`] is counted in parts of a million.
const WHOLE: u32 = 1_000_000;
/// Digits after the point of a percentage.
const DECIMALS: usize = 4;
/// What the name of a value begins with if it is about what a container is to hear.
const RX: &str = "rx-";

/// Frames that wait in an end without a delay: as many as a bucket holds, for the same reason (`src/kernel/qdisc.rs`).
const QUEUE_FRAMES: u32 = 16 * 1024;
/// How many frames a delay may hold back, per millisecond: a bus of 1 Mbit/s carries 7.4 with 8 bytes.
const FRAMES_PER_MS: u128 = 8;

/// A part of the frames, chosen at random.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chance {
    /// Of a million frames.
    millionths: u32,
}

/// What happens to frames on their way in one direction; `None`: nothing is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shape {
    /// How late each frame is.
    #[serde(with = "as_text", skip_serializing_if = "Option::is_none")]
    pub delay: Option<Duration>,
    /// By how much the delay varies, both ways. Frames stay in order.
    #[serde(with = "as_text", skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Duration>,
    /// Which part is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<Chance>,
    /// Which part arrives twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<Chance>,
    /// In which part a bit is flipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corrupt: Option<Chance>,
}

/// The shapes of one container, or of a network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shapes {
    /// Of what it sends.
    #[serde(default, rename = "tx_shape", skip_serializing_if = "Shape::says_nothing")]
    pub tx: Shape,
    /// Of what it is to hear.
    #[serde(default, rename = "rx_shape", skip_serializing_if = "Shape::says_nothing")]
    pub rx: Shape,
    /// There were shapes, but their record is lost: what the kernel has stays as it is.
    #[serde(default, rename = "shapes_lost", skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
}

impl Shape {
    /// Whether nothing is asked for, not even that nothing happens.
    pub fn says_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// These values, and the others' where there is none.
    pub fn or(&self, others: &Self) -> Self {
        Self {
            delay: self.delay.or(others.delay),
            jitter: self.jitter.or(others.jitter),
            loss: self.loss.or(others.loss),
            duplicate: self.duplicate.or(others.duplicate),
            corrupt: self.corrupt.or(others.corrupt),
        }
    }

    /// What the kernel is to do; `None` if nothing happens to the frames.
    pub fn netem(&self) -> Option<Netem> {
        let chance = |chance: Option<Chance>| chance.unwrap_or_default().of_u32();
        let delay = self.delay.unwrap_or_default();
        let jitter = self.jitter.unwrap_or_default().min(delay);
        let held_back = (delay + jitter).as_millis().saturating_mul(FRAMES_PER_MS);
        let netem = Netem {
            delay,
            jitter,
            limit: u32::try_from(held_back).unwrap_or(u32::MAX).max(QUEUE_FRAMES),
            loss: chance(self.loss),
            duplicate: chance(self.duplicate),
            corrupt: chance(self.corrupt),
        };
        let does_nothing = netem == Netem { limit: netem.limit, ..Netem::default() };
        (!does_nothing).then_some(netem)
    }

    /// Sets the value with this name; `false` if a shape has none of that name.
    fn set(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match name {
            "delay" => self.delay = Some(time(value, DELAY_MAX)?),
            "jitter" => self.jitter = Some(time(value, JITTER_MAX)?),
            "loss" => self.loss = Some(value.parse()?),
            "duplicate" => self.duplicate = Some(value.parse()?),
            "corrupt" => self.corrupt = Some(value.parse()?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `delay=5ms loss=1%`, with this before each name. Empty if nothing is asked for.
    fn words(&self, before: &str) -> Vec<String> {
        let times = [("delay", self.delay), ("jitter", self.jitter)];
        let times = times.into_iter().filter_map(|(name, value)| Some((name, show(value?))));
        let chances = [("loss", self.loss), ("duplicate", self.duplicate), ("corrupt", self.corrupt)];
        let chances = chances.into_iter().filter_map(|(name, value)| Some((name, value?.to_string())));
        times.chain(chances).map(|(name, value)| format!("{before}{name}={value}")).collect()
    }
}

impl fmt::Display for Shape {
    /// As its options: `delay=5ms loss=1%`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words("").join(" "))
    }
}

impl Shapes {
    /// The names of the values.
    pub const KEYS: [&str; 10] = [
        "corrupt",
        "delay",
        "duplicate",
        "jitter",
        "loss",
        "rx-corrupt",
        "rx-delay",
        "rx-duplicate",
        "rx-jitter",
        "rx-loss",
    ];

    /// The shapes among the options of a network or an endpoint. Together with the network's, they have to be
    /// [checked](Self::check).
    ///
    /// # Errors
    /// One sentence that names the option, its value and what is allowed.
    pub fn parse(options: &BTreeMap<&str, &str>) -> Result<Self, String> {
        let mut shapes = Self::default();
        for (key, value) in options {
            shapes.set(key, value).map_err(|why| format!("option {key}={value}: {why}"))?;
        }
        Ok(shapes)
    }

    /// Sets the value with this name of [`KEYS`](Self::KEYS); `false` if it is none of them. Afterwards, the whole has to be
    /// [checked](Self::check).
    ///
    /// # Errors
    /// What is wrong with the value and what is allowed, as the end of a sentence.
    pub fn set(&mut self, key: &str, value: &str) -> Result<bool, String> {
        match key.strip_prefix(RX) {
            Some(name) => self.rx.set(name, value),
            None => self.tx.set(key, value),
        }
    }

    /// Rejects what contradicts itself.
    ///
    /// # Errors
    /// `jitter=5ms: must not be …`.
    pub fn check(&self) -> Result<(), String> {
        for (shape, before) in [(self.tx, ""), (self.rx, RX)] {
            let (jitter, delay) = (shape.jitter.unwrap_or_default(), shape.delay.unwrap_or_default());
            if jitter > delay {
                return Err(format!(
                    "{before}jitter={}: must not be longer than the delay, because no frame can arrive before it is sent: set {before}delay to {} or more (it is {})",
                    show(jitter),
                    show(jitter),
                    show(delay)
                ));
            }
        }
        Ok(())
    }

    /// Whether nothing is asked for.
    pub fn say_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Whether something happens to some frames.
    pub fn act(&self) -> bool {
        self.tx.netem().or(self.rx.netem()).is_some()
    }

    /// These values, and the others' where there is none.
    pub fn or(&self, others: &Self) -> Self {
        Self { tx: self.tx.or(&others.tx), rx: self.rx.or(&others.rx), lost: self.lost || others.lost }
    }

    /// In words: `delay=5ms rx-loss=1%`; `None` if nothing happens to any frame.
    pub fn words(&self) -> Option<String> {
        if self.lost {
            return Some("shaped as before: its shapes are lost".into());
        }
        let of = |shape: &Shape, before| shape.netem().map(|_| shape.words(before)).unwrap_or_default();
        let words = [of(&self.tx, ""), of(&self.rx, RX)].concat();
        (!words.is_empty()).then(|| words.join(" "))
    }
}

impl Chance {
    /// As a part of 2³², as the kernel compares it with a random number.
    fn of_u32(self) -> u32 {
        (u64::from(self.millionths) * u64::from(u32::MAX) / u64::from(WHOLE)) as u32
    }
}

impl FromStr for Chance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: String| {
            format!(
                "{why}; write a part of the frames from 0% to 100%, with at most {DECIMALS} decimals, like 1% or 0.05%"
            )
        };
        let Some(number) = text.trim().strip_suffix('%') else {
            return Err(wrong("it does not end with %".into()));
        };
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        if let Some((at, odd)) = number.chars().enumerate().find(|(_, c)| !c.is_ascii_digit() && *c != '.') {
            return Err(wrong(format!("{odd:?} at character {} is not a digit", at + 1)));
        }
        if whole.is_empty() || decimals.is_empty() || decimals.contains('.') {
            return Err(wrong("it is not a number".into()));
        }
        if decimals.len() > DECIMALS {
            return Err(wrong(format!("it has {} decimals", decimals.len())));
        }
        let millionths = format!("{whole}{decimals:0<DECIMALS$}").parse().ok().filter(|it| *it <= WHOLE);
        millionths.map(|millionths| Self { millionths }).ok_or_else(|| wrong("it is more than all".into()))
    }
}

impl fmt::Display for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.millionths) / 10_000.0)
    }
}

impl Serialize for Chance {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Chance {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

fn time(text: &str, max: Duration) -> Result<Duration, String> {
    // Docker writes some values in lower case, so case means nothing.
    let parsed = parse_duration(&text.to_ascii_lowercase());
    let parsed = parsed.and_then(|time| if time > max { Err("it is too long".into()) } else { Ok(time) });
    parsed.map_err(|why| format!("{why}; write a time from 0ms to {}, like 5ms or 0.2s", show(max)))
}

/// A time as [`parse_duration`] reads it, in the largest unit of which it is a whole number.
fn show(time: Duration) -> String {
    match time.as_micros() {
        0 => "0ms".into(),
        micros if micros % 1_000_000 == 0 => format!("{}s", micros / 1_000_000),
        micros if micros % 1_000 == 0 => format!("{}ms", micros / 1_000),
        micros => format!("{micros}us"),
    }
}

/// Times in records and answers, as in options.
mod as_text {
    use super::{DELAY_MAX, Deserialize as _, Duration, JITTER_MAX};

    #[allow(clippy::ref_option, reason = "serde asks for it")]
    pub(super) fn serialize<S: serde::Serializer>(
        time: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.serialize_str(&super::show(*time)),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let longest = DELAY_MAX.max(JITTER_MAX);
        text.map(|text| super::time(&text, longest)).transpose().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Shapes, String> {
        Shapes::parse(&pairs.iter().copied().collect())
    }

    #[test]
    fn a_shape_is_read_and_shown_as_its_options() {
        let words = |pairs: &[(&str, &str)]| parse(pairs).unwrap().words();
        for (pairs, shown) in [
            (&[][..], None),
            (&[("delay", "5ms")], Some("delay=5ms")),
            (&[("delay", "1.5 ms"), ("jitter", "0.5MS")], Some("delay=1500us jitter=500us")),
            (&[("delay", "2000ms"), ("rx-delay", "1s")], Some("delay=2s rx-delay=1s")),
            (&[("loss", "1%"), ("rx-loss", "100%")], Some("loss=1% rx-loss=100%")),
            (&[("duplicate", "0.05%"), ("corrupt", "12.3456%")], Some("duplicate=0.05% corrupt=12.3456%")),
            // It takes a network's away, and does nothing itself.
            (&[("loss", "0%"), ("delay", "0s")], None),
        ] {
            assert_eq!(words(pairs).as_deref(), shown, "{pairs:?}");
        }
        let shapes = parse(&[("delay", "1.5ms"), ("rx-loss", "0.05%")]).unwrap();
        let json = serde_json::to_string(&shapes).unwrap();
        assert_eq!(json, r#"{"tx_shape":{"delay":"1500us"},"rx_shape":{"loss":"0.05%"}}"#);
        assert_eq!(serde_json::from_str::<Shapes>(&json).unwrap(), shapes);
        assert_eq!(serde_json::from_str::<Shapes>("{}").unwrap(), Shapes::default());
    }

    #[test]
    fn each_wrong_value_is_named_with_what_is_wrong_and_what_is_allowed() {
        let times = [
            ("", "does not start with a number"),
            ("5", "no unit"),
            ("ms", "does not start with a number"),
            ("-5ms", "does not start with a number"),
            ("5xs", "xs is not a unit"),
            ("5ms 1ms", "ms 1ms is not a unit"),
            ("1.2.3ms", "does not start with a number"),
            ("1e3ms", "e3ms is not a unit"),
            ("11s", "too long"),
            ("1d", "too long"),
            ("99999999999999999999999999999d", "too long"),
        ];
        let chances = [
            ("", "does not end with %"),
            ("5", "does not end with %"),
            ("0.05", "does not end with %"),
            ("%", "not a number"),
            (".5%", "not a number"),
            ("5.%", "not a number"),
            ("1.2.3%", "not a number"),
            ("-1%", "'-' at character 1 is not a digit"),
            ("5 %", "' ' at character 2 is not a digit"),
            ("1e1%", "'e' at character 2 is not a digit"),
            ("0.12345%", "5 decimals"),
            ("100.0001%", "more than all"),
            ("99999999999999999999%", "more than all"),
        ];
        for key in Shapes::KEYS {
            let (wrong, allowed) = match key.trim_start_matches(RX) {
                "delay" => (&times[..], "from 0ms to 10s, like 5ms"),
                "jitter" => (&times[..], "from 0ms to 2s, like 5ms"),
                _ => (&chances[..], "from 0% to 100%"),
            };
            for (value, why) in wrong {
                let err = parse(&[(key, value)]).unwrap_err();
                assert!(err.starts_with(&format!("option {key}={value}: ")), "{err}");
                assert!(err.contains(why) && err.contains(allowed), "{key}={value}: {err}");
            }
        }
    }

    #[test]
    fn jitter_cannot_be_longer_than_the_delay() {
        for (pairs, words) in [
            (&[("jitter", "5ms")][..], ["jitter=5ms: must not be longer", "(it is 0ms)"]),
            (
                &[("rx-jitter", "5ms"), ("rx-delay", "2ms"), ("delay", "1s")],
                ["rx-jitter=5ms: must", "(it is 2ms)"],
            ),
        ] {
            let err = parse(pairs).unwrap().check().unwrap_err();
            assert!(words.iter().all(|word| err.contains(word)), "{err}");
        }
        assert_eq!(parse(&[("jitter", "5ms"), ("delay", "5ms")]).unwrap().check(), Ok(()));
    }

    #[test]
    fn the_nearest_value_wins_one_by_one() {
        let network = parse(&[("delay", "5ms"), ("loss", "10%"), ("rx-loss", "20%")]).unwrap();
        let own = parse(&[("loss", "0%"), ("duplicate", "1%")]).unwrap();
        let both = own.or(&network);
        assert_eq!(both.words().as_deref(), Some("delay=5ms loss=0% duplicate=1% rx-loss=20%"));
        assert_eq!(own.or(&Shapes::default()), own);
        assert_eq!(Shapes::default().or(&network), network);
    }

    #[test]
    fn lost_shapes_stay_lost_and_are_told() {
        let [known, lost] = [false, true].map(|lost| Shapes { lost, ..parse(&[("loss", "1%")]).unwrap() });
        for (own, network, is_lost) in
            [(known, known, false), (known, lost, true), (lost, known, true), (lost, lost, true)]
        {
            let both = own.or(&network);
            assert_eq!(both.lost, is_lost, "{own:?} {network:?}");
            let words = if is_lost { "shaped as before: its shapes are lost" } else { "loss=1%" };
            assert_eq!(both.words().as_deref(), Some(words));
        }
    }

    #[test]
    fn a_jitter_that_is_longer_than_the_delay_is_as_long_as_the_delay() {
        // The delay of a connection can be shorter than its network's, whose jitter stays.
        let network = parse(&[("delay", "5ms"), ("jitter", "4ms")]).unwrap();
        let netem = parse(&[("delay", "2ms")]).unwrap().or(&network).tx.netem().unwrap();
        let two = Duration::from_millis(2);
        assert_eq!((netem.delay, netem.jitter), (two, two));
    }

    #[test]
    fn chances_are_parts_of_what_the_kernel_compares_with_and_delays_have_room_for_a_full_bus() {
        let netem = |pairs: &[(&str, &str)]| parse(pairs).unwrap().tx.netem();
        assert_eq!(netem(&[]), None);
        assert_eq!(netem(&[("loss", "0%"), ("jitter", "0ms")]), None);
        assert_eq!(netem(&[("loss", "100%")]).unwrap().loss, u32::MAX, "each frame is lost");
        assert_eq!(netem(&[("loss", "50%")]).unwrap().loss, u32::MAX / 2);
        assert_eq!(netem(&[("corrupt", "0.0001%")]).unwrap().corrupt, 4294);
        assert_eq!(netem(&[("loss", "1%")]).unwrap().limit, 16_384);
        assert_eq!(netem(&[("delay", "10s"), ("jitter", "2s")]).unwrap().limit, 96_000);
    }
}
