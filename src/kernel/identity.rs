//! Where a CAN interface is plugged in, from sysfs: names like `can0` go to whoever comes first, this stays.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What `/sys/class/net/NAME/type` says of a CAN interface (`ARPHRD_CAN`).
const CAN: &str = "280";

/// Where an adapter is plugged in, and what it says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The name of its driver, as `/sys/class/net/NAME/device/driver` tells.
    pub driver: Option<String>,
    /// The port in udev's words: `ID_PATH`.
    pub path: Option<String>,
    /// What it is, if it is a USB device.
    pub usb: Option<Usb>,
    /// Which of the channels of one device it is, counted from 0 (`dev_port`, or `dev_id` of older drivers).
    pub channel: u32,
}

/// A USB device's own words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usb {
    /// `idVendor`: four hex digits in small letters.
    pub vendor: String,
    /// `idProduct`.
    pub product: String,
    /// Its serial number, if it has one.
    pub serial: Option<String>,
}

/// Reads the identity of each hardware CAN interface below `/sys/class/net`.
///
/// # Errors
/// When the folder cannot be read. An interface that vanishes meanwhile is left out.
pub(super) fn read_all(net: &Path) -> io::Result<Vec<(String, Identity)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(net)?.flatten() {
        let folder = entry.path();
        let Ok(device) = fs::canonicalize(folder.join("device")) else { continue };
        if read(&folder, "type").as_deref() == Some(CAN) {
            found.push((entry.file_name().to_string_lossy().into_owned(), identify(&folder, &device)));
        }
    }
    Ok(found)
}

fn identify(interface: &Path, device: &Path) -> Identity {
    let driver = fs::read_link(device.join("driver")).ok();
    let number = |file: &str| {
        let text = read(interface, file)?;
        match text.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        }
    };
    Identity {
        driver: driver.and_then(|path| Some(path.file_name()?.to_str()?.to_owned())),
        path: path_id(device),
        usb: device.ancestors().find_map(usb),
        channel: number("dev_port").filter(|port| *port > 0).or_else(|| number("dev_id")).unwrap_or_default(),
    }
}

fn usb(folder: &Path) -> Option<Usb> {
    let vendor = read(folder, "idVendor")?;
    Some(Usb { vendor, product: read(folder, "idProduct")?, serial: read(folder, "serial") })
}

/// `ID_PATH`, as udev's `path_id` builds it for USB, PCI, SPI and platform devices: of each bus on the way, the
/// place of the device that is nearest.
fn path_id(device: &Path) -> Option<String> {
    let mut words: Vec<String> = Vec::new();
    let mut nearest = String::new();
    for folder in device.ancestors() {
        let (Some(name), Some(bus)) = (folder.file_name().and_then(|name| name.to_str()), subsystem(folder))
        else {
            continue;
        };
        if bus == nearest {
            continue;
        }
        let word = match bus.as_str() {
            // `1-2.1:1.0` is port 2.1 of bus 1; the numbers of buses change from boot to boot.
            "usb" => name.split_once('-').map(|(_, port)| format!("usb-0:{port}")),
            "pci" => Some(format!("pci-{name}")),
            "spi" => name.rsplit_once('.').map(|(_, select)| format!("cs-{select}")),
            "platform" => Some(format!("platform-{name}")),
            _ => None,
        };
        if let Some(word) = word {
            words.push(word);
            nearest = bus;
        }
    }
    words.reverse();
    (!words.is_empty()).then(|| words.join("-"))
}

fn subsystem(folder: &Path) -> Option<String> {
    let link: PathBuf = fs::read_link(folder.join("subsystem")).ok()?;
    Some(link.file_name()?.to_str()?.to_owned())
}

fn read(folder: &Path, file: &str) -> Option<String> {
    Some(fs::read_to_string(folder.join(file)).ok()?.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A piece of sysfs: folders with their subsystem, and files.
    struct Sysfs(tempfile::TempDir);

    impl Sysfs {
        fn device(&self, path: &str, subsystem: &str, files: &[(&str, &str)]) -> PathBuf {
            let folder = self.0.path().join("devices").join(path);
            fs::create_dir_all(&folder).unwrap();
            if !subsystem.is_empty() {
                symlink(format!("/sys/bus/{subsystem}"), folder.join("subsystem")).unwrap();
            }
            for (file, text) in files {
                fs::write(folder.join(file), format!("{text}\n")).unwrap();
            }
            folder
        }

        fn interface(&self, name: &str, device: &Path, driver: &str, files: &[(&str, &str)]) {
            let folder = self.0.path().join("net").join(name);
            fs::create_dir_all(&folder).unwrap();
            symlink(device, folder.join("device")).unwrap();
            if !device.join("driver").exists() {
                let _ = symlink(format!("/sys/bus/x/drivers/{driver}"), device.join("driver"));
            }
            for (file, text) in files {
                fs::write(folder.join(file), text).unwrap();
            }
        }

        fn identities(&self) -> Vec<(String, Identity)> {
            let mut all = read_all(&self.0.path().join("net")).unwrap();
            all.sort_by(|a, b| a.0.cmp(&b.0));
            all
        }
    }

    #[test]
    fn usb_pci_and_spi_adapters_are_told_as_udev_tells_them() {
        let sysfs = Sysfs(tempfile::tempdir().unwrap());
        sysfs.device("pci0000:00/0000:00:14.0", "pci", &[]);
        sysfs.device("pci0000:00/0000:00:14.0/usb1", "usb", &[("idVendor", "1d6b"), ("idProduct", "0002")]);
        let words = [("idVendor", "1d50"), ("idProduct", "606f"), ("serial", "003A001E")];
        sysfs.device("pci0000:00/0000:00:14.0/usb1/1-2", "usb", &words);
        let usb = sysfs.device("pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0", "usb", &[]);
        sysfs.interface("can0", &usb, "gs_usb", &[("type", "280"), ("dev_id", "0x1"), ("dev_port", "0")]);

        sysfs.device("pci0000:00/0000:00:1c.0", "pci", &[]);
        let pci = sysfs.device("pci0000:00/0000:00:1c.0/0000:01:00.0", "pci", &[]);
        sysfs.interface("can1", &pci, "kvaser_pci", &[("type", "280")]);

        sysfs.device("platform/soc", "platform", &[]);
        sysfs.device("platform/soc/fe204000.spi", "platform", &[]);
        let spi = sysfs.device("platform/soc/fe204000.spi/spi_master/spi0/spi0.1", "spi", &[]);
        sysfs.interface("can2", &spi, "mcp251x", &[("type", "280")]);
        sysfs.interface("eth0", &pci, "e1000", &[("type", "1")]);

        let all = sysfs.identities();
        let told: Vec<_> = all
            .iter()
            .map(|(name, identity)| (name.as_str(), identity.driver.as_deref(), identity.path.as_deref()))
            .collect();
        assert_eq!(
            told,
            [
                ("can0", Some("gs_usb"), Some("pci-0000:00:14.0-usb-0:2:1.0")),
                ("can1", Some("kvaser_pci"), Some("pci-0000:01:00.0")),
                ("can2", Some("mcp251x"), Some("platform-fe204000.spi-cs-1")),
            ]
        );
        let usb = Usb { vendor: "1d50".into(), product: "606f".into(), serial: Some("003A001E".into()) };
        assert_eq!((all[0].1.usb.as_ref(), all[0].1.channel), (Some(&usb), 1));
        assert_eq!(all[1].1.usb, None);
    }
}
