//! Whether the disk takes more records.

use std::path::Path;

use super::{Finding, Group};
use crate::kernel;

/// Less than this, and a record may not fit.
const LITTLE: u64 = 256 << 10;
const CHECK: &str = "state-folder";

/// Looks at the room of the state folder, without writing to it; `None`: there is room.
pub fn room(folder: &Path) -> Option<Finding> {
    let shown = folder.display();
    let error = |sentence| Finding::error(Group::Buses, CHECK, sentence).about(shown.to_string());
    match kernel::room(folder) {
        Err(err) => Some(
            error(format!("the state folder {shown} cannot be looked at: {err}"))
                .by(format!("ls -ld {shown}")),
        ),
        Ok(room) => cramped(room).map(|what| {
            error(format!("{what}: no network can be created, and what changes does not outlive a reboot"))
                .by(format!("df -h {shown}    # then free some space or mount it writable"))
        }),
    }
}

fn cramped(room: kernel::Room) -> Option<&'static str> {
    if room.read_only {
        Some("the state folder is mounted read-only")
    } else if room.bytes < LITTLE || room.files == Some(0) {
        Some("the disk of the state folder is full")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Room;

    #[test]
    fn a_disk_without_room_is_named_and_one_with_room_is_not() {
        let plenty = Room { bytes: 1 << 30, files: None, read_only: false };
        for (room, expected) in [
            (plenty, ""),
            (Room { bytes: 4096, ..plenty }, "full"),
            (Room { files: Some(0), ..plenty }, "full"),
            (Room { read_only: true, ..plenty }, "read-only"),
        ] {
            assert!(cramped(room).unwrap_or_default().ends_with(expected), "{room:?}");
            assert_eq!(cramped(room).is_some(), !expected.is_empty(), "{room:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(room(dir.path()), None);
        let none = room(&dir.path().join("none")).unwrap();
        assert!(none.sentence.contains("cannot be looked at") && none.fix.is_some(), "{none:?}");
    }
}
