//! Adapters: CAN interfaces that somebody else owns, named by a person or known by what they are.

mod ability;
mod settings;

use std::{fmt, str::FromStr};

pub use settings::{KEYS, Settings};

use crate::{kernel::Identity, names::IfName};

/// The adapter that carries a bus, as the option `adapter` names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Adapter {
    /// By the name of its interface. Which hardware gets `can0` may differ from boot to boot.
    Name(IfName),
    /// By what it is or where it is plugged in.
    Known {
        /// By which of its marks.
        by: Mark,
        /// Which of the device's channels, counted from 0, where it has several.
        channel: Option<u32>,
    },
}

/// What an adapter is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// `usb:VENDOR:PRODUCT[:SERIAL]`, as `lsusb` lists it.
    Usb {
        /// Four hex digits in small letters.
        vendor: String,
        /// The same.
        product: String,
        /// Only the one with this serial number.
        serial: Option<String>,
    },
    /// `path:ID_PATH`: the port, in udev's words.
    Path(String),
    /// `driver:NAME`.
    Driver(String),
}

const FORMS: &str = "give an interface name like can0, usb:VENDOR:PRODUCT[:SERIAL] as lsusb lists it, \
                     path:ID_PATH as `udevadm info /sys/class/net/can0` tells it, or driver:NAME; \
                     #1 behind it means the second channel of one device";

impl Adapter {
    /// Whether it is this interface.
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
                let channel = number.parse().map_err(|_| format!("{number:?} is no channel; {FORMS}"))?;
                (rest, Some(channel))
            }
            None => (rest, None),
        };
        let by = match kind.to_ascii_lowercase().as_str() {
            "usb" => usb(rest)?,
            "path" if !rest.is_empty() => Mark::Path(rest.to_owned()),
            "driver" if !rest.is_empty() => Mark::Driver(rest.to_owned()),
            "path" | "driver" => return Err(format!("nothing stands behind {kind}:; {FORMS}")),
            _ => return Err(format!("{kind}: is no way to know an adapter; {FORMS}")),
        };
        Ok(Self::Known { by, channel })
    }
}

fn usb(text: &str) -> Result<Mark, String> {
    let hex = |digits: Option<&str>| {
        let digits = digits.unwrap_or_default();
        let fits = digits.len() == 4 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        fits.then(|| digits.to_ascii_lowercase()).ok_or_else(|| {
            format!("a USB vendor and product are four hex digits each, like usb:1d50:606f; {FORMS}")
        })
    };
    // A serial number may have colons of its own.
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
    fn each_form_is_read_and_written_alike() {
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
    fn what_is_no_adapter_is_refused_with_the_forms_there_are() {
        for (text, word) in [
            ("usb:1d50", "four hex digits"),
            ("usb:wxyz:606f", "four hex digits"),
            ("pci:0", "pci: is no way"),
            ("driver:", "nothing stands behind"),
            ("path:x#one", "\"one\" is no channel"),
            ("a/b", "'/'"),
        ] {
            let err = text.parse::<Adapter>().unwrap_err();
            assert!(err.contains(word) && err.contains("usb:VENDOR:PRODUCT"), "{text}: {err}");
        }
    }

    #[test]
    fn an_adapter_is_known_by_its_marks_whatever_its_name() {
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
