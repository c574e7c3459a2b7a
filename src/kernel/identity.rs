//! Where a CAN interface is plugged in, from sysfs. Names like `can0` depend on the order of detection, this does not.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::errno::Errno;

/// The content of `/sys/class/net/NAME/type` for a CAN interface (`ARPHRD_CAN`).
const CAN: &str = "280";

/// Where an adapter is plugged in, and how it identifies itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The name of its driver, from `/sys/class/net/NAME/device/driver`.
    pub driver: Option<String>,
    /// The port as udev names it: `ID_PATH`.
    pub path: Option<String>,
    /// Its USB IDs, if it is a USB device.
    pub usb: Option<Usb>,
    /// The channel of the device, counted from 0 (`dev_port`, or `dev_id` of older drivers).
    pub channel: u32,
}

/// The IDs of a USB device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usb {
    /// `idVendor`: four lower-case hex digits.
    pub vendor: String,
    /// `idProduct`.
    pub product: String,
    /// Its serial number, if it has one.
    pub serial: Option<String>,
}

/// Reads the identity of each hardware CAN interface under `/sys/class/net`.
///
/// # Errors
/// If the folder cannot be read. An interface that cannot be read has an error of its own; one that has vanished is
/// skipped.
pub(super) fn read_all(net: &Path) -> io::Result<Vec<(String, io::Result<Identity>)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(net)? {
        let entry = entry?;
        let identity = identify(&entry.path()).transpose();
        found.extend(identity.map(|identity| (entry.file_name().to_string_lossy().into_owned(), identity)));
    }
    Ok(found)
}

/// `None` if it is not a hardware CAN interface.
fn identify(interface: &Path) -> io::Result<Option<Identity>> {
    if read(interface, "type")?.as_deref() != Some(CAN) {
        return Ok(None);
    }
    let Some(device) = there(fs::canonicalize(interface.join("device")))? else { return Ok(None) };
    let driver = there(fs::read_link(device.join("driver")))?;
    let number = |file: &str| -> io::Result<Option<u32>> {
        let text = read(interface, file)?;
        Ok(text.and_then(|text| match text.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        }))
    };
    let channel = match number("dev_port")?.filter(|port| *port > 0) {
        Some(port) => port,
        None => number("dev_id")?.unwrap_or_default(),
    };
    Ok(Some(Identity {
        driver: driver.and_then(|path| Some(path.file_name()?.to_str()?.to_owned())),
        path: path_id(&device)?,
        usb: device.ancestors().find_map(|folder| usb(folder).transpose()).transpose()?,
        channel,
    }))
}

fn usb(folder: &Path) -> io::Result<Option<Usb>> {
    let (Some(vendor), Some(product)) = (read(folder, "idVendor")?, read(folder, "idProduct")?) else {
        return Ok(None);
    };
    Ok(Some(Usb { vendor, product, serial: read(folder, "serial")? }))
}

/// `ID_PATH`, as udev's `path_id` builds it for USB, PCI, SPI and platform devices: for each bus on the path, the place
/// of the closest device.
fn path_id(device: &Path) -> io::Result<Option<String>> {
    let mut words: Vec<String> = Vec::new();
    let mut nearest = String::new();
    for folder in device.ancestors() {
        let (Some(name), Some(bus)) = (folder.file_name().and_then(|name| name.to_str()), subsystem(folder)?)
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
    Ok((!words.is_empty()).then(|| words.join("-")))
}

fn subsystem(folder: &Path) -> io::Result<Option<String>> {
    let link: Option<PathBuf> = there(fs::read_link(folder.join("subsystem")))?;
    Ok(link.and_then(|link| Some(link.file_name()?.to_str()?.to_owned())))
}

fn read(folder: &Path, file: &str) -> io::Result<Option<String>> {
    let bytes = there(fs::read(folder.join(file)))?;
    let text = bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
    Ok(text.filter(|text| !text.is_empty()))
}

/// A missing file is not an error: not every device has every file, and an interface may vanish meanwhile.
///
/// sysfs reports it in several ways: `ENODEV` while the device is being removed, `EINVAL` if the driver has no value
/// for the file (`dev_show` functions of `net/core/net-sysfs.c`), `ENOTDIR` if the parent is not a folder.
fn there<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(err) => match err.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT | Errno::ENODEV | Errno::ENOTDIR | Errno::EINVAL) => Ok(None),
            _ => Err(err),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A part of sysfs: folders with their subsystem, and files.
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
            let all = read_all(&self.0.path().join("net")).unwrap().into_iter();
            let mut all: Vec<_> = all.map(|(name, identity)| (name, identity.unwrap())).collect();
            all.sort_by(|a, b| a.0.cmp(&b.0));
            all
        }
    }

    #[test]
    fn usb_pci_and_spi_adapters_are_identified_like_udev_does() {
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

    #[test]
    fn an_unreadable_interface_has_its_own_error() {
        let sysfs = Sysfs(tempfile::tempdir().unwrap());
        sysfs.device("pci0000:00/0000:00:1c.0", "pci", &[]);
        let pci = sysfs.device("pci0000:00/0000:00:1c.0/0000:01:00.0", "pci", &[]);
        sysfs.interface("can0", &pci, "kvaser_pci", &[("type", "280")]);
        // A folder in place of a file cannot be read, not even by root (EISDIR).
        sysfs.interface("can1", &pci, "kvaser_pci", &[("type", "280")]);
        fs::create_dir(sysfs.0.path().join("net/can1/dev_port")).unwrap();
        let mut all = read_all(&sysfs.0.path().join("net")).unwrap();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        let readable: Vec<_> = all.iter().map(|(name, read)| (name.as_str(), read.is_ok())).collect();
        assert_eq!(readable, [("can0", true), ("can1", false)]);
    }
}
