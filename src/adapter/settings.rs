//! The adapter settings of a network, spelled as in `ip link … type can`.

use std::collections::BTreeMap;

use super::ability;
use crate::kernel::{Controller, ControllerChange, Link, Modes, Timing};

/// The keys of all settings.
pub const KEYS: [&str; 14] = [
    "bitrate",
    "sample-point",
    "dbitrate",
    "dsample-point",
    "restart-ms",
    "loopback",
    "listen-only",
    "triple-sampling",
    "one-shot",
    "berr-reporting",
    "presume-ack",
    "fd-non-iso",
    "termination",
    "txqueuelen",
];

/// The settings that a network asks for. Settings that are not asked for are left alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Bitrate of classic frames and of the arbitration phase, in bit/s.
    pub bitrate: Option<u32>,
    /// Sample point in tenths of a percent; only with a bitrate.
    pub sample_point: Option<u32>,
    /// Bitrate of the data phase of FD frames, in bit/s. Turns FD on.
    pub dbitrate: Option<u32>,
    /// Sample point of the data phase in tenths of a percent; only with a data bitrate.
    pub dsample_point: Option<u32>,
    /// Time until the kernel restarts the controller after bus-off, in ms; 0: never.
    pub restart_ms: Option<u32>,
    /// The modes that are set, on or off.
    pub modes_mask: Modes,
    /// Those of `modes_mask` that are on.
    pub modes: Modes,
    /// Termination in ohms; 0: none.
    pub termination: Option<u16>,
    /// Transmit queue length in frames.
    pub txqueuelen: Option<u32>,
}

impl Settings {
    /// Parses the settings from a network's options.
    ///
    /// # Errors
    /// One sentence that names the option, the value and what is allowed.
    pub fn parse(options: &BTreeMap<&str, &str>) -> Result<Self, String> {
        let get = |key: &'static str| options.get(key).map(|value| (key, *value));
        let mut settings = Self {
            bitrate: get("bitrate").map(bit_per_second).transpose()?,
            sample_point: get("sample-point").map(sample_point).transpose()?,
            dbitrate: get("dbitrate").map(bit_per_second).transpose()?,
            dsample_point: get("dsample-point").map(sample_point).transpose()?,
            restart_ms: get("restart-ms")
                .map(|asked| number(asked, "milliseconds, 0 for never"))
                .transpose()?,
            termination: get("termination")
                .map(|asked| number(asked, "ohms, like 120, or 0 for none"))
                .transpose()?,
            txqueuelen: get("txqueuelen").map(|asked| number(asked, "frames, like 1000")).transpose()?,
            ..Self::default()
        };
        for (key, mode) in Modes::all().named() {
            match options.get(key.as_str()).map(|value| value.to_ascii_lowercase()).as_deref() {
                None => continue,
                Some("on" | "true") => settings.modes |= mode,
                Some("off" | "false") => {}
                Some(other) => return Err(format!("option {key}={other}: must be on or off")),
            }
            settings.modes_mask |= mode;
        }
        for (point, rate) in
            [("sample-point", "bitrate"), ("dsample-point", "dbitrate"), ("dbitrate", "bitrate")]
        {
            if let (Some((_, value)), None) = (get(point), get(rate)) {
                return Err(format!("option {point}={value}: requires {rate}"));
            }
        }
        if let (Some(bitrate), Some(dbitrate)) = (settings.bitrate, settings.dbitrate)
            && dbitrate < bitrate
        {
            return Err(format!("option dbitrate={dbitrate}: must not be lower than bitrate={bitrate}"));
        }
        if settings.dbitrate.is_some() {
            settings.modes_mask |= Modes::FD;
            settings.modes |= Modes::FD;
        }
        Ok(settings)
    }

    /// Whether no setting is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the controller itself is to be configured, so that canhub also brings it up. True for every setting except
    /// the queue length.
    pub fn configures(&self) -> bool {
        *self != Self { txqueuelen: self.txqueuelen, ..Self::default() }
    }

    /// What to change on an adapter to apply the settings; empty if nothing differs.
    ///
    /// # Errors
    /// One sentence that names the setting that this adapter does not support, and its limits.
    pub fn change_for(&self, link: &Link) -> Result<ControllerChange, String> {
        let mut change = ControllerChange {
            txqueuelen: self.txqueuelen.filter(|length| *length != link.txqueuelen),
            ..ControllerChange::default()
        };
        if !self.configures() {
            return Ok(change);
        }
        let Some(controller) = &link.controller else {
            return Err(format!(
                "{} has no configurable CAN controller: remove {}",
                link.name,
                self.asked()
                    .into_keys()
                    .filter(|key| KEYS.contains(&key.as_str()) && key != "txqueuelen")
                    .collect::<Vec<_>>()
                    .join(", ")
            ));
        };
        ability::check(self, controller).map_err(|why| format!("{}: {why}", link.name))?;
        let differs = |asked: Option<u32>, point, now: Option<Timing>| {
            asked
                .filter(|bitrate| !now.is_some_and(|now| is_near(now, *bitrate, point)))
                .map(|rate| (rate, point))
        };
        change.timing = differs(self.bitrate, self.sample_point, controller.timing);
        change.data_timing = differs(self.dbitrate, self.dsample_point, controller.data_timing);
        change.restart_ms = self.restart_ms.filter(|asked| *asked != controller.restart_ms);
        change.modes_mask = (self.modes ^ controller.modes) & self.modes_mask;
        change.modes = self.modes & change.modes_mask;
        change.termination = self.termination.filter(|asked| Some(*asked) != controller.termination);
        // With FD on, the kernel requires both timings in one message (`can_validate`).
        if change.modes.contains(Modes::FD) || change.timing.is_some() || change.data_timing.is_some() {
            change.timing = self.bitrate.map(|bitrate| (bitrate, self.sample_point)).or(change.timing);
            change.data_timing =
                self.dbitrate.map(|bitrate| (bitrate, self.dsample_point)).or(change.data_timing);
        }
        Ok(change)
    }

    /// The current values of the settings asked for, to restore them when the network is deleted.
    pub fn found(&self, link: &Link) -> Self {
        let Some(Controller { timing, data_timing, restart_ms, modes, termination, .. }) =
            link.controller.as_deref()
        else {
            return Self { txqueuelen: self.txqueuelen.map(|_| link.txqueuelen), ..Self::default() };
        };
        let of = |asked: Option<u32>, now: Option<u32>| asked.and(now);
        // A controller with a fixed list of bitrates reports no sample point.
        let point =
            |timing: &Option<Timing>| timing.map(|timing| timing.sample_point).filter(|point| *point > 0);
        Self {
            bitrate: of(self.bitrate, timing.map(|timing| timing.bitrate)),
            sample_point: of(self.bitrate, point(timing)),
            dbitrate: of(self.dbitrate, data_timing.map(|timing| timing.bitrate)),
            dsample_point: of(self.dbitrate, point(data_timing)),
            restart_ms: of(self.restart_ms, Some(*restart_ms)),
            modes_mask: self.modes_mask,
            modes: *modes & self.modes_mask,
            termination: self.termination.and(*termination),
            txqueuelen: self.txqueuelen.map(|_| link.txqueuelen),
        }
    }

    /// The settings as options, for records and messages; includes `fd`, which a data bitrate implies.
    pub fn asked(&self) -> BTreeMap<String, String> {
        let point = |point: u32| format!("{}.{:03}", point / 1000, point % 1000);
        let numbers = [
            ("bitrate", self.bitrate.map(|rate| rate.to_string())),
            ("sample-point", self.sample_point.map(point)),
            ("dbitrate", self.dbitrate.map(|rate| rate.to_string())),
            ("dsample-point", self.dsample_point.map(point)),
            ("restart-ms", self.restart_ms.map(|time| time.to_string())),
            ("termination", self.termination.map(|ohms| ohms.to_string())),
            ("txqueuelen", self.txqueuelen.map(|length| length.to_string())),
        ];
        let word = |mode: Modes| if self.modes.contains(mode) { "on" } else { "off" };
        let modes = self.modes_mask.named().map(|(key, mode)| (key, word(mode).to_owned()));
        numbers.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).chain(modes).collect()
    }
}

/// Whether a timing is what the kernel makes of the request: it picks the nearest bitrate that the divider allows, up to
/// 5 % off (`CAN_CALC_MAX_ERROR`), and moves the sample point in whole quanta.
fn is_near(now: Timing, bitrate: u32, sample_point: Option<u32>) -> bool {
    let step = 1000 / now.quanta.max(1) + 1;
    now.bitrate.abs_diff(bitrate) <= bitrate / 20
        && sample_point.is_none_or(|asked| now.sample_point.abs_diff(asked) <= step)
}

fn number<T: std::str::FromStr>((key, value): (&str, &str), unit: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("option {key}={value}: must be a number of {unit}"))
}

/// Bits per second, also in the form `500k` or `1M`.
pub(crate) fn bits_per_second(text: &str) -> Option<u32> {
    let (number, unit) = match text.as_bytes() {
        [.., b'k' | b'K'] => (&text[..text.len() - 1], 1_000),
        [.., b'm' | b'M'] => (&text[..text.len() - 1], 1_000_000),
        _ => (text, 1),
    };
    // `parse` would accept a plus sign.
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse::<u32>().ok().filter(|_| digits)?.checked_mul(unit)
}

fn bit_per_second((key, value): (&str, &str)) -> Result<u32, String> {
    let rate = bits_per_second(value).filter(|rate| (1..=25_000_000).contains(rate));
    rate.ok_or_else(|| {
        format!("option {key}={value}: must be a number of bits per second, like 500000 or 500k")
    })
}

fn sample_point((key, value): (&str, &str)) -> Result<u32, String> {
    let point = value.parse::<f64>().ok().filter(|point| (0.05..1.0).contains(point));
    point.map(|point| (point * 1000.0).round() as u32).ok_or_else(|| {
        format!("option {key}={value}: must be a fraction of a bit between 0.050 and 0.999, like 0.875")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{LinkKind, TimingLimits, TimingRange};

    fn settings(pairs: &[(&'static str, &'static str)]) -> Result<Settings, String> {
        Settings::parse(&pairs.iter().copied().collect())
    }

    /// An sja1000 as in kvaser_pci: 8 MHz, classic frames.
    fn adapter() -> Link {
        let limits = TimingLimits { segment1: (1, 16), segment2: (1, 8), divider: (1, 64) };
        let controller = Controller {
            clock: 8_000_000,
            timing: Some(Timing { bitrate: 500_000, sample_point: 875, quanta: 16 }),
            range: TimingRange { limits: Some(limits), bitrates: Vec::new() },
            modes: Modes::BERR_REPORTING,
            supported: Some(Modes::LOOPBACK | Modes::LISTEN_ONLY | Modes::ONE_SHOT | Modes::BERR_REPORTING),
            ..Controller::default()
        };
        Link {
            index: 3,
            name: "can0".into(),
            kind: LinkKind::Can,
            mtu: 16,
            up: true,
            alias: None,
            peer: None,
            txqueuelen: 10,
            controller: Some(Box::new(controller)),
            qdisc: None,
            counters: None,
        }
    }

    #[test]
    fn only_what_differs_is_changed() {
        let asked = settings(&[
            ("bitrate", "500000"),
            ("restart-ms", "100"),
            ("listen-only", "on"),
            ("txqueuelen", "1000"),
        ])
        .unwrap();
        let change = asked.change_for(&adapter()).unwrap();
        let expected = ControllerChange {
            restart_ms: Some(100),
            modes_mask: Modes::LISTEN_ONLY,
            modes: Modes::LISTEN_ONLY,
            txqueuelen: Some(1000),
            ..ControllerChange::default()
        };
        assert_eq!(change, expected);
        assert!(settings(&[("bitrate", "500000")]).unwrap().change_for(&adapter()).unwrap().is_empty());
        // 0.86 is not possible with 16 quanta; the kernel picks 0.875.
        let near = settings(&[("bitrate", "500000"), ("sample-point", "0.86")]).unwrap();
        assert!(near.change_for(&adapter()).unwrap().is_empty());
        let other = settings(&[("bitrate", "500000"), ("sample-point", "0.7")]).unwrap();
        assert_eq!(other.change_for(&adapter()).unwrap().timing, Some((500_000, Some(700))));
    }

    #[test]
    fn settings_found_are_settings_restored() {
        let asked =
            settings(&[("bitrate", "250000"), ("berr-reporting", "off"), ("txqueuelen", "500")]).unwrap();
        let found = asked.found(&adapter());
        let words: Vec<String> =
            found.asked().into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(words, ["berr-reporting=on", "bitrate=500000", "sample-point=0.875", "txqueuelen=10"]);
        assert!(found.change_for(&adapter()).unwrap().is_empty());

        // A serial adapter.
        let mut listed = adapter();
        let controller = listed.controller.as_mut().unwrap();
        controller.timing = Some(Timing { bitrate: 125_000, sample_point: 0, quanta: 1 });
        controller.range = TimingRange { limits: None, bitrates: vec![125_000, 250_000] };
        let words = settings(&[("bitrate", "250000")]).unwrap().found(&listed).asked();
        assert_eq!(words.into_iter().collect::<Vec<_>>(), [("bitrate".to_owned(), "125000".to_owned())]);
    }

    #[test]
    fn unsupported_settings_are_refused_by_name_with_the_limits() {
        for (options, words) in [
            (&[("bitrate", "4000000")][..], &["can0", "bitrate=4000000", "8 MHz", "5000 to 2666666"][..]),
            (&[("bitrate", "1000")], &["bitrate=1000", "5000"]),
            (&[("triple-sampling", "on")], &["triple-sampling", "loopback, listen-only"]),
            (
                &[("bitrate", "500000"), ("dbitrate", "2000000")],
                &["dbitrate=2000000", "does not support CAN FD"],
            ),
            (&[("termination", "120")], &["termination=120", "no switchable termination"]),
        ] {
            let err = settings(options).unwrap().change_for(&adapter()).unwrap_err();
            for word in words {
                assert!(err.contains(word), "{options:?}: {word:?} is not in {err:?}");
            }
        }
        let vcan = Link { kind: LinkKind::Vcan, controller: None, ..adapter() };
        let err = settings(&[("bitrate", "500000")]).unwrap().change_for(&vcan).unwrap_err();
        assert!(err.contains("no configurable CAN controller") && err.contains("remove bitrate"), "{err}");
        assert!(!settings(&[("txqueuelen", "5")]).unwrap().change_for(&vcan).unwrap().is_empty());
    }

    #[test]
    fn invalid_values_are_refused_with_the_valid_ones() {
        for (options, words) in [
            (&[("bitrate", "500kbit")][..], &["bitrate=500kbit", "like 500000 or 500k"][..]),
            (&[("bitrate", "0")], &["bitrate=0", "like 500000"]),
            (&[("bitrate", "500000"), ("sample-point", "87.5")], &["sample-point=87.5", "like 0.875"]),
            (&[("sample-point", "0.8")], &["sample-point=0.8", "requires bitrate"]),
            (&[("dbitrate", "2000000")], &["dbitrate=2000000", "requires bitrate"]),
            (
                &[("bitrate", "500000"), ("dbitrate", "250000")],
                &["dbitrate=250000", "lower than bitrate=500000"],
            ),
            (&[("restart-ms", "-1")], &["restart-ms=-1", "milliseconds"]),
            (&[("listen-only", "yes")], &["listen-only=yes", "on or off"]),
            (&[("termination", "lots")], &["termination=lots", "ohms"]),
            (&[("txqueuelen", "1.5")], &["txqueuelen=1.5", "frames"]),
        ] {
            let err = settings(options).unwrap_err();
            for word in words {
                assert!(err.contains(word), "{options:?}: {word:?} is not in {err:?}");
            }
        }
    }
}
