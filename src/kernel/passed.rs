//! How many frames passed through an interface, for programs without privileges: from sysfs.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

/// The frames of one interface since it was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// Which interface it was: one that is created again, even with the same name and index, has another number.
    pub interface: u64,
    /// Frames that it received: of a pair's end, what came from the other one. Those that programs send on it are none.
    pub received: u64,
    /// Frames that programs sent on it.
    pub sent: u64,
}

impl Passed {
    /// Reads those of the interface of this name.
    ///
    /// # Errors
    /// There is none, or another one takes its place right now.
    pub fn of(interface: &str) -> io::Result<Self> {
        let folder = Path::new("/sys/class/net").join(interface).join("statistics");
        let count = |file: &str| {
            let text = fs::read_to_string(folder.join(file))?;
            text.trim().parse().map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))
        };
        // sysfs numbers its folders, and uses no number twice.
        let number = || fs::metadata(&folder).map(|folder| folder.ino());
        let before = number()?;
        let passed = Self { interface: before, received: count("rx_packets")?, sent: count("tx_packets")? };
        match number()? == before {
            true => Ok(passed),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_keeps_its_number_and_its_counters_never_fall() {
        let (one, two) = (Passed::of("lo").unwrap(), Passed::of("lo").unwrap());
        assert_eq!(one.interface, two.interface);
        assert!(two.received >= one.received && two.sent >= one.sent);
        assert_eq!(Passed::of("no-such-one").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
