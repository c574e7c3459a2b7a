//! Adapters: existing CAN interfaces, selected by interface name or by hardware identity.

mod ability;
mod settings;

use std::{fmt, str::FromStr};

pub(crate) use settings::bits_per_second;
pub use settings::{KEYS, Settings};

use crate::{kernel::Identity, names::IfName};

/// The adapter that carries a bus, as the option `adapter` names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Adapter {
    /// By interface name. Which hardware gets `can0` may differ from boot to boot.
    Name(IfName),
    /// By hardware identity or port.
    Known {
        /// The identity to match.
        by: Mark,
        /// The channel, counted from 0, for devices with several.
        channel: Option<u32>,
    },
}

/// The identity by which an adapter is selected.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// `usb:VENDOR:PRODUCT[:SERIAL]`, as `lsusb` lists it.
    Usb {
        /// Four lower-case hex digits.
        vendor: String,
        /// Four lower-case hex digits.
        product: String,
        /// Match only the device with this serial number.
        serial: Option<String>,
    },
    /// `path:ID_PATH`: the port, as udev names it.
    Path(String),
    /// `driver:NAME`.
    Driver(String),
}

const FORMS: &str = "use an interface name like can0, usb:VENDOR:PRODUCT[:SERIAL] (see lsusb), \
                     path:ID_PATH (see `udevadm info /sys/class/net/can0`), or driver:NAME; \
                     append #1 for the second channel of a device";

impl Adapter {
    /// Whether this interface matches.
    pub fn is(&self, name: &str, identity: Option<&Identity>) -> bool {
        match self {
            Self::Name(wanted) => wanted.as_str() == name,
            Self::Known { by, channel } => identity.is_some_and(|identity| {
                by.is_of(identity) && channel.is_none_or(|channel| channel == identity.channel)
            }),
        }
    }
}

impl Mark {
    fn is_of(&self, identity: &Identity) -> bool {
        match self {
            Self::Usb { vendor, product, serial } => identity.usb.as_ref().is_some_and(|usb| {
                usb.vendor.eq_ignore_ascii_case(vendor)
                    && usb.product.eq_ignore_ascii_case(product)
                    && serial.as_ref().is_none_or(|serial| {
                        // Docker lower-cases some values.
                        usb.serial.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(serial))
                    })
            }),
            Self::Path(path) => identity.path.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(path)),
            Self::Driver(driver) => {
                identity.driver.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(driver))
            }
        }
    }
}

impl FromStr for Adapter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((kind, rest)) = text.split_once(':') else {
            return text.parse().map(Self::Name).map_err(|why: String| format!("{why}; {FORMS}"));
        };
        let (rest, channel) = match rest.rsplit_once('#') {
            Some((rest, number)) => {
                let channel =
                    number.parse().map_err(|_| format!("{number:?} is not a channel number; {FORMS}"))?;
                (rest, Some(channel))
            }
            None => (rest, None),
        };
        let by = match kind.to_ascii_lowercase().as_str() {
            "usb" => usb(rest)?,
            "path" if !rest.is_empty() => Mark::Path(rest.to_owned()),
            "driver" if !rest.is_empty() => Mark::Driver(rest.to_owned()),
            "path" | "driver" => return Err(format!("no value after {kind}:; {FORMS}")),
            _ => return Err(format!("unknown adapter selector {kind}:; {FORMS}")),
        };
        Ok(Self::Known { by, channel })
    }
}

fn usb(text: &str) -> Result<Mark, String> {
    let hex = |digits: Option<&str>| {
        let digits = digits.unwrap_or_default();
        let fits = digits.len() == 4 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        fits.then(|| digits.to_ascii_lowercase()).ok_or_else(|| {
            format!("USB vendor and product must have four hex digits each, like usb:1d50:606f; {FORMS}")
        })
    };
    // A serial number may contain colons.
    let mut words = text.splitn(3, ':');
    let (vendor, product) = (hex(words.next())?, hex(words.next())?);
    let serial = words.next().filter(|serial| !serial.is_empty()).map(str::to_owned);
    Ok(Mark::Usb { vendor, product, serial })
}

impl fmt::Display for Adapter {
    /// As the option spells it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Known { by, channel } = self else {
            let Self::Name(name) = self else { return Ok(()) };
            return write!(f, "{name}");
        };
        match by {
            Mark::Usb { vendor, product, serial: Some(serial) } => {
                write!(f, "usb:{vendor}:{product}:{serial}")
            }
            Mark::Usb { vendor, product, serial: None } => write!(f, "usb:{vendor}:{product}"),
            Mark::Path(path) => write!(f, "path:{path}"),
            Mark::Driver(driver) => write!(f, "driver:{driver}"),
        }?;
        channel.map_or(Ok(()), |channel| write!(f, "#{channel}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Usb;

    fn adapter(text: &str) -> Adapter {
        text.parse().unwrap_or_else(|err| panic!("{text}: {err}"))
    }

    #[test]
    fn every_selector_round_trips() {
        for text in [
            "can0",
            "usb:1d50:606f",
            "usb:1d50:606f:003A001E",
            "usb:1d50:606f:with:colons#1",
            "path:pci-0000:00:14.0-usb-0:2:1.0",
            "driver:kvaser_pci#3",
        ] {
            assert_eq!(adapter(text).to_string(), text);
        }
    }

    #[test]
    fn an_invalid_selector_is_refused_with_the_valid_forms() {
        for (text, word) in [
            ("usb:1d50", "four hex digits"),
            ("usb:wxyz:606f", "four hex digits"),
            ("pci:0", "unknown adapter selector pci:"),
            ("driver:", "no value after driver:"),
            ("path:x#one", "\"one\" is not a channel number"),
            ("a/b", "'/'"),
        ] {
            let err = text.parse::<Adapter>().unwrap_err();
            assert!(err.contains(word) && err.contains("usb:VENDOR:PRODUCT"), "{text}: {err}");
        }
    }

    #[test]
    fn a_selector_matches_by_identity_whatever_the_interface_name() {
        let identity = Identity {
            driver: Some("gs_usb".into()),
            path: Some("pci-0000:00:14.0-usb-0:2:1.0".into()),
            usb: Some(Usb { vendor: "1d50".into(), product: "606f".into(), serial: Some("003A001E".into()) }),
            channel: 1,
        };
        for text in [
            "usb:1d50:606F",
            "usb:1d50:606f:003a001e",
            "usb:1d50:606f#1",
            "path:pci-0000:00:14.0-usb-0:2:1.0",
            "driver:gs_usb#1",
            "can7",
        ] {
            assert!(adapter(text).is("can7", Some(&identity)), "{text}");
        }
        for text in ["usb:1d50:6070", "usb:1d50:606f:other", "usb:1d50:606f#0", "driver:kvaser_pci", "can0"] {
            assert!(!adapter(text).is("can7", Some(&identity)), "{text}");
        }
        assert!(!adapter("driver:gs_usb").is("can7", None));
    }
}
